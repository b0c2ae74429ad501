"""The app and the request at hand, in one look: Quart's proxies look anew for each attribute."""

from __future__ import annotations

from typing import Any

from quart import Quart, Request, Websocket
from quart.globals import app_ctx

try:
    from quart.globals import request_ctx, websocket_ctx
except ImportError:  # Quart 0.23 has one context for all
    request_ctx = websocket_ctx = app_ctx  # type: ignore[assignment]

#: What lasts as long as a request, for attributes of ours.
request_context: Any = request_ctx

# What is behind a proxy, by werkzeug's own name for it.
_app_context: Any = getattr(app_ctx, "_get_current_object")  # noqa: B009  # typed as its object
_request_context: Any = getattr(request_ctx, "_get_current_object")  # noqa: B009
_websocket_context: Any = getattr(websocket_ctx, "_get_current_object")  # noqa: B009


def app_at_hand() -> Quart | None:
    """The app of the current context; None outside of one."""
    try:
        app: Quart = _app_context().app
    except RuntimeError:
        return None
    return app


def request_at_hand() -> Request | Websocket | None:
    """The current request, or the handshake of the current websocket; None outside of both."""
    try:
        request: Request = _request_context().request
    except RuntimeError:
        return websocket_at_hand()
    return request


def websocket_at_hand() -> Websocket | None:
    """The current websocket; None outside of one."""
    try:
        websocket: Websocket = _websocket_context().websocket
    except RuntimeError:
        return None
    return websocket
