"""What functions' answers came to is remembered: each is asked in each request, and counts."""

from typing import Any

import pytest

from quart_ratelimit import FixedWindow
from quart_ratelimit.enforcement.resolver import KEPT as STAGES
from quart_ratelimit.extension.binding import binding_of

from ..support.apps import Clock, Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures


class Plan:
    """A function whose answers the test sets, and that counts how often it is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        return self.answer

    async def later(self) -> Any:
        return self()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_answer_counts_from_its_request_on(make: Make, kind: str) -> None:
    app, limiter = make()
    plan = Plan("1/minute")
    view(app, "/", limiter.limit(plan if kind == "sync" else plan.later, name="plan"))
    found = []
    for plan.answer in ("2/minute", "1/minute", "3/minute", None, "3/minute", FixedWindow(4, 60)):
        found += await ask(app, "/", 1)
    assert found == [200, 429, 200, 200, 200, 200]
    assert plan.asked == 6


async def test_one_answer_decides_who_is_asked_next(make: Make) -> None:
    own, default = Plan(""), Plan("1/minute")
    app, limiter = make(default_limits=[default])
    view(app, "/", limiter.limit(own))
    seen = []
    for own.answer, default.answer in (
        ("", "1/minute"), ("", "1/minute"), ("9/minute", "1/minute"), ("", "9/hour"),
        ("", "1/minute"), ("9/minute", "9/hour"),
    ):  # fmt: skip
        asked = default.asked
        seen.append((*await ask(app, "/", 1), default.asked - asked))
    assert seen == [(200, 1), (429, 1), (200, 0), (200, 1), (429, 1), (200, 0)]


async def test_methods_and_clients_are_told_apart(make: Make, clock: Clock) -> None:
    plan = Plan("1/minute")
    app, limiter = make()
    view(app, "/", limiter.limit(plan, per_method=True), methods=["GET", "POST"])
    for _ in range(2):
        assert await ask(app, "/", 2) == [200, 429]
        assert await ask(app, "/", 2, method="POST") == [200, 429]
        assert await ask(app, "/", 2, who="bob") == [200, 429]
        clock.forward(60)


async def test_a_limit_that_is_added_later_counts(make: Make) -> None:
    app, limiter = make()
    plan = Plan("9/minute")
    limited = view(app, "/", limiter.limit(plan))
    assert await ask(app, "/", 2) == [200, 200]
    limiter.limit("1/minute")(limited)
    assert await ask(app, "/", 2) == [200, 429]


async def test_what_is_kept_of_answers_is_bounded_in_number_and_size(make: Make) -> None:
    plan = Plan("")
    app, limiter = make()
    limited = limiter.limit(plan)(lambda: "")
    app.add_url_rule("/", "index", limited)
    for number in range(STAGES + 2):
        plan.answer = f"{number + 1}/minute"
        assert await ask(app, "/", 1) == [200]
    plan.answer = "; ".join(f"{number}/minute" for number in range(1000, 1100))
    assert await ask(app, "/", 1) == [200]
    hooks: Any = binding_of(limiter, app).hooks  # type: ignore[union-attr]
    (route,) = hooks._routes._known.values()
    assert len(route.stages) <= STAGES
    loader = hooks._resolver._loader
    before = loader._kept.cache_info().currsize
    assert before <= loader._kept.cache_info().maxsize
    plan.answer += "; 8/minute"
    await ask(app, "/", 1)
    assert loader._kept.cache_info().currsize == before


@pytest.mark.parametrize("kind", ["static", "function"])
async def test_an_identity_that_is_the_endpoint_once_is_asked_for_each_time(
    make: Make, kind: str
) -> None:
    identity = "index"
    app, limiter = make(request_identifier=lambda: identity)
    view(app, "/", limiter.limit("1/minute" if kind == "static" else Plan("1/minute")))
    assert await ask(app, "/", 2) == [200, 429]
    identity = "another"
    assert await ask(app, "/", 2) == [200, 429]
