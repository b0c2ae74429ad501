"""Code that asks by itself: peek, refund, reserve and settle, wait, places in flight."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from quart import Quart, Response
from quart.typing import ResponseReturnValue

from quart_ratelimit import (
    ConfigurationError,
    Decision,
    Hit,
    InvalidLimit,
    Limiter,
    RateLimitExceeded,
)
from quart_ratelimit.direct.turns import Turns
from quart_ratelimit.quotas import GCRA, FixedWindow, Quota
from quart_ratelimit.stores import MemoryStore


class Clock:
    """Milliseconds that a test turns; its sleepers wake when their time has come."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1000)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(app=Quart(__name__), store=MemoryStore(now_ms=clock), strategy="gcra")


async def test_peek_charges_nothing(limiter: Limiter) -> None:
    assert [(await limiter.peek("2/minute", "ann")).remaining for _ in range(3)] == [2, 2, 2]
    await limiter.hit("2/minute", "ann", cost=2)
    assert not await limiter.peek("2/minute", "ann")


async def test_refund_gives_back_what_was_charged(limiter: Limiter) -> None:
    charged = await limiter.hit("10/minute", "ann", cost=10)
    assert (await limiter.refund("10/minute", "ann", charged=charged, cost=4)).remaining == 4


async def test_reset_starts_one_key_afresh_or_all(limiter: Limiter) -> None:
    for who in ("ann", "bob"):
        await limiter.hit("2/minute", who, cost=2)
    assert await limiter.reset("2/minute", "ann") == 1
    assert (await limiter.peek("2/minute", "ann")).remaining == 2
    assert (await limiter.peek("2/minute", "bob")).remaining == 0
    assert await limiter.reset() == 1
    assert (await limiter.peek("2/minute", "bob")).remaining == 2


@pytest.mark.parametrize(("actual", "left"), [(None, 40), (60, 40), (25, 75), (0, 100), (90, 10)])
async def test_a_reservation_is_settled_as_its_block_ends(
    limiter: Limiter, actual: int | None, left: int
) -> None:
    async with limiter.reserve("100/hour", "ann", cost=60) as reservation:
        assert (await limiter.peek("100/hour", "ann")).remaining == 40
        if actual is not None:
            reservation.settle(actual)
    assert (await limiter.peek("100/hour", "ann")).remaining == left


async def test_what_was_spent_past_the_limit_is_charged_too(limiter: Limiter) -> None:
    async with limiter.reserve("100/hour", "ann", cost=60) as reservation:
        reservation.settle(150)
    refused = await limiter.hit("100/hour", "ann")
    # 51 units must drain, at 36 s each.
    assert (refused.allowed, refused.retry_ms) == (False, 51 * 36_000)


async def test_work_that_fails_unsettled_is_given_back(limiter: Limiter) -> None:
    with pytest.raises(ZeroDivisionError):
        async with limiter.reserve("100/hour", "ann", cost=60):
            raise ZeroDivisionError
    assert (await limiter.peek("100/hour", "ann")).remaining == 100


async def test_work_that_fails_after_it_was_settled_is_charged_so(limiter: Limiter) -> None:
    async def work() -> None:
        async with limiter.reserve("100/hour", "ann", cost=60) as reservation:
            reservation.settle(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert (await limiter.peek("100/hour", "ann")).remaining == 90


async def test_cancelled_work_stays_charged(limiter: Limiter) -> None:
    """A client that goes away must not get for nothing what was spent on it."""
    working = asyncio.Event()

    async def work() -> None:
        async with limiter.reserve("100/hour", "ann", cost=60):
            working.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await limiter.peek("100/hour", "ann")).remaining == 40


async def test_a_reservation_that_is_refused_never_enters_its_block(limiter: Limiter) -> None:
    await limiter.hit("100/hour", "ann", cost=50)
    with pytest.raises(RateLimitExceeded) as caught:
        async with limiter.reserve("100/hour", "ann", cost=60):
            pytest.fail("entered")
    assert caught.value.retry_after == 360


async def test_a_cost_that_can_never_be_is_refused_before_anything_is_asked(
    limiter: Limiter,
) -> None:
    with pytest.raises(
        InvalidLimit, match="cost=101 can never be allowed by '100 per 1 hour burst 100'"
    ):
        limiter.reserve("100/hour", "ann", cost=101)
    with pytest.raises(InvalidLimit, match="cost=0"):
        limiter.reserve("100/hour", "ann", cost=0)


