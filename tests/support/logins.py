"""A login that stands among the decorators of a view."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from quart import abort, current_app, g, request


def login(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        if "User" not in request.headers:
            abort(401)
        g.user = request.headers["User"]
        return await current_app.ensure_async(function)(*args, **kwargs)

    return checked
