"""The app and the request at hand, in one look: Quart's proxies look anew for each attribute."""

from __future__ import annotations

from typing import Any, cast

from quart import Quart, Request
from quart.globals import app_ctx, request_ctx


def app_at_hand() -> Quart | None:
    """The app of the current context; None outside of one."""
    context = _unwrapped(app_ctx)
    return None if context is None else cast(Quart, context.app)


def request_at_hand() -> Request | None:
    """The current request; None outside of one."""
    context = _unwrapped(request_ctx)
    return None if context is None else cast(Request, context.request)


def _unwrapped(proxy: Any) -> Any:
    try:
        return proxy._get_current_object()
    except RuntimeError:
        return None
