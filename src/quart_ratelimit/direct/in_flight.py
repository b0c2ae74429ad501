"""Concurrency limits on views and blocks: a place is held until the response has been sent."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from quart import current_app

from ..current import current_request_or_none
from ..quotas import Hit, Quota
from ..rules.registry import OpenAPINote, check_function, note_for_openapi, note_wrapped
from .asgi_call import hold
from .ledger import Charge, Tell
from .slots import Slot
from .streaming import hold_while_sent


class InFlight:
    """What `Limiter.in_flight` gives: a decorator for views, and an ``async with`` block.

    ``ask`` makes the hit that takes a place, given the name of what is limited, and says who is to
    be told of the answer.
    """

    def __init__(
        self, quota: Quota, charge: Charge, ask: Callable[[str], Awaitable[tuple[Hit, Tell]]]
    ) -> None:
        self._quota = quota
        self._charge = charge
        self._ask = ask
        #: The places of blocks that were entered and not yet left, by task.
        self._held: WeakKeyDictionary[Any, list[Slot]] = WeakKeyDictionary()

    def __call__(self, view: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Decorate an async or sync view, under its route."""
        check_function(view, "limiter.in_flight(...)")
        name = f"{view.__module__}.{getattr(view, '__qualname__', repr(view))}"

        @functools.wraps(view)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            slot = await self._take(name)
            request = current_request_or_none()
            hold(None if request is None else request.scope, slot)
            streaming = False
            try:
                result = await current_app.ensure_async(view)(*args, **kwargs)
                if result is None:  # a websocket has ended
                    return None
                response = await current_app.make_response(result)
                streaming = hold_while_sent(response, slot.release)
                return response
            finally:
                if not streaming:
                    await slot.release()

        note_wrapped(view, limited)
        note_for_openapi(limited, OpenAPINote([self._quota]))
        return limited

    async def __aenter__(self) -> Slot:
        slot = await self._take("block")
        self._held.setdefault(asyncio.current_task(), []).append(slot)
        return slot

    async def __aexit__(self, *exc_info: object) -> None:
        await self._held[asyncio.current_task()].pop().release()

    async def _take(self, name: str) -> Slot:
        slot = Slot(self._charge, lambda: self._ask(name))
        await slot.take()
        return slot
