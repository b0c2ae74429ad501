"""The app and the request at hand, in one look: Quart's proxies look anew for each attribute."""

from __future__ import annotations

from typing import Any, cast

from quart import Quart, Request, Websocket
from quart.globals import app_ctx, request_ctx, websocket_ctx


def app_at_hand() -> Quart | None:
    """The app of the current context; None outside of one."""
    context = _unwrapped(app_ctx)
    return None if context is None else cast(Quart, context.app)


def request_at_hand() -> Request | Websocket | None:
    """The current request, or the handshake of the current websocket; None outside of both."""
    context = _unwrapped(request_ctx)
    return websocket_at_hand() if context is None else cast(Request, context.request)


def websocket_at_hand() -> Websocket | None:
    """The current websocket; None outside of one."""
    context = _unwrapped(websocket_ctx)
    return None if context is None else cast(Websocket, context.websocket)


def _unwrapped(proxy: Any) -> Any:
    try:
        return proxy._get_current_object()
    except RuntimeError:
        return None
