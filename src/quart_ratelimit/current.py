"""The app and the request at hand, in one look.

Quart's proxies look anew for each attribute, and each look is five calls: what asks at every
request asks the context variables behind them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, cast

from quart import Blueprint, Quart, Request, Websocket, globals
from quart.globals import app_ctx

#: Quart's own. Before 0.23 requests and websockets have contexts beside the app's.
_app: ContextVar[Any] = globals._cv_app
_request: ContextVar[Any] | None = getattr(globals, "_cv_request", None)
_websocket: ContextVar[Any] | None = getattr(globals, "_cv_websocket", None)

#: What lasts as long as a request, for attributes of ours.
request_context: Any = getattr(globals, "request_ctx", app_ctx)


def current_app_or_none() -> Quart | None:
    """The app of the current context; None outside of one."""
    context = _app.get(None)
    if context is None:
        return None
    app: Quart = context.app
    return app


def current_request_or_none() -> Request | Websocket | None:
    """The current request, or the handshake of the current websocket; None outside of both."""
    if _request is None:
        return _of_app_context("request") or current_websocket_or_none()
    context = _request.get(None)
    if context is None:
        return current_websocket_or_none()
    request: Request = context.request_websocket
    return request


def current_websocket_or_none() -> Websocket | None:
    """The current websocket; None outside of one."""
    if _websocket is None:
        other: Websocket | None = _of_app_context("websocket")
        return other
    context = _websocket.get(None)
    if context is None:
        return None
    websocket: Websocket = context.request_websocket
    return websocket


def blueprint_path(app: Quart, name: str | None) -> list[Blueprint]:
    """The blueprints of a dotted name, outermost first; none if it names no blueprint."""
    if name is None or name not in app.blueprints:
        return []
    parts = name.split(".")
    names = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return [cast(Blueprint, app.blueprints[name]) for name in names if name in app.blueprints]


def _of_app_context(name: str) -> Any:
    """What Quart 0.23's one context holds by that name; None if it is no such context."""
    try:
        return getattr(_app.get(None), name, None)
    except RuntimeError:
        return None
