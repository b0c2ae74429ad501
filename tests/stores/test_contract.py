"""What every store promises of every algorithm. A new store is one more parameter of `store`."""

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import GCRA, Concurrency, FixedWindow, MovingWindow
from quart_ratelimit.quotas.fixed_window import KEPT_LONGER
from quart_ratelimit.stores import RedisStore, Store
from quart_ratelimit.stores.redis import script

from ..support.algorithms import ALL, RATES, name
from ..support.lua_twin import LuaStore
from ..support.stores import hit, store, who

__all__ = ["store"]  # fixtures


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_the_amount_is_allowed_and_no_more(store: Store, quota: Quota) -> None:
    ann = who()
    answers = await asyncio.gather(*[store.hit([hit(quota, ann)]) for _ in range(50)])
    assert sum(decision.allowed for (decision,) in answers) == 10
    refused = [decision for (decision,) in answers if not decision]
    assert all(d.remaining == 0 and 0 < (d.retry_ms or 0) <= 66_000 for d in refused)


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_clients_do_not_share(store: Store, quota: Quota) -> None:
    ann, bob = who(), who()
    await asyncio.gather(*[store.hit([hit(quota, ann)]) for _ in range(11)])
    (decision,) = await store.hit([hit(quota, bob)])
    assert (decision.allowed, decision.remaining) == (True, 9)


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_key_may_be_any_text_and_harms_no_other(store: Store, quota: Quota) -> None:
    ann, bob, eve = who(), who(), f"{who()}\ud800"
    answers = await asyncio.gather(*[store.hit([hit(quota, key)]) for key in [ann, eve, bob, eve]])
    assert [decision.remaining for (decision,) in answers] == [9, 9, 9, 8]
    assert await store.reset([hit(quota, eve)]) == 1
    (look,) = await store.hit([hit(quota, eve, 0)])
    assert look.remaining == 10


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_look_charges_nothing_and_tells_what_a_hit_would_be_told(
    store: Store, quota: Quota
) -> None:
    ann = who()
    for _ in range(3):
        (look,) = await store.hit([hit(quota, ann, 0)])
        assert (look.allowed, look.remaining) == (True, 10)
    await asyncio.gather(*[store.hit([hit(quota, ann)]) for _ in range(10)])
    (look,) = await store.hit([hit(quota, ann, 0)])
    assert (look.allowed, look.remaining) == (False, 0)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_cost_is_charged_whole_or_not_at_all(store: Store, quota: Quota) -> None:
    ann = who()
    assert [bool(d) for d in await store.hit([hit(quota, ann, 7)])] == [True]
    (refused,) = await store.hit([hit(quota, ann, 4)])
    assert (refused.allowed, refused.remaining) == (False, 3)
    assert (await store.hit([hit(quota, ann, 3)]))[0].allowed


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_cost_that_can_never_be_allowed_has_no_wait(store: Store, quota: Quota) -> None:
    (refused,) = await store.hit([hit(quota, who(), 11)])
    assert (refused.allowed, refused.retry_ms, refused.remaining) == (False, None, 10)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_what_is_given_back_may_be_used_again(store: Store, quota: Quota) -> None:
    ann = who()
    (charged,) = await store.hit([hit(quota, ann, 10)])
    (back,) = await store.hit([hit(quota, ann, -4, at_ms=charged.at_ms)])
    assert back.allowed
    # GCRA may hold back what could have drained since; no other algorithm does.
    assert 3 <= back.remaining <= 4
    (too_much,) = await store.hit([hit(quota, ann, 5)])
    assert not too_much.allowed


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_what_was_charged_too_long_ago_is_not_given_back(store: Store, quota: Quota) -> None:
    ann = who()
    (charged,) = await store.hit([hit(quota, ann, 10)])
    (back,) = await store.hit([hit(quota, ann, -4, at_ms=charged.at_ms - 3 * quota.period_ms)])
    assert back.remaining == 0


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_forced_hit_is_charged_past_the_limit(store: Store, quota: Quota) -> None:
    ann = who()
    await asyncio.gather(*[store.hit([hit(quota, ann)]) for _ in range(10)])
    (forced,) = await store.hit([hit(quota, ann, forced=True)])
    assert (forced.allowed, forced.remaining) == (True, 0)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_what_was_forced_past_the_limit_still_counts_when_some_is_given_back(
    store: Store, quota: Quota
) -> None:
    ann = who()
    (charged,) = await store.hit([hit(quota, ann, 10)])
    await store.hit([hit(quota, ann, 5, forced=True)])
    (back,) = await store.hit([hit(quota, ann, -4, at_ms=charged.at_ms)])
    assert back.remaining == 0
    assert not (await store.hit([hit(quota, ann)]))[0].allowed


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_refused_hits_do_not_keep_what_is_given_back(store: Store, quota: Quota) -> None:
    ann = who()
    hits = [hit(quota, ann, refundable=True) for _ in range(30)]
    decisions = [d for (d,) in await asyncio.gather(*[store.hit([each]) for each in hits])]
    charged = [decision for decision in decisions if decision]
    assert len(charged) == 10
    for decision in charged:
        await store.hit([hit(quota, ann, -1, at_ms=decision.at_ms)])
    (look,) = await store.hit([hit(quota, ann, 0)])
    # GCRA may hold back what could have drained since; no other algorithm does.
    assert look.remaining >= (9 if isinstance(quota, GCRA) else 10)


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_overlapping_reservations_are_charged_what_they_spent(
    store: Store, quota: Quota
) -> None:
    ann = who()
    first, second = [(await store.hit([hit(quota, ann, 2, refundable=True)]))[0] for _ in range(2)]
    await store.hit([hit(quota, ann, 98, at_ms=first.at_ms, forced=True)])
    (back,) = await store.hit([hit(quota, ann, -1, at_ms=second.at_ms)])
    assert back.remaining == 0  # 101 of 10 were spent
    assert not (await store.hit([hit(quota, ann)]))[0].allowed


