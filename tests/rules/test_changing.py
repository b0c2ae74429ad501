"""Changing a limit keeps what was used, if the limit has a name: by every algorithm and store."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from quart import Quart

from quart_ratelimit import (
    GCRA,
    ConfigurationError,
    Decision,
    FixedWindow,
    Hit,
    Limit,
    Limiter,
    MovingWindow,
    Quota,
    RateLimitExceeded,
)
from quart_ratelimit.direct.in_flight import InFlight
from quart_ratelimit.quotas import Penalty, StrictWindow
from quart_ratelimit.stores import GuardedStore, MemoryStore, Store
from quart_ratelimit.stores.redis import script

from ..support.algorithms import ALL, RATES, name
from ..support.apps import Clock, Make, ask, clock, make, view
from ..support.lua_twin import LuaStore
from ..support.stores import hit, store, who
from ..support.trails import QUOTAS, trail, walk

__all__ = ["clock", "make", "store"]  # fixtures

#: Each with a name; an aligned window's key has no amount in it, named or not. A block stands,
#: whatever becomes of the amount: the offences before it are no longer counted.
NAMED = [replace(quota, name="login") for quota in ALL if not isinstance(quota, Penalty)]
MINUTE = 60_000


def of(quota: Quota, amount: int) -> Quota:
    """The same limit with another amount."""
    if isinstance(quota, GCRA):
        return replace(quota, amount=amount, burst=amount)
    return replace(quota, amount=amount)


async def use(store: Store, quota: Quota, key: str, units: int) -> None:
    await asyncio.gather(*[store.hit([hit(quota, key)]) for _ in range(units)])


@pytest.mark.parametrize("quota", NAMED, ids=name)
async def test_what_was_used_is_kept_when_the_amount_changes(store: Store, quota: Quota) -> None:
    ann = who()
    await use(store, quota, ann, 7)
    left = []
    for amount in (20, 8, 5, 10):
        (look,) = await store.hit([hit(of(quota, amount), ann, 0)])
        left.append((look.allowed, look.remaining))
    assert left == [(True, 13), (True, 1), (False, 0), (True, 3)]


@pytest.mark.parametrize("quota", NAMED, ids=name)
async def test_who_is_refused_is_allowed_once_the_limit_is_raised(
    store: Store, quota: Quota
) -> None:
    ann = who()
    await use(store, quota, ann, 12)
    assert not (await store.hit([hit(quota, ann)]))[0].allowed
    (decision,) = await store.hit([hit(of(quota, 20), ann)])
    # Of an aligned window the refused ones count as well: `INCRBY` asks nobody.
    assert decision.allowed
    assert decision.remaining in ((6, 7, 9) if getattr(quota, "aligned", False) else (9,))


@pytest.mark.parametrize("quota", [q for q in RATES if not getattr(q, "aligned", False)], ids=name)
async def test_without_a_name_each_amount_counts_apart_as_in_flask_limiter(
    store: Store, quota: Quota
) -> None:
    ann = who()
    await use(store, quota, ann, 7)
    assert (await store.hit([hit(of(quota, 20), ann, 0)]))[0].remaining == 20


async def test_other_names_and_periods_and_segments_count_apart(store: Store) -> None:
    ann, one = who(), StrictWindow(10, 60, name="login")
    others: Sequence[Quota] = [
        replace(one, name="search"),
        replace(one, period=120),
        replace(one, segments=20),
        MovingWindow(10, 60, name="login"),
        StrictWindow(10, 60),
    ]
    await use(store, one, ann, 7)
    assert [d.remaining for d in await store.hit([hit(q, ann, 0) for q in others])] == [10] * 5


@pytest.mark.parametrize("quota", NAMED, ids=name)
def test_the_wait_is_exact_after_a_change(redis_url: str, quota: Quota) -> None:
    in_redis, memory, now = LuaStore(redis_url, script.script()), MemoryStore(), 1_800_000_012_345
    numbers = itertools.count()
    before, after = of(quota, 20), of(quota, 6)
    for pause in (0, 7, 1_000, 15_000):
        now += pause
        hits = [Hit(before, "ann", lease=f"{next(numbers)}") for _ in range(4)]
        in_redis.decide([[each] for each in hits], now)
        for each in hits:
            memory.decide([each], now)
    refused = Hit(after, "ann", lease="last")

    def by_redis(at: int) -> Decision:
        return in_redis.decide([[refused]], at)[0][0]

    def by_memory(at: int) -> Decision:
        return memory.decide([refused], at)[0]

    for decide in (by_redis, by_memory):
        wait = decide(now).retry_ms
        assert wait
        early, then = decide(now + wait - 1), decide(now + wait)
        # Redis keeps a debt no longer than it took to drain before the change.
        if not (isinstance(quota, GCRA) and decide is by_redis):
            assert (early.allowed, early.retry_ms) == (False, 1)
        assert then.allowed
    in_redis.close()


@pytest.mark.parametrize("algorithm", [name for name in QUOTAS if name != "gcra"])
def test_lua_and_python_decide_alike_while_the_amount_changes(
    redis_url: str, algorithm: str
) -> None:
    """But GCRA's debts: when they are forgotten depends on the amount of the last hit."""
    quota = replace(QUOTAS[algorithm], name="login")
    others = [of(quota, amount) for amount in (1, 3, 20)]
    steps = itertools.islice(trail(quota, seed=2, others=others), 3_000)
    walk(redis_url, script.script(), steps)


