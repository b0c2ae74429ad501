"""Error handlers under limits: a refusal in one is an answer, and its limits count apart."""

from __future__ import annotations

from typing import Any

from quart import Quart

from ..current import current_request_or_none
from ..errors import LimiterUnavailable, RateLimitExceeded

#: The request's attribute that says that an error handler runs, or did.
_HANDLING = "quart_ratelimit.handling"

_REFUSALS = (RateLimitExceeded, LimiterUnavailable)


def is_handling_error(request: object) -> bool:
    """Return whether the request is being answered by an error handler."""
    return getattr(request, _HANDLING, False)


def answer_refusals_of_handlers(app: Quart) -> None:
    """Have the app answer a refusal that an error handler raises, as it answers one of a view.

    Quart would answer with 500: it handles errors of views, and not of handlers.
    """
    handle_user, handle_any = app.handle_user_exception, app.handle_exception
    handle_in_websocket = app.handle_websocket_exception

    async def handle_user_exception(error: Exception) -> Any:
        request = current_request_or_none()
        if request is not None:
            setattr(request, _HANDLING, True)
        try:
            return await handle_user(error)
        except _REFUSALS as refusal:
            if refusal is error:
                raise
            refused = refusal
        try:
            return await handle_user(refused)
        except _REFUSALS as last:  # the handler of refusals is limited as well
            return last

    async def handle_exception(error: Exception) -> Any:
        try:
            return await handle_any(error)
        except _REFUSALS as refusal:
            if refusal is error:
                raise
            result = await handle_user_exception(refusal)
            return await app.finalize_request(result, from_error_handler=True)

    async def handle_websocket_exception(error: Exception) -> Any:
        try:
            return await handle_in_websocket(error)
        except _REFUSALS as refusal:
            if refusal is error:
                raise
            result = await handle_user_exception(refusal)
            return await app.finalize_websocket(result, from_error_handler=True)

    app.handle_user_exception = handle_user_exception  # type: ignore[method-assign]
    app.handle_exception = handle_exception  # type: ignore[method-assign]
    app.handle_websocket_exception = handle_websocket_exception  # type: ignore[method-assign]
