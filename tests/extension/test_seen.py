"""What code was seen to check is written to the store, and read by the command line."""

from collections.abc import Sequence

from quart_ratelimit import FixedWindow
from quart_ratelimit.clients.keys import KeyForm
from quart_ratelimit.extension.seen import AGAIN_MS, MOST_SHARED, RETRY_MS, Seen
from quart_ratelimit.stores.piggyback import Command

from ..support.apps import Clock

MINUTE, HOUR = FixedWindow(5, 60), FixedWindow(9, 3600)
KEY = "rate_limit:seen"


def names(commands: Sequence[Command]) -> list[str]:
    return [str(command[0]) for command in commands]


def seen_at(clock: Clock) -> Seen:
    seen = Seen(now_ms=clock)
    seen.note("hit", [MINUTE], KeyForm(("",), "shop"))
    return seen


def written(seen: Seen) -> int:
    """How many limits the next batch takes along, and its reply says that all went well."""
    commands = seen.commands(KEY, 0)
    seen.read([0] * len(commands), 0)
    return sum(len(command[2:]) // 2 for command in commands if command[0] == "HSET")


def test_what_is_new_is_written_once() -> None:
    clock = Clock()
    seen = seen_at(clock)
    assert seen.is_due()
    assert written(seen) == 1
    assert not seen.is_due()
    seen.note("hit", [MINUTE, HOUR], KeyForm(("",), "shop"))
    assert seen.is_due()
    assert written(seen) == 1


def test_all_is_written_again_before_the_store_forgets_it() -> None:
    clock = Clock()
    seen = seen_at(clock)
    seen.note("hit", [HOUR], KeyForm(("",), "shop"))
    assert written(seen) == 2
    clock.now_ms += AGAIN_MS
    assert seen.is_due()
    assert written(seen) == 2


def test_what_went_out_with_a_batch_that_was_lost_is_written_soon_again() -> None:
    clock = Clock()
    seen = seen_at(clock)
    assert names(seen.commands(KEY, 0)) == ["HLEN", "HSET", "PEXPIRE"]  # and no reply
    assert not seen.is_due()
    clock.now_ms += RETRY_MS
    assert seen.is_due()
    assert written(seen) == 1
    assert not seen.is_due()


def test_what_is_seen_while_a_batch_is_under_way_goes_with_the_next() -> None:
    clock = Clock()
    seen = seen_at(clock)
    first = seen.commands(KEY, 0)
    seen.note("hit", [HOUR], KeyForm(("",), "shop"))
    seen.read([0] * len(first), 0)
    assert seen.is_due()
    assert written(seen) == 1


def test_a_store_that_refuses_is_left_alone_for_hours() -> None:
    clock = Clock()
    seen = seen_at(clock)
    seen.commands(KEY, 0)
    seen.read([RuntimeError("no permissions")] * 3, 0)
    clock.now_ms += RETRY_MS
    assert not seen.is_due()


def test_a_full_store_gets_no_more() -> None:
    clock = Clock()
    seen = seen_at(clock)
    seen.commands(KEY, 0)
    seen.read([MOST_SHARED, 1, 1], 0)
    clock.now_ms += AGAIN_MS
    assert not seen.is_due()