@pytest.mark.parametrize("refundable", [True, False], ids=["refundable", "plain"])
@pytest.mark.parametrize("refunded", [5, 100])
async def test_a_refund_gives_back_nothing_that_another_limit_of_the_counter_charged(
    store: Store, refunded: int, refundable: bool
) -> None:
    """Two limits by the clock, of one period and one key."""
    ann = who()
    quotas = {amount: FixedWindow(amount, 31_104_000, aligned=True) for amount in (5, 100)}

    async def admitted(amount: int, times: int) -> list[int]:
        hits = [hit(quotas[amount], ann, refundable=refundable) for _ in range(times)]
        decisions = [d for (d,) in await asyncio.gather(*[store.hit([each]) for each in hits])]
        return [decision.at_ms for decision in decisions if decision]

    charged = {5: await admitted(5, 3), 100: await admitted(100, 200)}
    assert len(charged[5]) + len(charged[100]) == 100
    await store.hit([hit(quotas[refunded], ann, -1, at_ms=charged[refunded][0])])
    assert await admitted(5, 20) == []
    assert len(await admitted(100, 200)) <= 1


async def test_what_plain_refused_hits_left_in_a_counter_errs_on_the_safe_side(
    store: Store,
) -> None:
    """The snippet's own counter counts them; a refund cannot tell how many there were."""
    ann, quota = who(), FixedWindow(10, 31_104_000, aligned=True)
    answers = [(await store.hit([hit(quota, ann)]))[0] for _ in range(15)]
    for decision in answers[:4]:
        await store.hit([hit(quota, ann, -1, at_ms=decision.at_ms)])
    (look,) = await store.hit([hit(quota, ann, 0)])
    assert look.remaining <= 4


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_a_forced_cost_of_any_size_is_counted_and_harms_nobody_beside_it(
    store: Store, quota: Quota
) -> None:
    ann, bob = who(), who()
    huge = [store.hit([hit(quota, ann, 10**30, forced=True)]) for _ in range(3)]
    *forced, (beside,) = await asyncio.gather(*huge, store.hit([hit(quota, bob)]))
    assert all(decision.allowed and decision.remaining == 0 for (decision,) in forced)
    assert beside.remaining == 9
    assert not (await store.hit([hit(quota, ann)]))[0].allowed


