"""The app, the request and the ASGI call being served.

Quart's proxies look up each attribute again, and each look-up is five calls. Code that runs in
every request reads the context variables behind the proxies instead.

`AsgiCall` owns what a request holds, and releases it when the request's ASGI call ends. A view's
own ``finally`` is not enough: a client that resets its connection ends the call between the view
and the first byte of its response, where no code of the view runs any more. Nor is the end of the
call enough for a sync view: its thread cannot be cancelled and runs on. If the server cancels the
call, Quart leaves the task running that serves the request, so that task is cancelled as well.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from quart import Blueprint, Quart, Request, Websocket, globals
from quart.ctx import AppContext
from quart.views import MethodView, View
from werkzeug.sansio.response import Response

T = TypeVar("T")
#: What ASGI calls an app with: a connection's scope, and the messages from and to its client.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[..., Awaitable[None]]

#: Where a request keeps what it is answered with.
_RESPONSE = "_quart_ratelimit_response"

#: Where the layer keeps the call, in the connection's scope.
CALL = "quart_ratelimit.call"

#: Quart's own. Before 0.23 requests and websockets have contexts in addition to the app's.
_app: ContextVar[AppContext] = globals._cv_app
_request: ContextVar[Any] | None = getattr(globals, "_cv_request", None)
_websocket: ContextVar[Any] | None = getattr(globals, "_cv_websocket", None)

#: Which argument of ``Quart.process_response`` is the response: from 0.23 on the context is before.
RESPONSE_PLACE = 1 if _request is None else 0


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


def note_response(request: Request | Websocket | None, response: Response) -> None:
    """Note what the request is answered with, for as long as Quart keeps it to send its body."""
    setattr(request, _RESPONSE, weakref.ref(response))


def known_response() -> Response | None:
    """The current request's response once it is known: its body may still be made.

    A websocket that was accepted has one of status 101. None: not known yet, or not any more.
    """
    reference = getattr(current_request_or_none(), _RESPONSE, None)
    response: Response | None = None if reference is None else reference()
    return response


def blueprint_path(app: Quart, name: str | None) -> list[Blueprint]:
    """The blueprints of a dotted name, outermost first; none if it names no blueprint."""
    if name is None or name not in app.blueprints:
        return []
    parts = name.split(".")
    names = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return [cast(Blueprint, app.blueprints[name]) for name in names if name in app.blueprints]


def handler_of(view: object, method: str) -> object | None:
    """The method that a class-based view calls for this HTTP method; None: there is none."""
    kind = getattr(view, "view_class", None)
    if not (isinstance(kind, type) and issubclass(kind, View)):
        return None
    dispatch = kind.dispatch_request
    if dispatch is not MethodView.dispatch_request:
        return dispatch
    handler = getattr(kind, method.lower(), None)
    if handler is None and method == "HEAD":
        handler = getattr(kind, "get", None)
    return handler


def _of_app_context(name: str) -> Any:
    """What Quart 0.23's one context holds by that name; None if it is not such a context."""
    try:
        return getattr(_app.get(None), name, None)
    except RuntimeError:
        return None


class Held(Protocol):
    """What is taken for a request."""

    def release(self) -> Awaitable[None]:
        """Start to give it back, once; the result ends when it is given back."""