async def test_settle_takes_only_a_cost_and_only_in_its_block(limiter: Limiter) -> None:
    async with limiter.reserve("100/hour", "ann", cost=60) as reservation:
        with pytest.raises(ConfigurationError, match=r"settle\(-1\)"):
            reservation.settle(-1)
    with pytest.raises(ConfigurationError, match="has ended"):
        reservation.settle(1)


@pytest.fixture
def turns(clock: Clock) -> Turns:
    return Turns(longest=5, sleep=clock.sleep, now=clock.seconds)


async def take(
    turns: Turns,
    limiter: Limiter,
    seconds: float,
    limit: str | Quota = "60/minute burst 1",
    cost: int = 1,
) -> list[Decision]:
    hits = await limiter._hits(limiter.quotas(limit), "ann", 1)
    return await turns.take(limiter._bindings.ledger(), hits, seconds)


async def test_callers_wait_their_turn_in_order_and_sleep_as_told(
    limiter: Limiter, turns: Turns, clock: Clock
) -> None:
    came: list[int] = []

    async def caller(number: int) -> None:
        (decision,) = await take(turns, limiter, 10)
        assert decision
        came.append(number)

    await asyncio.gather(*map(caller, range(5)))
    assert came == [0, 1, 2, 3, 4]
    assert clock.slept == [1.0] * 4
    assert turns.waiting() == 0


async def test_a_wait_that_would_be_too_long_is_refused_at_once(
    limiter: Limiter, turns: Turns, clock: Clock
) -> None:
    await take(turns, limiter, 0)
    (refused,) = await take(turns, limiter, 0.5)
    assert (refused.allowed, refused.retry_ms, clock.slept) == (False, 1000, [])


async def test_a_full_queue_turns_callers_away(limiter: Limiter, turns: Turns) -> None:
    await take(turns, limiter, 0)
    outcomes = await asyncio.gather(*[take(turns, limiter, 100) for _ in range(7)])
    assert sum(bool(decision) for (decision,) in outcomes) == 5
    assert {decision.by for (decision,) in outcomes if not decision} == {"queue"}


async def test_a_caller_that_leaves_the_queue_lets_the_next_one_on(
    limiter: Limiter, clock: Clock
) -> None:
    awake = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await awake.wait()
        await clock.sleep(seconds)

    turns = Turns(sleep=sleep, now=clock.seconds)
    await take(turns, limiter, 0)
    tasks = []
    for _ in range(3):
        tasks.append(asyncio.create_task(take(turns, limiter, 9)))
        await asyncio.sleep(0)
    tasks[0].cancel()
    awake.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert all(outcome[0] for outcome in outcomes[1:])  # type: ignore[index]
    assert turns.waiting() == 0


@pytest.mark.parametrize(
    ("limit", "in_time"),
    [(GCRA(60, 60, burst=1), 4), (FixedWindow(1, 1), 4), (FixedWindow(2, 1), 8)],
    ids=str,
)
async def test_who_cannot_be_in_time_with_the_queue_before_them_is_refused_at_once(
    limiter: Limiter, clock: Clock, limit: Quota, in_time: int
) -> None:
    awake = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await awake.wait()
        await clock.sleep(seconds)

    turns = Turns(sleep=sleep, now=clock.seconds)
    while (await take(turns, limiter, 0, limit))[0]:
        pass
    waiting = [asyncio.create_task(take(turns, limiter, 4, limit)) for _ in range(20)]
    await until(lambda: turns.waiting() == in_time)
    refused = [task for task in waiting if task.done()]
    assert len(refused) == 20 - in_time
    assert {task.result()[0].by for task in refused} == {"queue"}
    late = await take(turns, limiter, 4, limit)
    assert (late[0].by, late[0].retry_ms) == ("queue", 5000)
    awake.set()
    assert all([(await task)[0] for task in waiting if task not in refused])