@pytest.mark.parametrize("quota", NAMED, ids=name)
async def test_a_remembered_refusal_does_not_outlive_a_change(quota: Quota) -> None:
    store = GuardedStore(MemoryStore(), remember_ms=1000)
    await use(store, quota, "ann", 12)
    assert not (await store.hit([hit(quota, "ann")]))[0].allowed
    assert (await store.hit([hit(of(quota, 20), "ann")]))[0].allowed


async def test_a_refusal_of_one_name_is_none_of_another() -> None:
    store = GuardedStore(MemoryStore(), remember_ms=1000)
    login, search = (FixedWindow(1, 60, name=name) for name in ("login", "search"))
    await use(store, login, "ann", 2)
    assert (await store.hit([hit(search, "ann")]))[0].allowed


def test_a_limit_too_fine_for_one_scale_keeps_its_own() -> None:
    huge = GCRA(10**9, 2_592_000, name="tokens")
    assert huge.counter != of(huge, 10).counter
    assert of(huge, 20).counter == of(huge, 10).counter


async def test_a_plan_that_changes_keeps_what_its_tenant_used(make: Make, clock: Clock) -> None:
    plans = {"free": "3/minute; 100/day", "pro": "5/minute; 1000/day; 9/second"}
    tier = "free"
    limit = Limit(lambda: plans[tier], name="plan")
    app, _ = make(default_limits=[limit], header_fields="draft-10")
    view(app, "/")
    assert await ask(app, "/", 4) == [200, 200, 200, 429]
    tier = "pro"
    assert await ask(app, "/", 3) == [200, 200, 429]
    tier = "free"
    assert await ask(app, "/", 1) == [429]
    clock.forward(60)
    assert await ask(app, "/", 4) == [200, 200, 200, 429]


async def test_a_text_with_one_period_twice_counts_its_limits_apart(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("3/minute; 9/minute", name="odd"))
    assert await ask(app, "/", 4) == [200, 200, 200, 429]


async def test_places_in_flight_are_kept_when_their_number_changes() -> None:
    limiter = Limiter(app=Quart(__name__), store=MemoryStore())

    def places(amount: int) -> InFlight:
        return limiter.in_flight(amount, "ann")

    async with places(3), places(3):
        with pytest.raises(RateLimitExceeded):
            async with places(2):
                pass
        async with places(3):
            pass


async def test_two_limits_of_a_function_do_not_share_a_name(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("1/minute", name="api")
    view(app, "/", limit, limit, limiter.limit("1/minute", name="api", key_func=lambda: "all"))
    with pytest.raises(ConfigurationError, match="own has two limits with name='api'"):
        view(app, "/own", limiter.limit("9/minute", name="api", methods=["POST"]), limit)


async def test_a_shield_lets_a_client_in_within_a_second_of_a_change() -> None:
    amount, now = 2, [5_000]
    app = Quart(__name__)
    memory = MemoryStore(now_ms=lambda: 1_800_000_000_000 + now[0])
    store = GuardedStore(memory, remember_ms=1000, now_ms=lambda: now[0])
    limiter = Limiter(app=app, store=store)
    limiter.shield(app)
    view(app, "/", limiter.limit(lambda: f"{amount}/minute", name="login"))
    assert await ask(app, "/", 4, who="192.0.2.1") == [200, 200, 429, 429]
    amount = 4
    now[0] += 1_000
    assert await ask(app, "/", 3, who="192.0.2.1") == [200, 200, 429]
