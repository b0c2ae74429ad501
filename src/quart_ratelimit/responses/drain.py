"""An ASGI layer that reads and drops what is left of a refused request's body.

A server that ends a response while its request's body is unread closes the connection, with
all its streams on HTTP/2. A client that is still sending then reports a network error, and never
reads the refusal. There are two cases:

- The rest of the body may fit into ``drain_refused_bodies``: it is read, then the refusal is sent,
  and the connection remains open.
- The rest is known to be larger, or did not arrive within `SECONDS`: the refusal is sent, then the
  body is read before the response ends. A client that reads while it sends finds the refusal
  before the connection is closed.

All that is read is dropped, and counts towards ``drain_refused_bodies``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..current import CALL, App, Call, Message, Receive, Scope, Send

#: The default of ``drain_refused_bodies``, in bytes.
MOST = 1024 * 1024
#: The longest time that the start of a response, and then its end, waits for the body, in seconds.
SECONDS = 1.0

#: Where a layer that drains already leaves the `Upload`, in the connection's scope.
DRAINED = "quart_ratelimit.drained"
#: Request fields that announce a body in HTTP/1.
BODY_FIELDS = (b"content-length", b"transfer-encoding")


class Drain:
    """Stands before an ASGI app; see the module.

    ``most``: returns how many bytes are drained at most; 0: none.
    """

    def __init__(self, app: App, most: Callable[[], int] = lambda: MOST) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the connection."""
        if scope["type"] != "http" or DRAINED in scope or not may_have_body(scope):
            await self._app(scope, receive, send)
            return
        upload = scope[DRAINED] = Upload(scope, receive, send, self._most)
        await self._app(scope, upload.receive, upload.send)


class Upload:
    """One request that may have a body: what its app receives and sends, and the drain."""

    # What nearly every request leaves as it is stands in the class: one is made for each request.

    _status = 0
    #: Whether the app reads the body. Quart does so until its client leaves.
    _app_reads = False
    _complete = False
    _client_left = False
    #: Bytes of the body that have arrived.
    _arrived = 0
    #: Of these, how many must have arrived for the drain to end; None: it has not begun.
    _end: int | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, most: Callable[[], int]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = most
        #: What waits for the drain to end, once it has begun.
        self._waiting: asyncio.Event | None = None
        #: Set when the drain has stopped reading; None: it does not read.
        self._reading: asyncio.Event | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a part of the body has arrived."""
        return self._arrived > 0

    async def is_empty(self) -> bool:
        """Read until that is known, for `SECONDS` at most; an expected body is not requested."""
        if any(name.lower() == b"expect" for name, _ in self._scope["headers"]):
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while not (self._arrived or self._complete or self._client_left):
                    await self._next()
        return self._complete and not self._arrived

    async def receive(self) -> Message:
        """Return the client's next message; one that is drained has no body."""
        self._app_reads = True
        if self._reading is not None:  # of two readers, one would miss the end of the body
            await self._reading.wait()
        return await self._next()

    async def send(self, message: Message) -> None:
        """Send the app's message, and drain the request's body before it or after it."""
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            if self._is_to_drain() and self._may_be_drained_first():
                await self._drain()
        elif kind == "http.response.body" and not message.get("more_body") and self._is_to_drain():
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": kind, "body": b"", "more_body": False}
        if not self._client_left:
            await self._send(message)

    def _is_to_drain(self) -> bool:
        """Whether the request is refused, its body unread, and the drain still to be done."""
        if self._is_drained():
            return False
        call: Call | None = self._scope.get(CALL)
        return (self._status == 429 or (call is not None and call.refused)) and self._most() > 0

    def _may_be_drained_first(self) -> bool:
        if self._status < 300:  # the app may have caught the refusal, and stream what it likes
            return False
        fields = {name.lower(): value for name, value in self._scope["headers"]}
        if not self._app_reads and b"expect" in fields:  # reading would request the body
            return False
        try:
            length = int(fields.get(b"content-length", 0))
        except ValueError:
            return False
        return length - self._arrived <= self._most()

    async def _drain(self) -> None:
        call: Call | None = self._scope.get(CALL)
        if call is not None:
            call.release()
        if self._end is None:
            self._end = self._arrived + self._most()
        drained = self._waiting = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                if self._app_reads:
                    await drained.wait()
                else:
                    await self._read_until(drained)

    async def _read_until(self, drained: asyncio.Event) -> None:
        """Read in the place of the app, which waits meanwhile."""
        self._reading = read = asyncio.Event()
        try:
            while not drained.is_set():
                await self._next()
        finally:
            self._reading = None
            read.set()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._arrived += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._end is not None:
                message = {**message, "body": b""}
        else:
            self._client_left = True
        if self._waiting is not None and self._is_drained():
            self._waiting.set()
        return message

    def _is_drained(self) -> bool:
        end = self._end
        return self._complete or self._client_left or (end is not None and self._arrived >= end)


def may_have_body(scope: Scope) -> bool:
    """Whether a request may have a body: HTTP/1 announces one by a field, HTTP/2 need not."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return True
    for name, _ in scope["headers"]:  # noqa: SIM110  # a generator costs more per request
        if name.lower() in BODY_FIELDS:
            return True
    return False
