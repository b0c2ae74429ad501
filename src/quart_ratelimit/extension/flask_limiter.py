"""Flask-Limiter's ``limiter.storage`` and ``limiter.limiter``, to be awaited."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..callables import to_await
from ..clients.keys import Keys, has_text, slot_key
from ..clock import wall_ms
from ..errors import ConfigurationError, InvalidLimit, StoreError
from ..quotas import FixedWindow, Hit, Quota
from ..responses.request_limit import WindowStats
from ..rules.kinds import check_cost
from ..stores import Store


class Storage:
    """Where the limiter counts, as a whole."""

    def __init__(self, store: Store, owns: Callable[[str], bool]) -> None:
        self.store = store
        self._owns = owns

    @to_await("limiter.storage.reset()")
    async def reset(self) -> int:
        """Forget all that the limiter counted; how many keys there were. Raises `StoreError`."""
        return await self.store.clear(self._owns)

    @to_await("limiter.storage.check()")
    async def check(self) -> bool:
        """Whether the store itself answers, and no policy in its place."""
        try:
            (decision,) = await self.store.hit([Hit(FixedWindow(1, 1), slot_key("check"), 0)])
        except StoreError:
            return False
        return decision.by == "store"


class Strategy:
    """Single limits, by the quota and the key's parts: ``RequestLimit.request_args``.

    Each method raises `InvalidLimit` or `ConfigurationError` for what no count has.
    """

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._key = keys.slot

    @to_await("limiter.limiter.hit(...)")
    async def hit(self, item: Quota, *identifiers: object, cost: int = 1) -> bool:
        """Charge; whether the limit allowed it. Raises `StoreError`."""
        (decision,) = await self._store.hit([self._hit(item, identifiers, cost)])
        return decision.allowed

    @to_await("limiter.limiter.test(...)")
    async def test(self, item: Quota, *identifiers: object, cost: int = 1) -> bool:
        """Whether a hit would be allowed. Raises `StoreError`."""
        (decision,) = await self._store.hit([self._hit(item, identifiers, 0)])
        return decision.allowed and decision.remaining >= check_cost(cost, or_bool=False)

    @to_await("limiter.limiter.get_window_stats(...)")
    async def get_window_stats(self, item: Quota, *identifiers: object) -> WindowStats:
        """When the limit is reset and what remains. Raises `StoreError`."""
        (decision,) = await self._store.hit([self._hit(item, identifiers, 0)])
        wait = decision.reset_ms if decision.allowed else decision.retry_ms or decision.reset_ms
        return WindowStats((wall_ms() + wait) / 1000, decision.remaining)

    @to_await("limiter.limiter.clear(...)")
    async def clear(self, item: Quota, *identifiers: object) -> bool:
        """Forget the limit's count; whether there was one. Raises `StoreError`."""
        return await self._store.reset([self._hit(item, identifiers, 1)]) > 0

    def _hit(self, item: object, identifiers: Sequence[object], cost: object) -> Hit:
        if not isinstance(item, Quota):
            raise InvalidLimit(f"{item!r} is not a quota; write e.g. FixedWindow(10, 60)")
        for part in identifiers:
            if not has_text(part):
                raise ConfigurationError(f"{part!r} has no text; write e.g. str(user.id)")
        parts = [part if isinstance(part, str) else str(part) for part in identifiers]
        return Hit(item, self._key(*parts), check_cost(cost, or_bool=False))
