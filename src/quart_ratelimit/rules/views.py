"""The limited twin of a view or a helper, made the same way by every decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

from quart import current_app

from ..asgi_call import current_call
from .registry import HasRegistry, OpenAPINote, check_function, note_for_openapi, note_wrapped

P = ParamSpec("P")

#: Called when the view has ended, however it did.
Leave = Callable[[], Awaitable[None] | None]
#: Called before the view; None: there is nothing to await, and nothing to leave.
Enter = Callable[[], Awaitable[Leave | None] | None]


def wrap_view(
    view: Callable[P, Any],
    decorator: str,
    enter: Enter,
    *,
    note: OpenAPINote | None = None,
    limiter: HasRegistry | None = None,
) -> Callable[P, Coroutine[Any, Any, Any]]:
    """The view, with ``enter`` before it; what that returns is called when the view has ended.

    ``decorator`` is what it is called in errors, ``note`` what OpenAPI is to know of it. A sync
    view runs in a thread, as Quart runs it. Raises `ConfigurationError` for what is no function.
    """
    check_function(view, decorator)
    is_async = inspect.iscoroutinefunction(view)

    @functools.wraps(view)
    async def limited(*args: P.args, **kwargs: P.kwargs) -> Any:
        entering = enter()
        leave = None if entering is None else await entering
        try:
            if is_async:
                return await view(*args, **kwargs)
            call = current_call()
            function = view if call is None else call.in_thread(view)
            return await current_app.ensure_async(function)(*args, **kwargs)
        finally:
            leaving = None if leave is None else leave()
            if leaving is not None:
                await leaving

    note_wrapped(view, limited, limiter)
    if note is not None:
        note_for_openapi(limited, note)
    return limited


def name_in_code(view: Callable[..., Any]) -> str:
    """The module and the name of a view, as in its tracebacks."""
    return f"{view.__module__}.{getattr(view, '__qualname__', repr(view))}"
