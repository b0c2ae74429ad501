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

    Quart would answer with 500: it handles errors of views, and not of handlers. From Quart 0.23 on
    it passes its context before the error.
    """
    quart: Any = app  # whose methods have other parameters before 0.23
    handle_user = quart.handle_user_exception

    async def handle_user_exception(*args: Any) -> Any:
        request = current_request_or_none()
        if request is not None:
            setattr(request, _HANDLING, True)
        try:
            return await handle_user(*args)
        except _REFUSALS as refusal:
            if refusal is args[-1]:
                raise
            refused = refusal
        try:
            return await handle_user(*args[:-1], refused)
        except _REFUSALS as last:  # the handler of refusals is limited as well
            return last

    def answering(handle: Any, finalize: Any) -> Any:
        async def handle_exception(*args: Any) -> Any:
            try:
                return await handle(*args)
            except _REFUSALS as refusal:
                if refusal is args[-1]:
                    raise
                context = args[:-1]
                result = await handle_user_exception(*context, refusal)
                return await finalize(*context, result, from_error_handler=True)

        return handle_exception

    quart.handle_user_exception = handle_user_exception
    quart.handle_exception = answering(quart.handle_exception, quart.finalize_request)
    quart.handle_websocket_exception = answering(
        quart.handle_websocket_exception, quart.finalize_websocket
    )
