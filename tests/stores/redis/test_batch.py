"""The batcher alone: who goes with whom, who waits, and what one caller's fate is to the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest

from quart_ratelimit.stores.redis import pace
from quart_ratelimit.stores.redis.batcher import Batcher, DeadlinePassed, QueueFull, within


class Wire:
    """Answers each item with its double, when told to."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def send(self, items: list[int]) -> Sequence[int | Exception]:
        self.sent.append(list(items))
        await self.may_answer.wait()
        return [ValueError("odd") if item < 0 else item * 2 for item in items]

    async def has_sent(self, batches: int) -> None:
        while len(self.sent) < batches:  # noqa: ASYNC110  # a turn of the loop, not a pause
            await asyncio.sleep(0)


def batcher(wire: Wire, **options: float) -> Batcher[int, int]:
    settings = {"deadline": 5.0, "in_flight": 1, **options}
    return Batcher(wire.send, **settings)  # type: ignore[arg-type]


def let_others_come() -> None:
    """Leave something to run in this turn of the loop: a caller is not alone then."""
    asyncio.get_running_loop().call_soon(lambda: None)


async def ask(b: Batcher[int, int], items: Iterable[int]) -> list[int]:
    """The answers to callers that ask in one turn of the loop, each in a task of its own."""

    async def one(item: int) -> int:
        return await b.join(item)

    return await asyncio.gather(*map(one, items))


async def test_a_lone_caller_goes_at_once() -> None:
    """What can be written is written before its `join` returns, if nothing else is to run."""
    written: list[list[int]] = []

    def send(items: list[int]) -> Awaitable[list[int]]:
        written.append(list(items))
        return wire.send(items)

    wire = Wire()
    b: Batcher[int, int] = Batcher(send, deadline=5)
    await asyncio.sleep(0.001)  # what pytest has scheduled has run
    answer = b.join(1)
    assert written == [[1]]
    assert await answer == 2
    assert wire.sent == [[1]]


async def test_a_caller_beside_others_waits_for_them() -> None:
    wire = Wire()
    b = batcher(wire)
    later = asyncio.ensure_future(ask(b, [2, 3]))
    await asyncio.sleep(0)  # its callers are to run in the next turn, as this test is
    assert await b.join(1) == 2
    await later
    assert sorted(wire.sent[0]) == [1, 2, 3]
    assert len(wire.sent) == 1


async def test_all_of_one_turn_go_together_and_get_their_own_answers() -> None:
    wire = Wire()
    assert await ask(batcher(wire), range(100)) == [2 * n for n in range(100)]
    assert wire.sent == [list(range(100))]


async def test_a_send_that_fails_at_once_fails_its_callers_and_no_others() -> None:
    def send(items: list[int]) -> Awaitable[list[int]]:
        if -1 in items:
            raise ValueError("odd")
        return Wire().send(items)

    b: Batcher[int, int] = Batcher(send, deadline=5)
    with pytest.raises(ValueError, match="odd"):
        await ask(b, [1, -1])
    assert b.idle
    assert await b.join(1) == 2


async def test_who_comes_while_a_send_is_under_way_goes_with_the_next() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire)
    first = b.join(1)
    await wire.has_sent(1)
    rest = [b.join(2), b.join(3)]
    await asyncio.sleep(0)
    assert wire.sent == [[1]]
    wire.may_answer.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6]
    assert wire.sent == [[1], [2, 3]]


async def test_many_are_shared_among_sends_side_by_side() -> None:
    wire = Wire()
    b = batcher(wire, in_flight=4, share=8, size=512)
    assert await ask(b, range(300)) == [2 * n for n in range(300)]
    assert [len(items) for items in wire.sent] == [75, 75, 75, 75]
    assert [item for items in wire.sent for item in items] == list(range(300))


async def test_full_batches_are_not_shared_but_the_last_is() -> None:
    wire = Wire()
    b = batcher(wire, in_flight=4, share=8, size=128)
    assert await ask(b, range(300)) == [2 * n for n in range(300)]
    assert [len(items) for items in wire.sent] == [128, 128, 22, 22]


