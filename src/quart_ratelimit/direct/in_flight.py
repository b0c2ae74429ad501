"""Concurrency limits on views and blocks: a place is held until the response has been sent.

A place has one owner: the ASGI call of its request, or its block. A worker that dies stops
renewing, and its places are free when their leases expire.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import ParamSpec, TypeVar, overload

from ..current import current_call
from ..errors import ConfigurationError, StoreError
from ..quotas import Hit
from ..rules.limits import AsyncView
from ..rules.registry import OwnLimit, check_function
from ..rules.views import Leave, name_in_code, wrap_view
from .blocks import Blocks, block_of
from .ledger import Account, Ledger, OpenAccount

P = ParamSpec("P")
T = TypeVar("T")

#: A lease is renewed this often in its length: two renewals may be lost.
RENEWALS = 3

#: Who decided (`Decision.by`) when it is certain that a refused place was not taken.
_CERTAIN = ("store", "memory")

_log = logging.getLogger("quart_ratelimit")


class InFlight:
    """What `Limiter.in_flight` gives: a decorator for views, and an ``async with`` block."""

    def __init__(self, open_account: OpenAccount, own: Callable[[str], OwnLimit]) -> None:
        self._open_account = open_account
        self._own = own
        self._blocks: Blocks[Place] = Blocks()

    # See `ViewDecorator`.
    @overload
    def __call__(self, view: AsyncView) -> AsyncView: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, view: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]: ...

    def __call__(self, view: Callable[..., object]) -> object:
        """Decorate an async or sync view, under its route."""

        async def enter() -> Leave | None:
            place = await take_place(await self._open_account(name_in_code(view)))
            call = current_call()
            return None if call is not None and call.hold(place) else place.release

        check_function(view, "limiter.in_flight(...)")
        own = self._own(name_in_code(view))
        return wrap_view(view, "limiter.in_flight(...)", enter, own=own)

    def __aenter__(self) -> Awaitable[Place]:
        # Not a coroutine function: its caller is the frame that holds the ``async with``.
        return self._enter(block_of())

    def __aexit__(self, *exc_info: object) -> Awaitable[None]:
        # The release starts before anything is awaited: a coroutine that is closed awaits no more.
        return self._blocks.leave(block_of()).release()

    async def _enter(self, block: int) -> Place:
        account = await self._open_account(None)
        place = await take_place(account)
        try:
            return self._blocks.enter(block, account.hits[0].key, place)
        except ConfigurationError:
            await place.release()
            raise


class Place:
    """One place of a concurrency limit, renewed until it is released or forgotten."""

    def __init__(self, ledger: Ledger, hit: Hit) -> None:
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = loop.create_future()
        self._done.set_result(None)
        self._renewing = loop.create_task(_renew(ledger, hit, weakref.ref(self)))
        self._release = functools.partial(ledger.release, hit)
        self._forgotten = weakref.finalize(self, _let_go, loop, self._renewing, self._release)
        self._forgotten.atexit = False

    def release(self) -> Awaitable[None]:
        """Start to give the place back, once; the caller may wait for the end, or leave."""
        if self._forgotten.detach() is None:
            return self._done
        self._renewing.cancel()
        return self._release()


async def take_place(account: Account) -> Place:
    """Take a place. Raises the refusal."""
    ledger, hit = account.ledger, account.hits[0]._replace(lease=secrets.token_hex(8))
    try:
        (decision,) = await ledger.take([hit])
    except StoreError:
        ledger.release(hit)  # it may have been taken all the same
        raise
    error = account.report([hit], [decision])
    if error is not None:
        if decision.by not in _CERTAIN:
            ledger.release(hit)
        raise error
    return Place(ledger, hit)


def _let_go(
    loop: asyncio.AbstractEventLoop,
    renewing: asyncio.Task[None],
    release: Callable[[], Awaitable[None]],
) -> None:
    """What the garbage collector calls, in any thread, for a place that was never released."""
    with suppress(RuntimeError):  # the event loop is closed, and the lease will expire
        loop.call_soon_threadsafe(renewing.cancel)
        loop.call_soon_threadsafe(release)


async def _renew(ledger: Ledger, hit: Hit, place: weakref.ref[Place]) -> None:
    while True:
        await asyncio.sleep(hit.quota.period / RENEWALS)
        if place() is None:
            return
        try:
            (decision,) = await ledger.charge([hit])
        except StoreError:
            continue  # the lease outlives two lost renewals
        if not decision.allowed:
            _log.warning("a lease of a place in flight was lost: another request has the place")