@pytest.mark.parametrize("cost", [2**52, 2**53 - 2])
@pytest.mark.parametrize("aligned", [False, True], ids=["", "aligned"])
async def test_numbers_are_exact_up_to_the_largest_that_is_allowed(
    store: Store, cost: int, aligned: bool
) -> None:
    ann, quota = who(), FixedWindow(2**53 - 1, 86_400, aligned=aligned)
    assert (await store.hit([hit(quota, ann, cost)]))[0].remaining == 2**53 - 1 - cost
    assert (await store.hit([hit(quota, ann, 2**53 - 1 - cost)]))[0].remaining == 0
    assert not (await store.hit([hit(quota, ann, 1)]))[0].allowed


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_refused_request_charges_no_other_limit(store: Store, quota: Quota) -> None:
    ann = who()
    other = MovingWindow(1, 60)
    assert all(await store.hit([hit(quota, ann), hit(other, ann)]))
    decisions = await store.hit([hit(quota, ann), hit(other, ann)])
    assert [decision.allowed for decision in decisions] == [True, False]
    assert decisions[0].remaining == 9
    assert (await store.hit([hit(quota, ann, 0)]))[0].remaining == 9


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_two_hits_on_one_key_in_one_request_both_count(store: Store, quota: Quota) -> None:
    ann = who()
    decisions = await store.hit([hit(quota, ann), hit(quota, ann)])
    assert [decision.remaining for decision in decisions] == [9, 8]


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_reset_forgets_one_key(store: Store, quota: Quota) -> None:
    ann, bob = who(), who()
    for client in (ann, bob):
        await store.hit([hit(quota, client)])
    assert await store.reset([hit(quota, ann)]) == 1
    assert (await store.hit([hit(quota, ann, 0)]))[0].remaining == 10
    assert (await store.hit([hit(quota, bob, 0)]))[0].remaining == 9


async def test_a_lease_is_renewed_and_given_back(store: Store) -> None:
    quota, key = Concurrency(1, 60), who()
    for _ in range(3):
        assert (await store.hit([Hit(quota, key, lease="mine")]))[0].allowed
    assert not (await store.hit([Hit(quota, key, lease="theirs")]))[0].allowed
    await store.hit([Hit(quota, key, -1, lease="theirs")])
    assert not (await store.hit([Hit(quota, key, lease="theirs")]))[0].allowed
    await store.hit([Hit(quota, key, -1, lease="mine")])
    assert (await store.hit([Hit(quota, key, lease="theirs")]))[0].allowed


async def test_windows_by_the_clock_share_a_counter_whatever_their_amount(store: Store) -> None:
    narrow = FixedWindow(10, 86_400, aligned=True)
    wide = FixedWindow(100, 86_400, aligned=True)
    longer = FixedWindow(100, 864_000, aligned=True)
    ann = who()
    await asyncio.gather(*[store.hit([hit(narrow, ann)]) for _ in range(7)])
    assert (await store.hit([hit(wide, ann)]))[0].remaining == 92
    together = await store.hit([hit(wide, ann), hit(narrow, ann, 0), hit(longer, ann)])
    assert [decision.remaining for decision in together] == [91, 1, 99]


async def test_clear_forgets_everything(store: Store) -> None:
    keys = [who() for _ in range(20)]
    for key in keys:
        await store.hit([hit(RATES[0], key)])
    assert await store.clear() >= 20
    assert (await store.hit([hit(RATES[0], keys[0], 0)]))[0].remaining == 10


async def commands_of(url: str, hits: list[Hit]) -> int:
    """How many commands one request runs in Redis, with those of its script."""
    store = RedisStore(url, deadline=5)
    await store.start()
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.config_resetstat()
        await store.hit(hits)
        stats = await client.info("commandstats")
    await store.aclose()
    return sum(stat["calls"] for stat in stats.values())


