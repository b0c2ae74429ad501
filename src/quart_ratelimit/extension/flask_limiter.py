"""Flask-Limiter's ``limiter.storage`` and ``limiter.limiter``, to be awaited."""

from __future__ import annotations

from collections.abc import Callable

from ..clients.keys import Keys, slot_key
from ..clock import wall_ms
from ..errors import StoreError
from ..quotas import FixedWindow, Hit, Quota
from ..responses.request_limit import WindowStats
from ..stores import Store


class Storage:
    """Where the limiter counts, as a whole."""

    def __init__(self, store: Store, owns: Callable[[str], bool]) -> None:
        self.store = store
        self._owns = owns

    async def reset(self) -> int:
        """Forget all that the limiter counted; how many keys there were. Raises `StoreError`."""
        return await self.store.clear(self._owns)

    async def check(self) -> bool:
        """Whether the store itself answers, and no policy in its place."""
        try:
            (decision,) = await self.store.hit([Hit(FixedWindow(1, 1), slot_key("check"), 0)])
        except StoreError:
            return False
        return decision.by == "store"


class Strategy:
    """Single limits, by the quota and the key's parts: ``RequestLimit.request_args``."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._key = keys.slot

    async def hit(self, item: Quota, *identifiers: str, cost: int = 1) -> bool:
        """Charge; whether the limit allowed it. Raises `StoreError`."""
        (decision,) = await self._store.hit([Hit(item, self._key(*identifiers), cost)])
        return decision.allowed

    async def test(self, item: Quota, *identifiers: str, cost: int = 1) -> bool:
        """Whether a hit would be allowed. Raises `StoreError`."""
        (decision,) = await self._store.hit([Hit(item, self._key(*identifiers), 0)])
        return decision.allowed and decision.remaining >= cost

    async def get_window_stats(self, item: Quota, *identifiers: str) -> WindowStats:
        """When the limit is reset and what remains. Raises `StoreError`."""
        (decision,) = await self._store.hit([Hit(item, self._key(*identifiers), 0)])
        wait = decision.reset_ms if decision.allowed else decision.retry_ms or decision.reset_ms
        return WindowStats((wall_ms() + wait) / 1000, decision.remaining)

    async def clear(self, item: Quota, *identifiers: str) -> bool:
        """Forget the limit's count; whether there was one. Raises `StoreError`."""
        return await self._store.reset([Hit(item, self._key(*identifiers))]) > 0
