"""The breaker: calls that fail together count once, and each node has a breaker of its own."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from quart_ratelimit import Decision, FixedWindow, Hit, Quota, StoreError
from quart_ratelimit.clock import wall_ms
from quart_ratelimit.errors import StoreAway, StoreMisconfigured, StoreTimeout
from quart_ratelimit.signals import store_recovered, store_unavailable
from quart_ratelimit.stores import Breaker, ClusterStore, GuardedStore, MemoryStore, RedisStore
from quart_ratelimit.stores.breaker import Breakers

from ..support.algorithms import ALL, name
from ..support.cluster import Cluster, until
from ..support.servers import RedisServer
from ..support.stores import Clock, hit, who

QUOTA = FixedWindow(1_000_000, 3_600)


class Node(MemoryStore):
    """A store that replies to no call before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[asyncio.Future[None]] = []

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        self.calls.append(asyncio.get_running_loop().create_future())
        await self.calls[-1]
        return await super().hit(hits)

    def fail(self) -> None:
        """Every call that waits."""
        for call in self.calls:
            call.set_exception(StoreError("away"))
        self.calls.clear()


async def fail_together(guard: GuardedStore, store: Node, callers: int) -> None:
    tasks = [asyncio.ensure_future(guard.hit([Hit(QUOTA, "ann")])) for _ in range(callers)]
    await asyncio.sleep(0)
    store.fail()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("callers", [1, 4, 20, 1_000])
async def test_calls_that_fail_together_are_one_failure(callers: int) -> None:
    breaker, store = Breaker(now_ms=Clock()), Node()
    guard = GuardedStore(store, breaker=breaker)
    for count in range(1, 6):
        assert not breaker.is_open
        await fail_together(guard, store, callers)
        assert breaker.failures == count
    assert breaker.is_open


async def test_calls_that_were_under_way_as_the_breaker_opened_do_not_lengthen_its_pause() -> None:
    clock, store = Clock(), Node()
    breaker = Breaker(now_ms=clock)
    guard = GuardedStore(store, breaker=breaker)
    for _ in range(5):
        await fail_together(guard, store, 100)
    assert 225 <= breaker.wait_ms <= 250


