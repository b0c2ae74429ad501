"""Connections that end or stutter at any byte: counted once at most, never without an expiry."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from quart_ratelimit import FixedWindow, Hit, StoreError
from quart_ratelimit.errors import StoreTimeout
from quart_ratelimit.stores import RedisStore

from ...fuzz import replies as fuzz
from ...support.algorithms import BOTH, RATES
from ...support.algorithms import name as name_of
from ...support.cluster import until
from ...support.proxy import Proxy, break_at, lose
from ...support.servers import RedisServer


@pytest.fixture
async def store(proxy: Proxy) -> AsyncIterator[RedisStore]:
    store = RedisStore(proxy.url, deadline=5)
    await store.start()
    yield store
    await store.aclose()


async def fails(store: RedisStore, hit: Hit) -> bool:
    try:
        await store.hit([hit])
    except StoreError:
        return True
    return False


def kept(server: RedisServer) -> dict[str, int]:
    """What each client is counted, each key with an expiry."""
    with server.client() as client:
        keys = list(client.scan_iter(match="rate_limit:*"))
        assert all(client.pttl(key) > 0 for key in keys)
        return {key.split(":")[1]: int(str(client.get(key)).split(":")[0]) for key in keys}


@BOTH
async def test_a_request_cut_at_any_byte_counts_once_or_not_and_harms_nobody(  # T-09
    redis_server: RedisServer, proxy: Proxy, store: RedisStore, quota: FixedWindow
) -> None:
    length, failed = 330, 0
    for number in range(length):
        who = f"client-{number:03}"
        proxy.match, proxy.times, proxy.request_cut = who.encode(), 1, number
        failed += await fails(store, Hit(quota, who))
        proxy.request_cut = None
        (decision,) = await store.hit([Hit(quota, "bob")])
        assert quota.amount - decision.remaining == number + 1
    assert failed == length
    counts = kept(redis_server)
    del counts["bob"]
    assert set(counts.values()) <= {1}
    assert 0 < len(counts) < length, "some cuts were behind the request's end, not all"


@BOTH
async def test_a_reply_cut_at_any_byte_counts_once_and_harms_nobody(  # T-09
    redis_server: RedisServer, proxy: Proxy, store: RedisStore, quota: FixedWindow
) -> None:
    length, failed = 60, 0
    for number in range(length):
        who = f"client-{number:03}"
        proxy.match, proxy.times, proxy.fault = who.encode(), 1, break_at(number)
        failed += await fails(store, Hit(quota, who))
        (decision,) = await store.hit([Hit(quota, "bob")])
        assert quota.amount - decision.remaining == number + 1
    assert 30 < failed < length, "some cuts were behind the reply's end, not all"
    counts = kept(redis_server)
    del counts["bob"]
    assert len(counts) == length
    assert set(counts.values()) == {1}


@BOTH
async def test_a_reply_that_comes_byte_by_byte_is_read_or_given_up_in_time(  # T-09
    proxy: Proxy, quota: FixedWindow
) -> None:
    patient, hasty = RedisStore(proxy.url, deadline=5), RedisStore(proxy.url, deadline=0.05)
    await patient.start()
    await hasty.start()
    proxy.trickle = 0.005
    (decision,) = await patient.hit([Hit(quota, "ann")])
    assert decision.remaining == quota.amount - 1
    began = time.monotonic()
    with pytest.raises(StoreTimeout):
        await hasty.hit([Hit(quota, "ann")])
    assert time.monotonic() - began < 0.15
    proxy.trickle = 0
    (decision,) = await hasty.hit([Hit(quota, "ann")])
    assert decision.remaining == quota.amount - 3
    await patient.aclose()
    await hasty.aclose()


@pytest.mark.parametrize("quota", RATES, ids=name_of)
async def test_whatever_the_algorithm_a_lost_reply_counts_once(  # T-03
    proxy: Proxy, quota: FixedWindow
) -> None:
    quota = replace(quota, period=86_400)  # no window by the clock turns meanwhile
    store = RedisStore(proxy.url, deadline=0.05)
    await store.start()
    for number in range(5):
        who = f"client-{number}"
        proxy.match, proxy.fault, proxy.times = who.encode(), lose, 1
        assert await fails(store, Hit(quota, who))
        proxy.times = 0
        while await fails(store, look := Hit(quota, who, 0)):
            pass
        (decision,) = await store.hit([look])
        assert decision.remaining == quota.amount - 1
    await store.aclose()


@BOTH
@pytest.mark.parametrize("how", ["killed", "restarted", "timed out"])
async def test_connections_that_redis_closed_while_idle_cost_nobody_an_answer(  # T-10
    start_redis: Callable[..., RedisServer], quota: FixedWindow, how: str
) -> None:
    server = start_redis()
    store = RedisStore(server.url, deadline=5)
    await store.start()
    await asyncio.gather(*[store.hit([Hit(quota, f"c{n}")]) for n in range(20)])
    if how == "killed":
        server.ask("CLIENT", "KILL", "TYPE", "normal")
    elif how == "restarted":
        server.kill()
        server.start()
    else:
        server.ask("CONFIG", "SET", "timeout", 1)
        with server.client() as client:
            until(lambda: len(client.client_list()) == 1)
    answers = [await store.hit([Hit(quota, f"d{n}")]) for n in range(20)]
    assert {decision.remaining for (decision,) in answers} == {quota.amount - 1}
    await store.aclose()


@pytest.mark.parametrize("fault", ["cut", "lost"])
async def test_a_request_of_two_limits_is_charged_whole_or_not_whatever_breaks(  # T-30
    redis_server: RedisServer, proxy: Proxy, store: RedisStore, fault: str
) -> None:
    """One admits, the other refuses or not: both are charged, or neither."""
    wide, narrow = FixedWindow(1_000, 3_600), FixedWindow(1, 7_200)
    for number in range(0, 520, 8):
        who = f"client-{number:03}"
        hits = [Hit(wide, who), Hit(narrow, who)]
        for _ in range(3):  # the second and third are refused by the narrow one
            proxy.match, proxy.times = who.encode(), 1
            if fault == "cut":
                proxy.request_cut = number
            else:
                proxy.fault = break_at(number // 8)
            with contextlib.suppress(StoreError):
                await store.hit(hits)
            proxy.request_cut, proxy.times = None, 0
        looks = await store.hit([hit._replace(cost=0) for hit in hits])
        used = [1_000 - looks[0].remaining, 1 - looks[1].remaining]
        assert used in ([0, 0], [1, 1])
    kept(redis_server)


async def test_a_request_of_two_limits_that_is_cancelled_is_charged_whole_or_not(  # T-30
    store: RedisStore,
) -> None:
    wide, narrow = FixedWindow(1_000_000, 3_600), FixedWindow(1, 7_200)
    for step in range(40):
        for _ in range(8):
            hits = [Hit(wide, f"s{step}"), Hit(narrow, f"s{step}")]
            leaving = asyncio.ensure_future(store.hit(hits))
            for _ in range(step):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        looks = await store.hit([hit._replace(cost=0) for hit in hits])
        assert [1_000_000 - looks[0].remaining, 1 - looks[1].remaining] in ([0, 0], [1, 1])


def test_of_changed_replies_none_admits_who_it_must_not_and_the_next_is_right(  # T-13
    tell: Callable[[int, str], None],
) -> None:
    counts = fuzz.run(400, seed=21)
    assert counts["surplus: exact"] > 20
    assert counts["replaced: error"] > 20
    tell(counts.total(), "replies")


@pytest.mark.slow
def test_of_20_000_changed_replies_none_admits_who_it_must_not(  # T-13
    tell: Callable[[int, str], None],
) -> None:
    tell(fuzz.run(20_000, seed=22).total(), "replies")
