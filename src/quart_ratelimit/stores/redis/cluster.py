"""Keeps state in a Redis Cluster: one script for all hits on a client's slot, never a pipeline.

redis-py's cluster pipelines do not notice a failover and block the event loop in transactions, so
every hit here is decided by ``EVALSHA``. Keys of one request that cannot share a slot are charged
one after another, and given back when a later one refuses.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...findings import Finding
from ...quotas import Decision, Hit
from ..breaker import Breaker, Breakers
from ..piggyback import Piggyback
from ..tasks import spawn
from .arguments import ClusterOpener, check_own
from .per_loop import PerLoop

if TYPE_CHECKING:
    from .cluster_link import ClusterLink


class ClusterStore:
    """Counts in a Redis Cluster.

    ``ClusterStore("redis+cluster://localhost:6379")``. Nothing is opened before the first hit or
    `start`.

    - ``source``: a URI that names some of the nodes, or a function that opens a
      ``redis.asyncio.RedisCluster``.
    - ``prefix``: the start of every key (default "rate_limit").
    - ``deadline``: the longest wait of one hit, in seconds (default: 0.05, or four round trips to
      a node that is farther away, at most 1).
    - ``options``: options of redis-py.

    Raises `ConfigurationError`.
    """

    def __init__(
        self,
        source: str | ClusterOpener,
        *,
        prefix: str = "rate_limit",
        deadline: float | None = None,
        **options: Any,
    ) -> None:
        # redis-py takes as long to import as the rest of the package, and is not always needed.
        from .cluster_link import ClusterLink  # noqa: PLC0415
        from .uri import cluster_opener  # noqa: PLC0415

        check_own(prefix, deadline)
        open_client = source if callable(source) else cluster_opener(source, options)

        def open_link() -> ClusterLink:
            return ClusterLink(open_client(), prefix, deadline, self.piggybacks)

        self._links = PerLoop(open_link)
        self._tasks: set[asyncio.Task[Any]] = set()
        #: What is sent in addition to its batches.
        self.piggybacks: list[Piggyback] = []
        #: By the address of a node; None: finding the nodes. These never open.
        self.breakers: Breakers = Breakers(Breaker(failures=sys.maxsize))

    async def start(self) -> None:
        """Find the nodes and connect to each. Raises `StoreError`."""
        await self._links.get().start()

    async def aclose(self) -> None:
        """Close the connections. A later hit opens them again."""
        await self._links.aclose()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        """Carry out all hits or none; see `Store.hit`."""
        link = self._links.get()
        if not link.is_ready or self.breakers.is_failing():
            await self.breakers.call(None, self._ready, link)
        now = link.clock.now_ms()
        slots = [link.slot(hit, now) for hit in hits]
        if len(set(slots)) == 1:
            return await self._join(link, slots[0], hits)
        return await self._hit_apart(link, slots, hits)

    def known_refusal(self, hits: Sequence[Hit]) -> None:
        """None: this store remembers no refusal; see `Store.known_refusal`."""

    async def carry(self) -> None:
        """Send what is due now, to the node of its key. Raises `StoreError`."""
        await self._links.get().carry()

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`.

        A caller that is cancelled leaves it to its end: a connection with a reply to come would be
        closed.
        """
        return await asyncio.shield(spawn(self._tasks, self._links.get().reset(hits)))

    async def server_findings(self) -> list[Finding]:
        """What of the nodes' distance should be known. Raises `StoreError`."""
        return await self._links.get().server_findings()

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget keys under this store's prefix, by SCAN of each node; see `Store.clear`.

        A caller that is cancelled leaves it to its end, as `reset`.
        """
        return await asyncio.shield(spawn(self._tasks, self._links.get().clear(owns)))

    async def _hit_apart(
        self, link: ClusterLink, slots: Sequence[int], hits: Sequence[Hit]
    ) -> list[Decision]:
        """Charge slot after slot; once one refuses, look at the rest and give back what was.

        Nothing is charged while the breaker of one of the nodes is open.
        """
        for node in {link.address(slot) for slot in slots}:
            self.breakers.check(node)
        decisions: dict[int, Decision] = {}
        refused = False
        for slot in dict.fromkeys(slots):
            places = [place for place, own in enumerate(slots) if own == slot]
            asked = [hits[place]._replace(cost=0) if refused else hits[place] for place in places]
            answers = await self._join(link, slot, asked)
            decisions.update(zip(places, answers, strict=True))
            if not refused and not all(answers):
                refused = True
                charged = [place for place in decisions if place not in places]
                await self._give_back(link, slots, hits, charged, decisions)
        return [
            decisions[place]._replace(allowed=True, retry_ms=0)
            if refused and hits[place].cost == 0 and decisions[place].allowed
            else decisions[place]
            for place in range(len(hits))
        ]

    async def _give_back(
        self,
        link: ClusterLink,
        slots: Sequence[int],
        hits: Sequence[Hit],
        places: Sequence[int],
        decisions: dict[int, Decision],
    ) -> None:
        for place in places:
            if hits[place].cost > 0:
                back = hits[place]._replace(cost=-hits[place].cost, at_ms=decisions[place].at_ms)
                (decisions[place],) = await self._join(link, slots[place], [back])

    async def _join(self, link: ClusterLink, slot: int, hits: Sequence[Hit]) -> list[Decision]:
        join = partial(link.join, slot)
        return await self.breakers.call(link.address(slot), join, hits)

    @staticmethod
    async def _ready(link: ClusterLink) -> None:
        await link.ready()
