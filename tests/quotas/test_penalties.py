"""Who is refused again and again is blocked, for longer each time."""

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Quart, request

from quart_ratelimit import Decision, InvalidLimit, Limiter, Penalty
from quart_ratelimit.quotas import Hit
from quart_ratelimit.stores import MemoryStore, RedisStore
from quart_ratelimit.util import get_remote_address

START = 1_800_000_000_000
THREE = Penalty(3, 60, blocks=(10, 100), forget=1_000)


@dataclass
class Offender:
    """One key of a penalty, under a clock that the test turns."""

    quota: Penalty
    now: int = START

    def __post_init__(self) -> None:
        self.store = MemoryStore(now_ms=lambda: self.now)

    def hit(self, cost: int = 1, at_ms: int = 0) -> Decision:
        (decision,) = self.store.decide([Hit(self.quota, "ann", cost, at_ms)], self.now)
        return decision

    def offend(self, times: int) -> Decision:
        return [self.hit() for _ in range(times)][-1]

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


def test_the_amount_of_offences_within_the_period_blocks() -> None:
    ann = Offender(THREE)
    assert [ann.hit().remaining for _ in range(3)] == [2, 1, 0]
    blocked = ann.hit(0)
    assert (blocked.allowed, blocked.retry_ms) == (False, 10_000)


def test_offences_of_different_periods_do_not_add_up() -> None:
    ann = Offender(THREE)
    for _ in range(5):
        ann.offend(2)
        ann.wait(60)
    assert ann.hit(0).remaining == 3


def test_each_block_is_longer_and_the_last_is_repeated() -> None:
    ann, lengths = Offender(THREE), []
    for _ in range(4):
        ann.offend(3)
        wait = ann.hit(0).retry_ms or 0
        lengths.append(wait / 1000)
        ann.now += wait
    assert lengths == [10, 100, 100, 100]


def test_blocks_are_forgotten_after_some_time_without_one() -> None:
    ann = Offender(THREE)
    ann.offend(3)
    ann.wait(10 + 999.999)
    ann.offend(3)
    assert ann.hit(0).retry_ms == 100_000
    ann.wait(100 + 1_000)
    assert ann.hit(0).reset_ms == 0
    ann.offend(3)
    assert ann.hit(0).retry_ms == 10_000


def test_a_shorter_list_of_blocks_holds_when_the_clock_goes_back() -> None:
    ann = Offender(Penalty(1, 60, blocks=(1, 2, 300), name="guesses"))
    for _ in range(3):
        assert ann.hit().allowed
        ann.wait(100)
    ann.quota = Penalty(1, 60, blocks=(1, 20), name="guesses")
    ann.wait(-101)
    refused = ann.hit()
    assert (refused.allowed, refused.retry_ms) == (False, 20_000)


def test_no_offence_counts_during_a_block_and_none_is_left_after_it() -> None:
    ann = Offender(THREE)
    ann.offend(3)
    assert not ann.offend(5)
    ann.wait(10)
    assert ann.hit(0).remaining == 3


@pytest.mark.parametrize("back", [0, 5_000])
def test_a_block_is_no_longer_than_the_blocks_that_are_left(back: int) -> None:
    longer = replace(THREE, blocks=(10, 100, 500), name="login")
    ann = Offender(longer)
    for seconds in (10, 100):
        ann.offend(3)
        ann.wait(seconds)
    ann.offend(3)
    ann.quota = replace(longer, blocks=(10,))
    ann.now -= back
    assert ann.hit(0).retry_ms == 10_000


def test_what_is_given_back_is_no_offence_but_lifts_no_block() -> None:
    ann = Offender(THREE)
    ann.offend(2)
    assert ann.hit(-1, at_ms=ann.now).remaining == 2
    ann.offend(2)
    assert not ann.hit(0)
    ann.hit(-3, at_ms=ann.now)
    assert not ann.hit(0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 3)), max_size=60), st.integers(1, 3)
)
def test_the_wait_is_exact(trail: list[tuple[int, int]], cost: int) -> None:
    ann = Offender(THREE)
    for pause, spent in trail:
        ann.now += pause
        ann.hit(spent)
    refused = ann.hit(cost)
    if refused:
        return
    assert refused.retry_ms is not None
    ann.now += refused.retry_ms - 1
    assert not ann.hit(0 if cost == 1 else cost)
    ann.now += 1
    assert ann.hit(cost)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 1)), min_size=1, max_size=40))
