"""The limited twin of a view or a helper, made the same way by every decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from types import MethodType
from typing import ParamSpec, Protocol, Self, TypeVar, cast, overload

from quart import current_app

from ..clients.key_spaces import module_name
from ..current import current_call
from .limits import AsyncView
from .registry import HasRegistry, OwnLimit, check_function, note_own_limit, note_wrapped

P = ParamSpec("P")
T = TypeVar("T")

#: Called when the view has ended, however it did.
Leave = Callable[[], Awaitable[None] | None]
#: Called before the view; None: there is nothing to await, and nothing to leave.
Enter = Callable[[], Awaitable[Leave | None] | None]


class ViewDecorator(Protocol):
    """A decorator for views: an async view keeps its type, a sync view becomes async."""

    # A function of an awaitable is a function as well: the first overload that fits counts.
    @overload
    def __call__(self, view: AsyncView) -> AsyncView: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, view: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]: ...


class Decorator(Protocol):
    """A decorator that returns what it is given."""

    def __call__(self, target: T, /) -> T:
        """Return the target."""


def wrap_view(
    view: Callable[..., object],
    decorator: str,
    enter: Enter,
    *,
    own: OwnLimit | None = None,
    limiter: HasRegistry | None = None,
) -> Callable[..., object]:
    """The view, with ``enter`` before it; what that returns is called when the view has ended.

    ``decorator`` is what it is called in errors, ``own`` what the function charges by itself. A
    sync view runs in a thread, as Quart runs it. Raises `ConfigurationError` for what is not a
    function.
    """
    check_function(view, decorator)
    if own is not None:
        enter = functools.partial(_enter, enter, own)
    is_async = inspect.iscoroutinefunction(view)
    start = cast(Callable[..., Awaitable[object]], view)

    @functools.wraps(view)
    async def limited(*args: object, **kwargs: object) -> object:
        entering = enter()
        leave = None if entering is None else await entering
        try:
            if is_async:
                return await start(*args, **kwargs)
            call = current_call()
            function = view if call is None else call.in_thread(view)
            return await current_app.ensure_async(function)(*args, **kwargs)
        finally:
            leaving = None if leave is None else leave()
            if leaving is not None:
                await leaving

    is_sync = not is_async or isinstance(view, SyncTwin)
    twin = SyncTwin(limited, view, enter) if is_sync else limited
    note_wrapped(view, twin, limiter)
    if own is not None:
        note_own_limit(twin, own)
    return twin


def _enter(enter: Enter, _: OwnLimit) -> Awaitable[Leave | None] | None:
    """Enter. So the function keeps what it charges: the tables hold that weakly."""
    return enter()


class SyncTwin(functools.partial[object]):
    """The limited twin of a sync view, for callers of both kinds.

    In the event loop, calling it starts the coroutine function ``limited``. Quart takes it for one,
    because it is a partial of one. The app's own sync decorators run in a thread and need the
    view's result: there the event loop charges while the thread waits, then the view runs.
    """

    _view: Callable[..., object]
    _enter: Enter

    def __new__(
        cls,
        limited: Callable[..., Coroutine[object, object, object]],
        view: Callable[..., object],
        enter: Enter,
    ) -> Self:
        """Make the twin; it has the view's name and signature."""
        twin = super().__new__(cls, limited)
        functools.update_wrapper(twin, view)
        twin._view, twin._enter = view, enter
        return twin

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., object]:
        """Bind to an object, as a function in a class does."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Return the coroutine or, in a thread, the view's result."""
        call = current_call()
        if call is None or call.is_in_event_loop():
            return super().__call__(*args, **kwargs)
        leave = call.wait_for(self._enter)
        try:
            return call.in_thread(self._view)(*args, **kwargs)
        finally:
            if leave is not None:
                call.wait_for(leave)


def name_in_code(view: Callable[..., object]) -> str:
    """The module and the name of a view; keys may have it, so it is the same in all workers."""
    return f"{module_name(view.__module__)}.{getattr(view, '__qualname__', repr(view))}"