class Slow(MemoryStore):
    """Decides at once and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = await super().hit(hits)
        self.asked.set()
        await self.answer.wait()
        return decisions


@pytest.mark.parametrize("kind", ["wait", "reserve", "in_flight"])
@pytest.mark.parametrize("times", [1, 2])
async def test_who_leaves_before_the_store_answers_is_charged_nothing(
    kind: str, times: int
) -> None:
    store = Slow()
    limiter = Limiter(app=Quart(__name__), store=store)

    async def work() -> None:
        if kind == "wait":
            await limiter.wait("5/hour", "ann", seconds=9)
        elif kind == "reserve":
            async with limiter.reserve("5/hour", "ann", cost=2):
                pytest.fail("entered")
        else:
            async with limiter.in_flight(5, "ann"):
                pytest.fail("entered")

    task = asyncio.create_task(work())
    await store.asked.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    store.answer.set()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert (await limiter.peek("5/hour", "ann")).remaining == 5
    assert kind != "in_flight" or len(store) == 0


async def test_a_refund_of_what_was_refused_gives_nothing(limiter: Limiter) -> None:
    await limiter.hit("5/hour", "ann", cost=5)
    refused = await limiter.hit("5/hour", "ann")
    await limiter.refund("5/hour", "ann", charged=refused)
    assert not await limiter.hit("5/hour", "ann")


async def test_wait_is_a_hit_that_takes_its_time() -> None:
    limiter = Limiter(store=MemoryStore())
    first = await limiter.wait("100/second burst 1", "job", seconds=0)
    second = await limiter.wait("100/second burst 1", "job", seconds=1)
    assert (bool(first), bool(second)) == (True, True)
    assert not await limiter.wait("1/hour burst 1", "job2", seconds=0, cost=2)


@pytest.fixture
async def app() -> AsyncIterator[Quart]:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    app.config["limiter"] = limiter
    app.config["gate"] = asyncio.Event()

    @app.get("/work")
    @limiter.in_flight(2)
    async def work() -> str:
        await app.config["gate"].wait()
        return "done"

    @app.get("/stream")
    @limiter.in_flight(1)
    async def stream() -> ResponseReturnValue:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await app.config["gate"].wait()
            yield b"last"

        return Response(chunks())

    @app.get("/sync")
    @limiter.in_flight(1)
    def sync() -> str:
        return "done"

    async with app.test_app():
        yield app


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


async def test_no_more_than_the_amount_are_in_flight(app: Quart) -> None:
    client = app.test_client()
    tasks = [asyncio.create_task(client.get("/work")) for _ in range(5)]
    await until(lambda: sum(task.done() for task in tasks) == 3)
    app.config["gate"].set()
    assert sorted([(await task).status_code for task in tasks]) == [200, 200, 429, 429, 429]
    assert (await client.get("/work")).status_code == 200


async def test_each_client_has_places_of_its_own(app: Quart) -> None:
    client = app.test_client()
    tasks = [
        asyncio.create_task(client.get("/work", scope_base={"client": (who, 1)}))
        for who in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2")
    ]
    app.config["gate"].set()
    assert [(await task).status_code for task in tasks] == [200] * 4


async def test_a_place_is_held_while_a_stream_is_sent(app: Quart) -> None:
    client = app.test_client()
    async with client.request("/stream") as connection:
        await connection.send_complete()
        assert await connection.receive() == b"first"
        assert (await client.get("/stream")).status_code == 429
        app.config["gate"].set()
        assert await connection.receive() == b"last"
        await until(lambda: connection.status_code == 200)
    assert (await client.get("/stream")).status_code == 200


async def test_a_client_that_goes_away_gives_its_place_back(app: Quart) -> None:
    client = app.test_client()
    async with client.request("/stream") as connection:
        await connection.send_complete()
        assert await connection.receive() == b"first"
        await connection.disconnect()
    app.config["gate"].set()
    answer = await client.get("/stream")
    assert answer.status_code == 200


async def test_a_cancelled_view_gives_its_place_back(app: Quart) -> None:
    client = app.test_client()
    tasks = [asyncio.create_task(client.get("/work")) for _ in range(2)]
    limiter: Limiter = app.config["limiter"]
    await until(lambda: len(limiter.store) == 1)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    app.config["gate"].set()
    assert [(await client.get("/work")).status_code for _ in range(3)] == [200] * 3


async def test_sync_views_and_blocks_hold_places(app: Quart) -> None:
    assert (await app.test_client().get("/sync")).status_code == 200
    limiter: Limiter = app.config["limiter"]
    guard = limiter.in_flight(1, "job", scope="jobs")
    async with guard:
        with pytest.raises(RateLimitExceeded):
            async with limiter.in_flight(1, "job", scope="jobs"):
                pytest.fail("entered")
    async with guard:
        pass


def test_an_impossible_concurrency_limit_is_named() -> None:
    with pytest.raises(InvalidLimit, match="amount=0"):
        Limiter().in_flight(0)
