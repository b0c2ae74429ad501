"""Limits on what a websocket's client sends, message by message, as the view receives it.

The view need not change: it reads from the websocket as ever, and is given no more than the limit
allows.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from quart import current_app

from ..callables import UserFunction, call
from ..errors import ConfigurationError, LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit
from ..quotas.quota import refused_longest
from ..responses.refusal import refusal
from ..responses.request_limit import RequestLimit
from ..rules.kinds import check_cost
from ..rules.registry import check_function, note_wrapped
from .ledger import Charge
from .websocket_connection import CLOSE_CODES, Connection, current_connection

Data = str | bytes

#: What may happen to a message that a limit refuses.
CHOICES = ("close", "error", "drop", "raise")


def message_bytes(data: Data) -> int:
    """A message's size as a cost: ``limiter.messages("1000000/minute", cost=message_bytes)``."""
    if not data:
        return 0  # also for None, which Quart gives for an empty binary message
    return len(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


class Messages:
    """What `Limiter.messages` gives: a decorator for websocket views, and an ``async with`` block.

    ``hits`` says who is charged for a connection, given the name of what is limited; nobody, if
    there are none.
    """

    def __init__(
        self,
        extension: Any,
        charge: Charge,
        hits: Callable[[str], Awaitable[Sequence[Hit]]],
        *,
        cost: int | UserFunction[int],
        on_breach: str | UserFunction[Any],
    ) -> None:
        if on_breach not in CHOICES and not callable(on_breach):
            known = ", ".join(map(repr, CHOICES))
            raise ConfigurationError(f"on_breach={on_breach!r} is none of {known} or a function")
        self.extension = extension
        self.charge = charge
        self.cost = cost if callable(cost) else check_cost(cost)
        self.on_breach = on_breach
        self._hits = hits
        #: The inboxes of blocks that were entered and not yet left, by task.
        self._open: WeakKeyDictionary[Any, list[Inbox]] = WeakKeyDictionary()

    def __call__(self, view: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Decorate a view, under its ``@app.websocket``."""
        check_function(view, "limiter.messages(...)")
        name = f"{view.__module__}.{getattr(view, '__qualname__', repr(view))}"

        @functools.wraps(view)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            inbox = await self._inbox(name)
            try:
                return await current_app.ensure_async(view)(*args, **kwargs)
            finally:
                inbox.close()

        note_wrapped(view, limited)
        return limited

    async def __aenter__(self) -> None:
        inbox = await self._inbox("block")
        self._open.setdefault(asyncio.current_task(), []).append(inbox)

    async def __aexit__(self, *exc_info: object) -> None:
        self._open[asyncio.current_task()].pop().close()

    async def _inbox(self, name: str) -> Inbox:
        connection = current_connection()
        if callable(self.cost):  # bytes and messages are not to be counted as one
            name = f"{name}:{getattr(self.cost, '__qualname__', 'cost')}"
        return Inbox(self, connection, await self._hits(name))


class Inbox:
    """One connection's messages under one limit; it stands in for the websocket's ``receive``."""

    def __init__(self, limit: Messages, connection: Connection, hits: Sequence[Hit]) -> None:
        self._limit = limit
        self._connection = connection
        self._hits = hits
        self._receive = connection.websocket.receive
        self._given_back: deque[Data] = deque()
        vars(connection.websocket)["receive"] = self.receive

    def close(self) -> None:
        """Let the websocket's own ``receive`` answer again."""
        vars(self._connection.websocket)["receive"] = self._receive

    async def receive(self) -> Data:
        """The next message that the limit allows. Raises `RateLimitExceeded` if that was chosen."""
        while True:
            data = self._given_back.popleft() if self._given_back else await self._receive()
            try:
                hits = await self._costing(data)
                decisions = await self._limit.charge(hits) if hits else ()
            except asyncio.CancelledError:
                # Who waits no longer, as under a timeout, must lose no message by it. It may be
                # charged twice.
                self._given_back.append(data)
                raise
            refused = refused_longest(zip(hits, decisions, strict=True))
            if refused is None:
                return data
            await self._refuse(*refused)

    async def _costing(self, data: Data) -> list[Hit]:
        cost = self._limit.cost
        if callable(cost):
            cost = check_cost(await call(cost, data))
        return [hit._replace(cost=cost) for hit in self._hits] if cost else []

    async def _refuse(self, hit: Hit, decision: Decision) -> None:
        choice, websocket = self._limit.on_breach, self._connection.websocket
        error = refusal(hit, decision)
        if choice == "raise":
            raise error
        if choice == "close":
            reason = f"{error.name}: {error.description}"
            await self._connection.end(CLOSE_CODES[error.code], reason)
        elif choice == "error":
            await websocket.send(error_text(error))
        elif callable(choice):
            told = RequestLimit(
                self._limit.extension, hit.quota, [hit.key], True, False, decision=decision
            )
            answer = await call(choice, told)
            if answer is not None:
                await websocket.send(answer)
        await asyncio.sleep(0)  # a flood that is dropped must not keep others waiting


def error_text(error: RateLimitExceeded | LimiterUnavailable) -> str:
    """JSON, with the members of problem details (RFC 9457), and the seconds to wait."""
    return json.dumps(
        {
            "status": error.code,
            "title": error.name,
            "detail": error.description,
            "retry_after": error.retry_after,
        }
    )
