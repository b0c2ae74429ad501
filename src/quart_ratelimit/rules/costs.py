"""Costs that the package brings along: functions for ``cost=``."""

from __future__ import annotations

from quart import has_request_context, request

from ..errors import ConfigurationError


async def content_bytes() -> int:
    """The size of a request's body as a cost: ``limit("10000000/day", cost=content_bytes)``.

    The size is ``Content-Length``. A body without that field is read before the view runs: at most
    ``MAX_CONTENT_LENGTH`` bytes, and the view can still read the body. ``RateLimit-Policy`` gives
    such a limit the unit ``content-bytes``. Raises `ConfigurationError` in a websocket view.
    """
    if not has_request_context():
        raise ConfigurationError(
            "cost=content_bytes counts the body of a request, and a websocket has none; "
            "write @limiter.messages(..., cost=message_bytes)"
        )
    length = request.content_length
    if length is not None:
        return length
    data = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    # Since Quart 0.23 a body that was read as a whole has no parts any more.
    whole = request.body_class(None, None)
    whole.set_result(data)
    request.body = whole
    return len(data)
