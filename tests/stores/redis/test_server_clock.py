"""The server's time as a worker knows it; both clocks are numbers here."""

from quart_ratelimit.stores.redis.server_clock import TRUSTED_MS, ServerClock


class Clocks:
    """This machine's clock; the server's is ahead of it."""

    def __init__(self) -> None:
        self.now_ms = 50_000
        self.ahead_ms = 1_000_000
        self.clock = ServerClock(now_ms=lambda: self.now_ms)

    def sample(self, *, out_ms: int = 0, back_ms: int = 0) -> None:
        """Ask the server: so long until it reads its clock, so long until the reply is read."""
        sent_ms = self.now_ms
        server_ms = sent_ms + out_ms + self.ahead_ms
        self.now_ms += out_ms + back_ms
        self.clock.note(server_ms, sent_ms=sent_ms, received_ms=self.now_ms)

    @property
    def error_ms(self) -> int:
        """How far what the worker takes for the server's time is from it."""
        return self.clock.now_ms() - (self.now_ms + self.ahead_ms)


def test_a_pause_of_the_loop_before_the_reply_is_read_shifts_nothing() -> None:
    clocks = Clocks()
    clocks.sample(back_ms=3_500)
    assert clocks.error_ms == 0


def test_a_hit_is_named_by_the_time_at_which_it_arrives() -> None:
    clocks = Clocks()
    clocks.sample(out_ms=40, back_ms=40)
    assert clocks.error_ms == 40


def test_a_short_round_trip_is_preferred() -> None:
    clocks = Clocks()
    clocks.sample(out_ms=300)
    clocks.sample(out_ms=1, back_ms=1)
    clocks.sample(out_ms=900, back_ms=100)
    assert clocks.error_ms == 1


def test_a_long_round_trip_tells_that_a_clock_was_set() -> None:
    clocks = Clocks()
    clocks.sample(out_ms=1, back_ms=1)
    for step_ms in (5_000, -10_000):
        clocks.ahead_ms += step_ms
        clocks.sample(out_ms=20, back_ms=20)
        assert abs(clocks.error_ms) <= 40


def test_it_is_asked_again_after_a_second() -> None:
    clocks = Clocks()
    assert clocks.clock.is_stale()
    clocks.sample()
    assert not clocks.clock.is_stale()
    clocks.now_ms += TRUSTED_MS
    assert clocks.clock.is_stale()