async def test_a_share_that_is_full_goes_beside_the_send_under_way() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, in_flight=2, share=8)
    callers = [b.join(-2)]
    await wire.has_sent(1)
    callers += [b.join(n) for n in range(7)]
    await asyncio.sleep(0)
    assert len(wire.sent) == 1
    callers.append(b.join(7))
    await wire.has_sent(2)
    assert wire.sent == [[-2], list(range(8))]
    wire.may_answer.set()
    await asyncio.wait(callers)


async def test_what_is_too_much_for_the_free_sends_waits_and_goes_whole() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, in_flight=2, share=8)
    first = asyncio.ensure_future(ask(b, range(16)))
    await wire.has_sent(2)
    rest = [b.join(n) for n in range(24)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert [len(items) for items in wire.sent] == [8, 8]
    wire.may_answer.set()
    await asyncio.gather(first, *rest)
    assert [len(items) for items in wire.sent[2:]] == [24]


async def test_the_next_send_starts_before_the_callers_of_the_last_one_go_on() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire)
    seen: list[list[int]] = []
    first = b.join(1)
    first.add_done_callback(lambda _: seen.extend(wire.sent))
    await wire.has_sent(1)
    second = b.join(2)
    wire.may_answer.set()
    assert await asyncio.gather(first, second) == [2, 4]
    assert seen == [[1], [2]]


async def test_a_slow_send_is_overtaken() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, deadline=0.2, in_flight=2)
    first = b.join(1)
    await wire.has_sent(1)
    second = b.join(2)
    await wire.has_sent(2)
    assert wire.sent == [[1], [2]]
    wire.may_answer.set()
    assert await asyncio.gather(first, second) == [2, 4]


async def test_a_batch_has_a_largest_size() -> None:
    wire = Wire()
    b = batcher(wire, size=3)
    assert await ask(b, range(7)) == [2 * n for n in range(7)]
    assert [len(items) for items in wire.sent] == [3, 3, 1]


async def test_one_item_that_fails_fails_its_own_caller_only() -> None:
    b = batcher(Wire())
    good, bad = b.join(1), b.join(-1)
    with pytest.raises(ValueError, match="odd"):
        await bad
    assert await good == 2


async def test_a_caller_that_leaves_in_time_is_not_sent() -> None:
    wire = Wire()
    b = batcher(wire)
    let_others_come()
    left, stays = b.join(1), b.join(2)
    left.cancel()
    assert await stays == 4
    assert wire.sent == [[2]]


async def test_a_caller_that_leaves_late_harms_nobody() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire)
    let_others_come()
    left, stays = b.join(1), b.join(2)
    await wire.has_sent(1)
    left.cancel()
    wire.may_answer.set()
    assert await stays == 4
    assert wire.sent == [[1, 2]]


async def test_a_send_past_its_deadline_fails_its_callers_each_with_their_own_error() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, deadline=0.01)
    let_others_come()
    outcomes = await asyncio.gather(b.join(1), b.join(2), return_exceptions=True)
    assert wire.sent == [[1, 2]]
    assert [type(outcome) for outcome in outcomes] == [DeadlinePassed, DeadlinePassed]
    assert outcomes[0] is not outcomes[1]


class Unusual(Exception):
    """Cannot be made anew from its own ``args``."""

    def __init__(self, what: str, *, where: str) -> None:
        super().__init__(f"{what} at {where}")
        self.where = where


@pytest.mark.parametrize(
    "error",
    [asyncio.IncompleteReadError(b"ab", 4), Unusual("cut", where="byte 3"), OSError(5, "cut")],
)
async def test_whatever_error_a_send_ends_with_each_caller_gets_a_copy(error: Exception) -> None:
    async def send(items: list[int]) -> list[int]:
        raise error

    b: Batcher[int, int] = Batcher(send, deadline=5)
    let_others_come()
    outcomes = await asyncio.wait_for(
        asyncio.gather(b.join(1), b.join(2), return_exceptions=True), 1
    )
    assert [type(outcome) for outcome in outcomes] == [type(error)] * 2
    assert [vars(outcome) for outcome in outcomes] == [vars(error)] * 2
    assert [str(outcome) for outcome in outcomes] == [str(error)] * 2
    assert outcomes[0] is not outcomes[1]


async def test_who_waits_behind_a_hung_send_has_a_deadline_too() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, deadline=0.02)
    first = b.join(1)
    await wire.has_sent(1)
    outcomes = await asyncio.gather(first, b.join(2), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DeadlinePassed, DeadlinePassed]
    wire.may_answer.set()
    assert await b.join(3) == 6