async def test_a_probe_is_one_call_and_its_success_closes_the_breaker() -> None:
    clock, store = Clock(), Node()
    guard = GuardedStore(store, policy="open", breaker=Breaker(now_ms=clock))
    for _ in range(5):
        await fail_together(guard, store, 20)
    clock.now += 250
    probe, *others = [asyncio.ensure_future(guard.hit([Hit(QUOTA, "ann")])) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(store.calls) == 1
    assert {(await other)[0].by for other in others} == {"open"}
    store.calls.pop().set_result(None)
    assert (await probe)[0].by == "store"
    again = asyncio.ensure_future(guard.hit([Hit(QUOTA, "ann")]))
    await asyncio.sleep(0)
    store.calls.pop().set_result(None)
    assert (await again)[0].by == "store"


async def test_after_a_call_that_took_too_long_one_call_at_a_time_waits() -> None:
    store = Node()
    guard = GuardedStore(store, policy="open", breaker=Breaker(now_ms=Clock()))
    hits = [Hit(QUOTA, "ann")]
    slow = asyncio.ensure_future(guard.hit(hits))
    await asyncio.sleep(0)
    store.calls.pop().set_exception(StoreTimeout("late"))
    await slow
    trial, *others = [asyncio.ensure_future(guard.hit(hits)) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(store.calls) == 1
    assert {(await other)[0].by for other in others} == {"open"}
    trial.cancel()  # its client has left: another call may ask
    await asyncio.sleep(0)
    store.calls.clear()
    last = asyncio.ensure_future(guard.hit(hits))
    await asyncio.sleep(0)
    store.calls.pop().set_result(None)
    assert (await last)[0].by == "store"
    both = [asyncio.ensure_future(guard.hit(hits)) for _ in range(2)]
    await asyncio.sleep(0)
    assert len(store.calls) == 2
    for call in store.calls:
        call.set_result(None)
    await asyncio.gather(*both)


async def test_after_an_error_that_came_at_once_all_calls_go_on() -> None:
    """The error of one key must not send its neighbours to the policy."""
    store = Node()
    guard = GuardedStore(store, breaker=Breaker(now_ms=Clock()))
    await fail_together(guard, store, 1)
    tasks = [asyncio.ensure_future(guard.hit([Hit(QUOTA, "ann")])) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(store.calls) == 20
    for call in store.calls:
        call.set_result(None)
    assert {(await task)[0].by for task in tasks} == {"store"}


async def test_retry_after_of_the_policy_closed_is_the_breakers_pause() -> None:
    clock, store = Clock(), Node()
    breaker = Breaker(now_ms=clock, first_ms=5_000, longest_ms=5_000)
    guard = GuardedStore(store, policy="closed", breaker=breaker)
    for _ in range(5):
        await fail_together(guard, store, 2)
    assert (await guard.hit([Hit(QUOTA, "ann")]))[0].retry_ms == breaker.wait_ms >= 4_500


async def test_a_node_that_fails_does_not_stop_the_others_and_the_store_changes_once() -> None:
    changes: list[bool] = []
    breakers = Breakers(Breaker(now_ms=Clock()), lambda error: changes.append(error is None))

    async def call(fails: bool) -> str:
        if fails:
            raise StoreError("away")
        return "decided"

    for _ in range(5):
        for node in ("a", "b"):
            with pytest.raises(StoreError, match="away"):
                await breakers.call(node, call, True)
        assert await breakers.call("c", call, False) == "decided"
    for node in ("a", "b"):
        with pytest.raises(StoreAway):
            await breakers.call(node, call, False)
        with pytest.raises(StoreAway):
            breakers.check(node)
    assert await breakers.call("c", call, False) == "decided"
    assert changes == [False]


async def test_the_store_has_recovered_when_its_last_node_has() -> None:
    clock = Clock()
    changes: list[bool] = []
    breakers = Breakers(
        Breaker(now_ms=clock, failures=1), lambda error: changes.append(error is None)
    )

    async def call(fails: bool) -> None:
        if fails:
            raise StoreError("away")

    for node in ("a", "b"):
        with pytest.raises(StoreError, match="away"):
            await breakers.call(node, call, True)
    clock.now += 250
    await breakers.call("a", call, False)
    assert changes == [False]
    await breakers.call("b", call, False)
    assert changes == [False, True]


@pytest.mark.parametrize("callers", [1, 4, 20, 100])
async def test_one_slow_exchange_with_redis_is_one_failure_whoever_shares_it(
    start_redis: Callable[..., RedisServer], callers: int
) -> None:
    server = start_redis()
    breaker = Breaker()
    guard = GuardedStore(RedisStore(server.url, deadline=0.05), breaker=breaker)
    await guard.start()
    hits = [Hit(QUOTA, "ann")]
    await asyncio.gather(*[guard.hit(hits) for _ in range(callers)])
    server.freeze()
    try:
        answers = await asyncio.gather(*[guard.hit(hits) for _ in range(callers)])
    finally:
        server.thaw()
    assert {decision.by for (decision,) in answers} == {"local"}
    assert breaker.failures == 1
    by = [(await guard.hit(hits))[0].by for _ in range(3)]
    assert by[-1] == "store"
    assert not breaker.failures
    await guard.aclose()


async def test_a_hung_node_of_a_cluster_stops_its_own_hits_alone(redis_cluster: Cluster) -> None:
    redis_cluster.flush()
    clock = Clock()
    changes: list[str] = []
    store = ClusterStore(redis_cluster.url, deadline=0.05)
    guard = GuardedStore(store, policy="open", breaker=Breaker(now_ms=clock))
    await guard.start()
    keys = [f"{{{number}}}" for number in range(24)]
    hung = redis_cluster.owner("{0}")
    of_hung = [key for key in keys if redis_cluster.owner(key) is hung]
    others = [key for key in keys if key not in of_hung]

    async def by(keys: Sequence[str]) -> set[str]:
        answers = await asyncio.gather(*[guard.hit([Hit(QUOTA, key)]) for key in keys])
        return {decision.by for (decision,) in answers}

    def note_away(sender: object, **facts: object) -> None:
        changes.append("away")

    def note_back(sender: object, **facts: object) -> None:
        changes.append("back")

    assert await by(keys) == {"store"}
    with (
        store_unavailable.connected_to(note_away, sender=store),
        store_recovered.connected_to(note_back, sender=store),
    ):
        hung.freeze()
        try:
            for _ in range(5):
                assert await by(of_hung) == {"open"}
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await by(of_hung) == {"open"}
            both = [Hit(QUOTA, others[0]), Hit(QUOTA, of_hung[0])]
            assert {decision.by for decision in await guard.hit(both)} == {"open"}
            assert loop.time() - began < 0.04  # no hit waited for the hung node
            assert await by(others) == {"store"}
            (decision,) = await guard.hit([Hit(QUOTA, others[0], 0)])
            assert QUOTA.amount - decision.remaining == 2  # what was not decided charged nothing
        finally:
            hung.thaw()
        assert changes == ["away"]
        until(lambda: "cluster_state:ok" in redis_cluster.masters[0].ask("CLUSTER", "INFO"))
        for _ in range(10):
            clock.now += 1_000
            if await by(of_hung[:1]) == {"store"}:
                break
            await asyncio.sleep(0.05)
        assert await by(keys) == {"store"}
        assert changes == ["away", "back"]
    await guard.aclose()


@pytest.mark.parametrize("quota", ALL, ids=name)
@pytest.mark.parametrize("cost", [1, 2, 0, -1])
@pytest.mark.parametrize("value", ["hash", "text"])
async def test_hits_on_a_key_that_holds_something_else_leave_the_breaker_closed(
    redis_server: RedisServer, quota: Quota, cost: int, value: str
) -> None:
    breaker = Breaker()
    guard = GuardedStore(RedisStore(redis_server.url, deadline=5), breaker=breaker)
    key = who()
    with redis_server.client() as client:
        place = f"rate_limit:{quota.state_key(key, wall_ms())}"
        if value == "hash":
            client.hset(place, "field", "value")
        else:
            client.set(place, "text")
    for _ in range(100):
        await guard.hit([hit(quota, key, cost)])
        assert not breaker.failures
    assert (await guard.hit([hit(quota, who())]))[0].by == "store"
    await guard.aclose()


async def test_a_probe_that_meets_such_a_key_closes_the_breaker() -> None:
    clock, error = Clock(), StoreMisconfigured("a hash")
    error.concerns_key = True
    breakers = Breakers(breaker := Breaker(now_ms=clock))

    async def call(error: StoreError) -> None:
        raise error

    for _ in range(5):
        with pytest.raises(StoreError):
            await breakers.call(None, call, StoreError("away"))
    clock.now = breaker.wait_ms
    assert breaker.is_open
    with pytest.raises(StoreMisconfigured):
        await breakers.call(None, call, error)
    assert not breaker.is_open