@pytest.mark.parametrize("make", [MovingWindow, Concurrency])
async def test_a_hit_asks_as_much_of_redis_however_much_is_remembered(
    redis_url: str, make: Callable[[int, int], Quota]
) -> None:
    asked = []
    for amount in (10, 1_000):
        store, quota = RedisStore(redis_url, deadline=5), make(amount, 60)
        for _ in range(10):
            hits = [hit(quota, "ann") for _ in range(amount // 10)]
            await asyncio.gather(*[store.hit([each]) for each in hits])
        await store.aclose()
        refused, allowed = hit(quota, "ann"), hit(quota, "ann", forced=True)
        asked.append([await commands_of(redis_url, [each]) for each in (refused, allowed)])
    assert asked[0] == asked[1]


@pytest.mark.parametrize("quota", ALL, ids=name)
def test_the_wait_that_redis_tells_is_exact(redis_url: str, quota: Quota) -> None:
    """In a script whose time the test turns; test_laws.py holds it in Python for any traffic."""
    store, now = LuaStore(redis_url, script.script()), 1_800_000_012_345
    for pause in (0, 7, 1_000, 20_000):
        now += pause
        for _ in range(4):
            store.decide([[hit(quota, "ann")]], now)
    [[refused]] = store.decide([[hit(quota, "ann")]], now)
    assert refused.retry_ms
    [[early]] = store.decide([[hit(quota, "ann")]], now + refused.retry_ms - 1)
    [[then]] = store.decide([[hit(quota, "ann")]], now + refused.retry_ms)
    assert (early.allowed, early.retry_ms, then.allowed) == (False, 1, True)
    store.close()


@pytest.mark.parametrize("quota", [q for q in RATES if not isinstance(q, MovingWindow)], ids=name)
def test_a_value_that_is_none_of_ours_is_a_key_never_hit(redis_url: str, quota: Quota) -> None:
    store, now = LuaStore(redis_url, script.script()), 1_800_000_012_345
    store.put(f"twin:{quota.state_key('ann', now)}", "-5")
    [[decision]] = store.decide([[hit(quota, "ann")]], now)
    assert (decision.allowed, decision.remaining) == (True, 9)
    store.close()


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_every_redis_key_expires_once_it_is_as_good_as_never_hit(
    redis_url: str, quota: Quota
) -> None:
    store = RedisStore(redis_url, deadline=5)
    decisions = [(await store.hit([hit(quota, "ann", cost)]))[0] for cost in (1, 1, 20, -1, 0)]
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        (key,) = await client.keys()
        # PEXPIRE counts from Redis' cached time, which can be 1 ms behind that of the script.
        late_ms = 1000 * KEPT_LONGER if getattr(quota, "aligned", False) else 1
        assert 0 < await client.pttl(key) <= max(60_000, decisions[-1].reset_ms) + late_ms
    await store.aclose()


# Late hits: admitted while the store was away


@pytest.mark.parametrize("quota", ALL, ids=name)
async def test_a_late_hit_is_charged_as_far_as_there_is_room(store: Store, quota: Quota) -> None:
    key = who()
    for late, left in ((1, 9), (1, 8)):
        (decision,) = await store.hit([hit(quota, key, late, late=True)])
        assert (decision.allowed, decision.remaining) == (True, left)
    for _ in range(20):
        (decision,) = await store.hit([hit(quota, key, late=True)])
        assert decision.allowed
    (look,) = await store.hit([hit(quota, key, 0)])
    assert not look.allowed
    assert look.retry_ms is not None
    assert look.retry_ms <= 66_000


@pytest.mark.parametrize("quota", RATES, ids=name)
async def test_of_a_late_hit_that_is_too_dear_only_what_fits_is_charged(
    store: Store, quota: Quota
) -> None:
    key = who()
    await store.hit([hit(quota, key, 7)])
    (decision,) = await store.hit([hit(quota, key, 8, late=True)])
    assert (decision.allowed, decision.remaining) == (True, 0)
    (refused,) = await store.hit([hit(quota, key)])
    assert refused.retry_ms is not None
    assert refused.retry_ms <= 66_000  # a period, and a segment of the strict window