async def test_a_batch_that_is_given_up_as_soon_as_it_is_sent_leaves_its_place() -> None:
    """One that waited for nearly all its time is sent in the turn of its last tick."""
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire)
    late = b.join(1)
    (batch,) = b._sent
    b._expire(batch)
    with pytest.raises(DeadlinePassed):
        await late
    await b.aclose()
    wire.may_answer.set()
    assert await b.join(2) == 4


async def test_a_full_queue_turns_callers_away_unsent() -> None:
    wire = Wire()
    wire.may_answer.clear()
    b = batcher(wire, size=1, waiting=2)
    first = b.join(0)
    await wire.has_sent(1)
    waiting = [b.join(n) for n in (1, 2, 3)]
    with pytest.raises(QueueFull):
        b.join(4)
    wire.may_answer.set()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]


async def test_closing_waits_for_what_was_sent() -> None:
    wire = Wire()
    b = batcher(wire)
    caller = b.join(1)
    await b.aclose()
    assert caller.result() == 2


async def test_a_call_within_its_deadline_gives_its_result_or_its_error() -> None:
    async def fail() -> int:
        raise ValueError("own error")

    assert await within(1, asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="own error"):
        await within(1, fail())
    with pytest.raises(DeadlinePassed):
        await within(0.01, asyncio.Event().wait())


class Busy:
    """Keeps the event loop at work for so many turns; each time ``then`` is called."""

    def __init__(self, turns: int, then: Callable[[int], None]) -> None:
        self.turns, self._then = turns, then
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self.turns -= 1
        if self.turns:
            asyncio.get_running_loop().call_soon(self._turn)
        self._then(self.turns)


async def ask_in_ten_turns() -> Wire:
    wire = Wire()
    b = batcher(wire, deadline=100)
    callers: list[asyncio.Future[int]] = []
    all_came = asyncio.Event()

    def turn(left: int) -> None:
        callers.append(b.join(left))
        if not left:
            all_came.set()

    Busy(10, turn)
    await all_came.wait()
    await asyncio.gather(*callers)
    return wire


async def test_a_few_wait_while_the_loop_has_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 5)
    assert (await ask_in_ten_turns()).sent == [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]


def test_what_waits_in_a_loop_that_ends_is_nothing_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "WINDOW", 5)

    async def leave() -> None:
        Busy(100, lambda _: None)
        batcher(Wire(), deadline=100).join(1)

    ended = asyncio.new_event_loop()
    ended.run_until_complete(leave())
    ended.close()
    assert asyncio.run(ask_in_ten_turns()).sent == [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]


async def test_they_wait_no_longer_than_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, now = asyncio.get_running_loop(), [1000.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    wire = Wire()
    b = batcher(wire)
    first: list[asyncio.Future[int]] = []
    sent_after: list[float] = []

    def turn(left: int) -> None:
        if not first:
            first.append(b.join(1))
        now[0] += 0.0005
        if wire.sent and not sent_after:
            sent_after.append(now[0] - 1000)

    busy = Busy(100, turn)
    while busy.turns:  # noqa: ASYNC110  # a turn of the loop, not a pause
        await asyncio.sleep(0)
    assert await first[0] == 2
    assert 0.002 <= sent_after[0] < 0.004


async def test_a_share_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 5)
    wire = Wire()
    b = batcher(wire, deadline=100, share=4)
    callers: list[asyncio.Future[int]] = []
    busy = Busy(50, lambda left: callers.append(b.join(left)) if len(callers) < 4 else None)
    await wire.has_sent(1)
    assert busy.turns > 40
    assert wire.sent == [[49, 48, 47, 46]]
    await asyncio.gather(*callers)


async def test_batchers_do_not_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 5)
    wires = [Wire() for _ in range(3)]
    batchers = [batcher(wire, deadline=100) for wire in wires]
    let_others_come()
    callers = [b.join(1) for b in batchers]
    # At once; for one another they would wait until the window has passed.
    assert await asyncio.wait_for(asyncio.gather(*callers), 4) == [2, 2, 2]
    assert [wire.sent for wire in wires] == [[[1]]] * 3