def test_a_store_that_takes_over_blocks_as_long(trail: list[tuple[int, int]]) -> None:
    ann = Offender(THREE)
    for pause, cost in trail:
        ann.now += pause
        decision = ann.hit(cost)
    state = THREE.resume(decision, ann.now)
    _, look = THREE.advance(state, ann.now, Hit(THREE, "ann", 0))
    was = ann.hit(0)
    assert (look.allowed, look.remaining, look.retry_ms) == (
        was.allowed,
        was.remaining,
        was.retry_ms,
    )
    assert look.reset_ms >= was.reset_ms


@pytest.mark.parametrize(
    ("remaining", "reset_ms", "offences", "level", "left_ms"),
    [
        (2, 60_000, 1, 0, None),  # no block, and none before it
        (2, 60_001, 1, 1, None),  # a block before it is remembered
        (0, 1_010_000, 0, 1, 10_000),
        (0, 1_010_001, 0, 2, 10_001),  # too long for the first block
        (0, 1_100_000, 0, 2, 100_000),
        (0, 1_400_000, 0, 2, 400_000),  # longer than any block: the last of them
        (1, 1_000_000, 2, 1, 0),  # the block ends now
    ],
)
def test_what_a_decision_tells_of_a_penalty_is_resumed_exactly(
    remaining: int, reset_ms: int, offences: int, level: int, left_ms: int | None
) -> None:
    told = Decision(bool(remaining), remaining, reset_ms, 0)
    now = 500_000  # less than `forget`: no block can have ended before the clock began
    until = 0 if left_ms is None else now + left_ms
    assert THREE.resume(told, now) == (now, offences, level, until)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": ()}, "blocks=\\(\\) must have a block"),
        ({"blocks": (60, 0)}, "blocks=0 is not a positive whole number"),
        ({"blocks": (1.5,)}, "blocks=1.5 is not"),
        ({"forget": -1}, "forget=-1 is not"),
    ],
)
def test_what_is_no_penalty_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidLimit, match=message):
        Penalty(3, 60, **arguments)  # type: ignore[arg-type]


def test_a_penalty_that_would_take_charges_back_is_named() -> None:
    limiter = Limiter(get_remote_address)
    with pytest.raises(InvalidLimit, match=r"a Penalty gives nothing back.*meta_limits"):
        limiter.limit(THREE, deduct_when=lambda _: True)(lambda: "")


@dataclass
class Login:
    """A login whose failures count, and whose guessers are blocked."""

    now: int = START

    def __post_init__(self) -> None:
        self.app = Quart(__name__)
        store = MemoryStore(now_ms=lambda: self.now)
        limiter = Limiter(get_remote_address, app=self.app, store=store)

        @self.app.post("/login")
        @limiter.limit(
            "2/minute",
            deduct_when=lambda response: response.status_code == 401,
            meta_limits=[Penalty(3, 600, blocks=(900, 3_600))],
        )
        async def login() -> tuple[str, int]:
            right = (await request.form).get("password") == "right"
            return ("welcome", 200) if right else ("wrong", 401)

    async def ask(self, password: str) -> tuple[int, int]:
        """The status, and how long it says to wait."""
        answer = await self.app.test_client().post("/login", form={"password": password})
        return answer.status_code, int(answer.headers.get("Retry-After", 0))


async def test_who_goes_on_guessing_is_blocked_and_then_for_longer() -> None:
    login = Login()
    assert [(await login.ask("wrong"))[0] for _ in range(5)] == [401, 401, 429, 429, 429]
    assert await login.ask("right") == (429, 900)
    login.now += 900_000
    assert await login.ask("right") == (200, 0)
    assert [(await login.ask("wrong"))[0] for _ in range(5)] == [401, 401, 429, 429, 429]
    assert await login.ask("right") == (429, 3_600)


async def test_who_logs_in_is_never_blocked() -> None:
    login = Login()
    assert {(await login.ask("right"))[0] for _ in range(50)} == {200}


async def test_in_a_crowd_of_refusals_the_tenth_blocks(redis_url: str) -> None:
    penalty = Penalty(10, 600, blocks=(60, 3_600))
    store = RedisStore(redis_url, deadline=5)
    answers = await asyncio.gather(*[store.hit([Hit(penalty, "ann")]) for _ in range(1_000)])
    assert [decision.allowed for (decision,) in answers].count(True) == 10
    (look,) = await store.hit([Hit(penalty, "ann", 0)])
    assert not look.allowed
    assert 0 < (look.retry_ms or 0) <= 60_000  # the first block, and no second one
    await store.aclose()
