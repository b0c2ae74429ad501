"""An outage multiplies no budget by the number of workers, and ends without renewing one."""

import asyncio
import gc

import pytest

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import GCRA, Concurrency, FixedWindow, Penalty
from quart_ratelimit.quotas.quota import share_of

from ..support.algorithms import RATES, name
from ..support.fleets import Crew, charged
from ..support.stores import hit

SIZES = pytest.mark.parametrize("count", [1, 2, 4, 8])
EACH = pytest.mark.parametrize("quota", RATES, ids=name)


# Shares


@pytest.mark.parametrize("workers", range(1, 12))
def test_the_parts_of_all_places_add_up(workers: int) -> None:
    for units in range(50):
        parts = [share_of(units, workers, place) for place in range(workers)]
        more = [share_of(units + 1, workers, place) for place in range(workers)]
        assert sum(parts) == units
        assert all(after >= before for before, after in zip(parts, more, strict=True))


@SIZES
@EACH
@pytest.mark.parametrize("used", [0, 1, 5, 9, 10])
async def test_a_fleet_admits_in_an_outage_what_was_left(
    quota: Quota, count: int, used: int
) -> None:
    crew = Crew(count)
    for _ in range(used):
        await crew.store.hit([hit(quota, "ann")])
    # Each worker hears of the key, and looks charge nothing.
    for guard in crew.guards:
        await guard.hit([Hit(quota, "ann", 0)])
    crew.cut()
    assert await crew.admitted(quota, 12) == 10 - used


@SIZES
@EACH
async def test_a_fleet_admits_the_amount_to_a_client_that_no_worker_knows(
    quota: Quota, count: int
) -> None:
    crew = Crew(count)
    crew.cut()
    assert await crew.admitted(quota, 12) == 10


