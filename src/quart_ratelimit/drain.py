"""An ASGI layer that reads and drops what is left of a refused request's body.

A server that ends a response while its request's body is unread closes the connection. The client,
which is still sending, then reports a network error and never reads the refusal. So the refusal is
sent at once, and its last message waits until the body has arrived, or `SECONDS` have passed, or
the client has sent more than the ``drain_refused_bodies`` of its `Limiter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .current import CALL, App, Call, Message, Receive, Scope, Send

#: The default of ``drain_refused_bodies``, in bytes.
MOST = 1024 * 1024
#: The longest time that one response waits for a body, in seconds.
SECONDS = 2.0

#: Marks a connection's scope that a layer drains already.
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
        if scope["type"] != "http" or DRAINED in scope:
            await self._app(scope, receive, send)
            return
        scope[DRAINED] = True
        upload = Upload(scope, receive, send, self._most)
        await self._app(scope, upload.receive, upload.send)


class Upload:
    """One request whose body is drained if it is refused: what the app receives and sends."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, most: Callable[[], int]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = most
        self._complete = False
        self._app_reads = False
        self._status = 0
        #: How many more bytes are drained; None: the response has not come to its end.
        self._left: int | None = None
        self._drained = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message of the client. A drained one has no body."""
        self._app_reads = True
        return await self._next()

    async def send(self, message: Message) -> None:
        """Send the app's message; before the last one of a refusal, drain the request's body."""
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
        elif kind == "http.response.body" and not message.get("more_body") and self._is_to_drain():
            await self._send({**message, "more_body": True})
            if not await self._drain():
                return
            message = {"type": kind, "body": b"", "more_body": False}
        await self._send(message)

    def _is_to_drain(self) -> bool:
        if self._complete or not may_have_body(self._scope):
            return False
        call: Call | None = self._scope.get(CALL)
        return (self._status == 429 or (call is not None and call.refused)) and self._most() > 0

    async def _drain(self) -> bool:
        """Drain the body; False if the client has left."""
        call: Call | None = self._scope.get(CALL)
        if call is not None:
            call.end()  # what the request held is free while its body arrives
        self._left = self._most()
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                if self._app_reads:  # Quart calls `receive` until its client leaves
                    await self._drained.wait()
                while not self._drained.is_set():
                    if (await self._next())["type"] == "http.disconnect":
                        return False
        return True

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._complete = not message.get("more_body", False)
        if self._left is not None:
            self._left -= len(message.get("body", b""))
            message = {**message, "body": b""}
            if self._complete or self._left <= 0:
                self._drained.set()
        return message


def may_have_body(scope: Scope) -> bool:
    """Whether a request may have a body: HTTP/1 announces one by a field, HTTP/2 need not."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return True
    return any(name in BODY_FIELDS for name, _ in scope["headers"])
