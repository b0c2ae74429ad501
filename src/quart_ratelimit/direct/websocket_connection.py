"""A websocket's connection, watched: whether it was accepted, and how to end it.

Knows Quart's websockets and no limits. ASGI answers a handshake that was not accepted with HTTP,
where the server has the extension ``websocket.http.response``, else with 403; once accepted there
are only close codes (RFC 6455, section 7.4.1, and IANA's registry of them).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NoReturn, Protocol

from quart import Websocket
from werkzeug.sansio.response import Response

from ..current import current_websocket_or_none, forget_at_end, note_response

#: The client's message breaks a rule.
POLICY_VIOLATION = 1008
#: The server cannot serve it now; a client may come back later.
TRY_AGAIN_LATER = 1013

#: The close codes for HTTP statuses that are too late to send.
CLOSE_CODES = {429: POLICY_VIOLATION, 503: TRY_AGAIN_LATER}

#: Bytes of a close frame's reason. Source: RFC 6455, section 5.5.
LONGEST_REASON = 123

#: What a websocket's message may be.
Data = str | bytes

_CONNECTION = "_quart_ratelimit_connection"


class Inbox(Protocol):
    """One limit on a connection's messages."""

    async def admits(self, data: Data) -> bool:
        """Charge a message; False if the view must not get it."""


class Connection:
    """What a websocket has become since its handshake.

    It stands in front of the websocket's ``accept`` and ``close``, as Quart does not report them,
    and of its ``receive``, which gives only what all `inboxes` admit.
    """

    def __init__(self, websocket: Websocket) -> None:
        self.websocket = websocket
        #: What the handshake was answered with; None: it was not accepted yet.
        self.response: Response | None = None
        self.closed: bool = False
        #: The limits on its messages, in the order in which each message passes them.
        self.inboxes: list[Inbox] = []
        #: Messages whose reader gave up, and the inboxes that have admitted them.
        self._given_back: deque[tuple[Data, list[Inbox]]] = deque()
        self._ended = False
        self._accept, self._close = websocket.accept, websocket.close
        self._receive = websocket.receive
        #: Quart's own for this connection, which it cancels when the client goes away.
        self._task = asyncio.current_task()
        vars(websocket).update(accept=self.accept, close=self.close, receive=self.receive)

    @property
    def accepted(self) -> bool:
        """Whether the handshake was accepted."""
        return self.response is not None

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        """As the websocket's."""
        if self.response is None:
            self.response = Response(status=101)
            note_response(self.websocket, self.response)
        await self._accept(*args, **kwargs)

    async def close(self, code: int, reason: str = "") -> None:
        """As the websocket's."""
        self.closed = True
        await self._close(code, reason)

    async def receive(self) -> Data:
        """The next message that all inboxes admit. Raises what an inbox raises."""
        while True:
            if self._given_back:
                data, passed = self._given_back.popleft()
            else:
                data, passed = await self._receive(), []
            if not self.inboxes or await self._passes(data, passed):
                return data

    async def _passes(self, data: Data, passed: list[Inbox]) -> bool:
        try:
            for inbox in list(self.inboxes):
                if inbox not in passed:
                    if not await inbox.admits(data):
                        return False
                    passed.append(inbox)
        except asyncio.CancelledError:
            # Who waits no longer, as under a timeout, must lose no message by it. It may be charged
            # twice.
            self._given_back.append((data, passed))
            raise
        return True

    def forget(self) -> None:
        """Drop unread messages, as the connection ends."""
        self._given_back.clear()

    async def end(self, code: int, reason: str) -> NoReturn:
        """Close the connection and cancel its view, as when its client goes away: never returns."""
        if not self.closed:
            await self.websocket.accept()  # before that no code can be sent
            short = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
            await self.websocket.close(code, short)
        if not self._ended and self._task is not None:
            self._ended = True  # once, as a second time would cut short what cleans up
            self._task.cancel()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("no task sets that future")

    async def end_as(self, status: int) -> None:
        """Close with the code for an HTTP status, if it came too late to be sent."""
        code = CLOSE_CODES.get(status)
        if code is not None and self.accepted and not self.closed:
            await self.websocket.close(code)


def current_connection() -> Connection:
    """The current websocket's connection, watched from the first call on.

    Raises `RuntimeError` outside of a websocket.
    """
    websocket = current_websocket_or_none()
    if websocket is None:
        raise RuntimeError(
            "limits on messages are for websockets: write them under @app.websocket(...)"
        )
    known: Connection | None = getattr(websocket, _CONNECTION, None)
    if known is None:
        known = Connection(websocket)
        setattr(websocket, _CONNECTION, known)
        forget_at_end(websocket, known.forget)
    return known