@pytest.mark.parametrize("amount", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", [FixedWindow, GCRA])
async def test_a_limit_smaller_than_the_fleet_admits_its_amount(
    kind: type[Quota], amount: int
) -> None:
    crew = Crew(8)
    crew.cut()
    keys = [f"client-{number}" for number in range(20)]
    for key in keys:
        assert await crew.admitted(kind(amount, 60), 3, key=key) == amount
    # Not the same workers own the units of all keys.
    served = [await crew.admitted(kind(1, 61), 1, workers=[n], key=k) for n in (0, 5) for k in keys]
    assert 0 < sum(served) < len(served)


async def test_a_worker_without_a_unit_says_to_come_again_soon() -> None:
    crew = Crew(2)
    crew.cut()
    answers = [(await guard.hit([Hit(FixedWindow(1, 60), "ann")]))[0] for guard in crew.guards]
    (refused,) = [answer for answer in answers if not answer.allowed]
    assert (refused.by, refused.retry_ms, refused.remaining) == ("local", 1000, 0)


async def test_a_cost_above_a_share_is_refused_and_not_for_ever() -> None:
    crew = Crew(4)
    crew.cut()
    (refused,) = await crew.guards[0].hit([Hit(FixedWindow(10, 60), "ann", 5)])
    assert not refused.allowed
    assert refused.retry_ms


@SIZES
@EACH
async def test_what_comes_back_in_an_outage_is_shared_too(quota: Quota, count: int) -> None:
    crew = Crew(count)
    crew.cut()
    total = 0
    for _ in range(60):  # three minutes, each worker hit every 3 seconds
        total += await crew.admitted(quota, 2)
        crew.clock.now += 3_000
    # By any of these algorithms at most the amount at once and the amount a minute.
    assert 3 * 10 - count <= total <= 4 * 10


@pytest.mark.parametrize("burst", [1, 3])
async def test_a_burst_smaller_than_the_fleet_keeps_the_rate(burst: int) -> None:
    crew, quota = Crew(8), GCRA(60, 60, burst=burst)
    crew.cut()
    total = 0
    for _ in range(600):
        total += await crew.admitted(quota, 1)
        crew.clock.now += 100
    assert 58 <= total <= 60 + burst


@SIZES
async def test_places_in_flight_are_shared(count: int) -> None:
    crew, quota = Crew(count), Concurrency(10, 60)
    crew.cut()
    assert await crew.admitted(quota, 12) == 10


async def test_a_meta_limit_refuses_nobody_who_offended_nowhere() -> None:
    crew = Crew(8)
    crew.cut()
    for quota in (FixedWindow(2, 60), Penalty(2, 60)):
        for guard in crew.guards:
            look, offence = (
                Hit(quota, "ann", 0, of_breaches=True),
                Hit(quota, "ann", of_breaches=True),
            )
            assert (await guard.hit([look]))[0].allowed
            await guard.hit([offence])
            assert not (await guard.hit([look]))[0].allowed


async def test_a_refused_request_charges_no_share_of_its_other_limits() -> None:
    crew = Crew(2)
    crew.cut()
    small, large = FixedWindow(1, 60), FixedWindow(10, 60)
    lacking = [
        guard for guard in crew.guards if not (await guard.hit([Hit(small, "ann", 0)]))[0].allowed
    ]
    (guard,) = lacking
    refused, other = await guard.hit([Hit(small, "ann"), Hit(large, "ann")])
    assert not refused.allowed
    assert (other.allowed, other.remaining) == (True, 5)


# Charging back


@SIZES
@EACH
async def test_what_was_admitted_is_charged_when_the_store_is_back(
    quota: Quota, count: int
) -> None:
    crew = Crew(count)
    crew.cut()
    admitted = await crew.admitted(quota, 2)
    await crew.heal()
    assert await crew.left(quota) == 10 - admitted
    assert await crew.admitted(quota, 12) == 10 - admitted


@SIZES
@EACH
async def test_an_outage_on_top_of_what_was_used_renews_nothing(quota: Quota, count: int) -> None:
    crew = Crew(count)
    before = 0
    for guard in crew.guards[:1]:
        before += sum([(await guard.hit([hit(quota, "ann")]))[0].allowed for _ in range(6)])
    crew.cut()
    during = await crew.admitted(quota, 12)
    await crew.heal()
    after = await crew.admitted(quota, 12)
    # The others had not heard of the key: each takes its share of the whole amount.
    assert before + during + after <= 10 + 10 * (count - 1) / count
    assert await crew.left(quota) == 0


@EACH
async def test_a_charge_locks_nobody_out_for_longer_than_a_window(quota: Quota) -> None:
    crew = Crew(4)
    for _ in range(10):
        await crew.store.hit([hit(quota, "ann")])
    crew.cut()
    assert await crew.admitted(quota, 12) == 10  # no worker had heard of it
    await crew.heal()
    (look,) = await crew.store.hit([Hit(quota, "ann", 0)])
    assert look.retry_ms is not None
    assert look.retry_ms <= 60_000 + 6_000  # a segment of the strict one


@EACH
async def test_what_ended_during_the_outage_is_not_charged(quota: Quota) -> None:
    crew = Crew(4)
    crew.cut()
    await crew.admitted(quota, 12)
    crew.clock.now += 130_000
    await crew.heal()
    assert await crew.left(quota) == 10


@EACH
async def test_a_charge_is_sent_at_most_once_if_every_reply_is_lost(quota: Quota) -> None:
    crew = Crew(1)
    crew.cut()
    assert await crew.admitted(quota, 4) == 4
    (path,), (guard,) = crew.paths, crew.guards
    path.is_cut = False
    await guard.hit([Hit(quota, "bob", 0)])
    path.loses = True
    await charged(guard)
    for _ in range(5):
        guard._payer.start()
        await charged(guard)
    path.loses = False
    await crew.heal()
    assert await crew.left(quota) == 6


async def test_a_hit_whose_reply_was_lost_is_not_charged_again() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    crew.paths[0].loses = True
    assert await crew.admitted(quota, 3) == 3
    crew.paths[0].loses = False
    await crew.heal()
    assert await crew.left(quota) == 7


async def test_an_outage_goes_on_from_a_charge_that_was_lost() -> None:
    crew, quota = Crew(2), FixedWindow(10, 60)
    crew.cut()
    first = await crew.admitted(quota, 12, workers=[0])
    crew.paths[0].is_cut = False
    await crew.guards[0].hit([Hit(quota, "bob", 0)])
    crew.paths[0].loses = True
    await charged(crew.guards[0])
    crew.paths[0].loses = False
    crew.cut()
    assert first == 5
    assert await crew.admitted(quota, 12, workers=[0]) == 0


@EACH
async def test_an_outage_of_one_key_forgets_nothing_when_another_key_is_decided(
    quota: Quota,
) -> None:
    """What one key owed was taken out, nothing of it was to be charged, and all was forgotten."""
    crew = Crew(1)
    (path,) = crew.paths
    assert await crew.admitted(quota, 3) == 3
    path.loses = True
    assert await crew.admitted(quota, 1) == 1
    path.loses = False
    await crew.heal()
    crew.cut()
    assert await crew.admitted(quota, 12) == 6


@EACH
async def test_a_look_that_finds_lost_hits_uncounted_is_believed(quota: Quota) -> None:
    """They were counted on top of what the store said, so the next outage refused for them."""
    crew = Crew(1)
    (path,), (guard,) = crew.paths, crew.guards
    path.loses = True
    assert await crew.admitted(quota, 3) == 3
    path.loses = False
    await crew.store.clear()
    guard._payer._probe()
    await charged(guard)
    crew.cut()
    assert await crew.admitted(quota, 12) == 10


@pytest.mark.parametrize("sent", [0, 1])
@EACH
async def test_a_charge_that_was_not_sent_leaves_all_that_is_known_of_its_key(
    quota: Quota, sent: int
) -> None:
    crew = Crew(1)
    (path,), (guard,) = crew.paths, crew.guards
    assert await crew.admitted(quota, 3) == 3
    if sent:
        path.loses = True
        assert await crew.admitted(quota, 1) == 1
        path.loses = False
    crew.cut()
    assert await crew.admitted(quota, 2) == 2
    for _ in range(3):
        guard._payer.start()
        await charged(guard)
    assert await crew.admitted(quota, 12) == 5 - sent
    await crew.heal()
    assert await crew.left(quota) == 0


async def test_a_hit_while_a_charge_fails_forgets_nothing() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    (path,), (guard,) = crew.paths, crew.guards
    await crew.admitted(quota, 3)
    crew.cut()
    assert await crew.admitted(quota, 2) == 2
    path.waits = asyncio.Event()
    guard._payer.start()
    await asyncio.sleep(0)
    hitting = asyncio.ensure_future(crew.admitted(quota, 12))
    await asyncio.sleep(0)
    path.waits.set()
    assert await hitting == 5
    await charged(guard)
    assert await crew.admitted(quota, 12) == 0
    path.waits = None
    await crew.heal()
    assert await crew.left(quota) == 0


async def test_a_reset_while_a_charge_fails_leaves_nothing_to_charge() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    (path,), (guard,) = crew.paths, crew.guards
    crew.cut()
    assert await crew.admitted(quota, 4) == 4
    path.waits = asyncio.Event()
    guard._payer.start()
    await asyncio.sleep(0)
    with pytest.raises(Exception, match="away"):
        await guard.reset([Hit(quota, "ann")])
    path.waits.set()
    await charged(guard)
    path.waits = None
    await crew.heal()
    assert await crew.left(quota) == 10


@EACH
async def test_what_was_given_back_in_an_outage_is_not_charged(quota: Quota) -> None:
    crew = Crew(1)
    crew.cut()
    (guard,) = crew.guards
    (charged_here,) = await guard.hit([hit(quota, "ann", 4)])
    await guard.local.hit([hit(quota, "ann", -3, at_ms=charged_here.at_ms)])
    await crew.heal()
    assert await crew.left(quota) == 9


async def test_a_reset_in_an_outage_leaves_nothing_to_charge() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    crew.cut()
    await crew.admitted(quota, 4)
    with pytest.raises(Exception, match="away"):
        await crew.guards[0].reset([Hit(quota, "ann")])
    await crew.heal()
    assert await crew.left(quota) == 10


async def test_a_caller_that_leaves_a_reset_that_fails_leaves_no_unseen_error() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    crew.cut()
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    crew.paths[0].reset_waits = waits = asyncio.Event()
    leaving = asyncio.ensure_future(crew.guards[0].reset([Hit(quota, "ann")]))
    for _ in range(3):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    del leaving
    waits.set()
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []


async def test_a_clear_leaves_nothing_to_charge() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    crew.cut()
    await crew.admitted(quota, 4)
    await crew.guards[0].clear()
    await crew.heal()
    assert await crew.left(quota) == 10


async def test_a_key_that_owes_is_charged_before_its_next_hit() -> None:
    crew, quota = Crew(1), FixedWindow(10, 60)
    crew.cut()
    for number in range(500):
        await crew.admitted(quota, 1, key=f"client-{number}")
    assert await crew.admitted(quota, 12) == 10
    crew.paths[0].is_cut = False
    (guard,) = crew.guards
    await guard.hit([Hit(quota, "bob", 0)])
    await asyncio.sleep(0)
    assert not (await guard.hit([Hit(quota, "ann")]))[0].allowed
    await charged(guard)


async def test_limits_that_share_a_counter_are_charged_once() -> None:
    crew = Crew(2)
    five, hundred = FixedWindow(5, 3600, aligned=True), FixedWindow(100, 3600, aligned=True)
    crew.cut()
    assert await crew.admitted(five, 1) + await crew.admitted(hundred, 20) == 42
    await crew.heal()
    assert await crew.left(hundred) == 58


async def test_places_that_are_still_held_are_taken_in_the_store() -> None:
    crew, quota = Crew(1), Concurrency(10, 60)
    crew.cut()
    held = [hit(quota, "ann") for _ in range(4)]
    for one in held:
        await crew.guards[0].hit([one])
    await crew.guards[0].local.hit([held[0]._replace(cost=-1)])
    await crew.heal()
    assert await crew.left(quota) == 7
    for one in held:
        await crew.store.hit([one._replace(cost=-1)])
    assert await crew.left(quota) == 10


async def test_a_give_back_waits_for_no_charge_that_began_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quart_ratelimit.stores.payer.PIECE", 1)
    crew, quota = Crew(1), Concurrency(10, 60)
    (path,), (guard,) = crew.paths, crew.guards
    crew.cut()
    held = hit(quota, "ann")
    await guard.hit([held])
    await crew.admitted(FixedWindow(10, 60), 1, key="bob")
    path.is_cut, path.waits = False, asyncio.Event()
    first = path.waits
    guard._payer.start()
    for _ in range(5):
        await asyncio.sleep(0)
    giving_back = asyncio.ensure_future(guard.hit([held._replace(cost=-1)]))
    path.waits = asyncio.Event()
    paying = asyncio.ensure_future(guard.hit([Hit(FixedWindow(10, 60), "bob")]))
    for _ in range(5):
        await asyncio.sleep(0)
    path.waits, second = None, path.waits
    first.set()
    await asyncio.wait_for(giving_back, 5)
    assert await crew.left(quota) == 10
    second.set()
    await paying
    await charged(guard)


async def test_a_worker_that_is_cut_off_alone_takes_no_more_than_its_share() -> None:
    crew, quota = Crew(4), FixedWindow(100, 60)
    crew.cut(2)
    assert await crew.admitted(quota, 100, workers=[2]) == 25
    assert await crew.admitted(quota, 100, workers=[0, 1, 3]) == 100
    await crew.heal()
    assert await crew.left(quota) == 0
