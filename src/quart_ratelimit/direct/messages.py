"""Limits on what a websocket's client sends, message by message, as the view receives it.

The view need not change: it reads from the websocket as ever, and is given no more than the limit
allows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import ParamSpec, TypeVar, overload

from ..callables import UserFunction, call, call_to_send, check_user_function
from ..errors import ConfigurationError, InvalidLimit, LimiterUnavailable, RateLimitExceeded
from ..quotas import Decision, Hit
from ..quotas.quota import refused_longest
from ..responses.refusal import refusal
from ..responses.request_limit import RequestLimit
from ..rules.kinds import check_cost, cost_by
from ..rules.limits import AsyncView
from ..rules.registry import OwnLimit, check_function
from ..rules.views import Leave, name_in_code, wrap_view
from .blocks import Blocks, block_of
from .ledger import Account, OpenAccount
from .websocket_connection import CLOSE_CODES, Connection, Data, current_connection

P = ParamSpec("P")
T = TypeVar("T")

#: What may happen to a message that a limit refuses.
CHOICES = ("close", "error", "drop", "raise")


def message_bytes(data: Data) -> int:
    """A message's size as a cost: ``limiter.messages("1000000/minute", cost=message_bytes)``."""
    if not data:
        return 0  # also for None, which Quart gives for an empty binary message
    return len(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


class Messages:
    """What `Limiter.messages` gives: a decorator for websocket views, and an ``async with`` block.

    ``open_account`` says who is charged for a connection; no client if it has no hits.
    """

    def __init__(
        self,
        extension: object,
        open_account: OpenAccount,
        own: Callable[[str], OwnLimit],
        *,
        cost: int | UserFunction[int],
        on_breach: str | UserFunction[Data | None],
    ) -> None:
        if on_breach not in CHOICES and not callable(on_breach):
            known = ", ".join(map(repr, CHOICES))
            raise ConfigurationError(
                f"on_breach={on_breach!r} must be one of {known}, or a function"
            )
        if callable(on_breach):
            check_user_function(on_breach, "limiter.messages(on_breach=...)", object())
        if callable(cost):
            check_user_function(cost, "limiter.messages(cost=...)", object())
        elif check_cost(cost) == 0:
            raise InvalidLimit(f"cost={cost!r} never reaches its limit; write e.g. cost=1")
        self.extension = extension
        self.cost = cost
        self.on_breach = on_breach
        self._open_account = open_account
        self._own = own
        self._blocks: Blocks[Inbox] = Blocks()

    # See `ViewDecorator`.
    @overload
    def __call__(self, view: AsyncView) -> AsyncView: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, view: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]: ...

    def __call__(self, view: Callable[..., object]) -> object:
        """Decorate a view, under its ``@app.websocket``."""

        async def enter() -> Leave:
            return (await self._open(name_in_code(view))).close

        check_function(view, "limiter.messages(...)")
        own = self._own(name_in_code(view))
        return wrap_view(view, "limiter.messages(...)", enter, own=own)

    def __aenter__(self) -> Awaitable[None]:
        # Not a coroutine function: its caller is the frame that holds the ``async with``.
        return self._enter(block_of())

    def __aexit__(self, *exc_info: object) -> Awaitable[None]:
        self._blocks.leave(block_of()).close()
        return _nothing()

    async def _enter(self, block: int) -> None:
        inbox = await self._open(None)
        try:
            self._blocks.enter(block, inbox.name, inbox)
        except ConfigurationError:
            inbox.close()
            raise

    async def _open(self, view: str | None) -> Inbox:
        connection = current_connection()
        return Inbox(self, connection, await self._open_account(view))


class Inbox:
    """One limit on one connection's messages, while it applies."""

    def __init__(self, limit: Messages, connection: Connection, account: Account) -> None:
        self.name: str = account.hits[0].key if account.hits else ""
        self._limit = limit
        self._connection = connection
        self._account = account
        connection.inboxes.append(self)

    def close(self) -> None:
        """Limit no more, whichever limits came before or after it."""
        if self in self._connection.inboxes:
            self._connection.inboxes.remove(self)

    async def admits(self, data: Data) -> bool:
        """Charge a message; False if the view must not get it. Raises what ``on_breach`` says."""
        hits = await self._costing(data)
        decisions = await self._account.ledger.charge(hits) if hits else ()
        refused = refused_longest(zip(hits, decisions, strict=True))
        if refused is not None:
            await self._refuse(*refused)
        return refused is None

    async def _costing(self, data: Data) -> list[Hit]:
        cost = self._limit.cost
        if callable(cost):
            cost = cost_by(cost, await call(cost, data))
        return [hit._replace(cost=cost) for hit in self._account.hits] if cost else []

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
            answer = await call_to_send(choice, told)
            if answer is not None:
                await websocket.send(answer)
        await asyncio.sleep(0)  # a flood that is dropped must not keep others waiting


async def _nothing() -> None:
    """What is awaited without a pause."""


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