class Call:
    """One call of the app, what it holds, and who works for it."""

    def __init__(self) -> None:
        self._held: list[Held] = []
        #: Drop what is known of the request.
        self._forget: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        #: Threads, and the task that serves the request once it was cancelled.
        self._working = 0
        self._ended = False
        self._task: asyncio.Task[Any] | None = None
        #: Whether a limit refused the request, whatever the app made of the refusal.
        self.refused = False

    def served_by_this_task(self) -> None:
        """Note the task that Quart started for the request."""
        self._task = asyncio.current_task()

    def hold(self, held: Held) -> bool:
        """Release this at the end of the call; False, and nothing, if the call has ended."""
        if not self._ended:
            self._held.append(held)
        return not self._ended

    def forget_at_end(self, forget: Callable[[], None]) -> None:
        """Call this at the end of the call, or at once if the call has ended."""
        if self._ended:
            forget()
        else:
            self._forget.append(forget)

    def end(self) -> list[Awaitable[None]]:
        """End the call, forget the request, and start all releases as `release` does."""
        with self._lock:
            self._ended = True
        self._task = None
        for forget in self._forget:
            forget()
        self._forget.clear()
        return self.release()

    def release(self) -> list[Awaitable[None]]:
        """Start all releases, or leave them to the last thread that still works."""
        with self._lock:
            busy = self._working > 0
        return [] if busy else self._release()

    async def cancel(self) -> None:
        """Cancel the task that serves the request, and wait for its end.

        What the call holds is held as long, also if no task waits.
        """
        task = self._task
        if task is None or task.done() or task is asyncio.current_task():
            return
        with self._lock:
            self._working += 1
        task.add_done_callback(lambda _: self._leave())
        task.cancel()
        await asyncio.wait([task])

    def is_in_event_loop(self) -> bool:
        """Return whether the caller runs in an event loop, and not in a thread for a sync view."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    def wait_for(self, start: Callable[[], Awaitable[T] | None]) -> T | None:
        """Call a function in the call's event loop, and wait in this thread for what it returns."""

        async def run() -> T | None:
            running = start()
            return None if running is None else await running

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def in_thread(self, function: Callable[..., object]) -> Callable[..., object]:
        """A sync function whose threads keep what the call holds until they return.

        A call that has ended starts no function any more.
        """
        if not self._held:
            return function

        def run(*args: object, **kwargs: object) -> object:
            if not self._enter():
                return None
            try:
                result = function(*args, **kwargs)
            finally:
                self._leave()
            return self._items(result) if inspect.isgenerator(result) else result

        return run

    def _items(self, generator: Iterator[object]) -> Iterator[object]:
        """The items of a streamed body; Quart makes each one in a thread."""
        while self._enter():
            try:
                item = next(generator)
            except StopIteration:
                return
            finally:
                self._leave()
            yield item

    def _enter(self) -> bool:
        with self._lock:
            self._working += not self._ended
            return not self._ended

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
            last = self._ended and not self._working
        if last:
            with suppress(RuntimeError):  # the event loop is closed, and its worker at its end
                self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> list[Awaitable[None]]:
        held, self._held = self._held, []
        return [one.release() for one in held]


class AsgiCall:
    """Stands before an ASGI app; see the module."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the connection, then release what its request still holds."""
        if CALL in scope or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope[CALL] = call = Call()
        if scope["type"] == "websocket":
            send = _ending(send)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            await call.cancel()
            raise
        finally:
            # All releases begin before the first is awaited: a second cancellation skips none.
            for release in call.end():
                await release


def _ending(send: Send) -> Send:
    """Send, and end a websocket that Hypercorn closed without a message to the app.

    Hypercorn 0.18 replies with status 400 to a client that sends a frame before it is accepted, and
    then drops what the app sends. The app would wait for a message, and hold its places, forever.
    """
    stream: Any = getattr(send, "__self__", None)
    if not hasattr(stream, "app_put"):  # another server
        return send

    async def send_or_end(message: Message) -> None:
        await send(message)
        if message["type"] == "websocket.accept" and stream.closed:
            # A second one is ignored, if the client has just left.
            await stream.app_put({"type": "websocket.disconnect", "code": 1006})

    return send_or_end


def current_call() -> Call | None:
    """The call that serves the current request; None if no layer watches it."""
    scope: Scope | None = getattr(current_request_or_none(), "scope", None)
    return None if scope is None else scope.get(CALL)


def forget_at_end(request: Request | Websocket, forget: Callable[[], None]) -> None:
    """Call this at the end of the request's call, if a layer watches that.

    Others may keep a request for minutes: a timer of Quart that was cancelled does. What a client
    sent must not stay as long in what is known of the request.
    """
    scope: Scope | None = cast("Scope | None", request.scope)
    call: Call | None = None if scope is None else scope.get(CALL)
    if call is not None:
        call.forget_at_end(forget)


def note_refusal() -> None:
    """Note on the current call that its request is refused."""
    call = current_call()
    if call is not None:
        call.refused = True
