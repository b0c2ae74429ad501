"""The deadline follows the distance, and not the load; time is a number here."""

import math

from quart_ratelimit.stores.redis.deadline import REMEMBERED_MS, Distance

HERE = ("10.0.0.1", 6379)


class Trips:
    """Round trips to one address, one a second."""

    def __init__(self, deadline: float | None = None) -> None:
        self.distance = Distance(deadline)
        self.distance.arrive(HERE)
        self.now_ms = 1_000_000

    def take(self, *round_trips_ms: int) -> float:
        """So long each; the deadline after them."""
        for took_ms in round_trips_ms:
            self.now_ms += 1000
            self.distance.note(self.now_ms, self.now_ms + took_ms)
        return self.distance.deadline


def test_before_the_first_round_trip_the_deadline_is_the_shortest() -> None:
    assert Distance().deadline == 0.05


def test_the_deadline_is_four_round_trips_between_50_ms_and_a_second() -> None:
    deadlines = [Trips().take(trip) for trip in (0, 5, 15, 30, 80, 200, 700)]
    assert deadlines == [0.05, 0.05, 0.06, 0.12, 0.32, 0.8, 1.0]


def test_a_deadline_that_is_given_does_not_change() -> None:
    assert Trips(0.2).take(1, 700) == 0.2


def test_a_redis_that_turns_slow_keeps_its_deadline() -> None:
    trips = Trips()
    assert trips.take(2) == 0.05
    minutes = REMEMBERED_MS // 60_000
    assert trips.take(*[400] * 60 * minutes) == 0.05


def test_a_redis_that_is_slow_at_times_keeps_its_deadline_for_ever() -> None:
    trips = Trips()
    assert {trips.take(*[400] * 240, 2) for _ in range(30)} == {0.05}


def test_a_redis_that_was_slow_when_it_was_found_gets_the_short_deadline_with_a_quick_reply() -> (
    None
):
    trips = Trips()
    assert trips.take(200, 200) == 0.8
    assert trips.take(3, 200) == 0.05


def test_another_address_is_measured_anew() -> None:
    trips = Trips()
    assert trips.take(2) == 0.05
    assert not trips.distance.arrive(HERE)
    assert trips.take(80) == 0.05
    assert trips.distance.arrive(("10.9.0.1", 6379))
    assert trips.take(80) == 0.32


def test_what_makes_no_quick_reply_for_ten_minutes_has_moved() -> None:
    trips = Trips()
    assert trips.take(2) == 0.05
    assert trips.take(*[80] * (2 * REMEMBERED_MS // 1000 + 2)) == 0.32


def test_a_hit_that_waited_has_time_left_for_its_round_trip() -> None:
    trips = Trips()
    trips.take(80)
    assert math.isclose(trips.distance.patience, 0.2)
