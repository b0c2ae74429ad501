"""A request's work grows as the number of its limits, and no faster."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore

Limits = Callable[[Limiter, str], Any]

KINDS: dict[str, Limits] = {
    "plain": lambda limiter, text: limiter.limit(text),
    "exempt_when": lambda limiter, text: limiter.limit(text, exempt_when=lambda: False),
    "cost": lambda limiter, text: limiter.limit(text, cost=lambda: 1),
    "scope": lambda limiter, text: limiter.limit(text, scope=lambda _: text),
    "deduct_when": lambda limiter, text: limiter.limit(text, deduct_when=lambda _: True),
    "meta_limits": lambda limiter, text: limiter.limit(text, meta_limits=[f"9{text}"]),
    "shadow": lambda limiter, text: limiter.limit(text, shadow=lambda: False),
    "a function": lambda limiter, text: limiter.limit(lambda: text),
    "a function, and meta limits": lambda limiter, text: limiter.limit(
        lambda: text, meta_limits=[lambda: f"9{text}"]
    ),
}


async def calls_of_a_request(kind: str, count: int, *, spent: bool) -> int:
    """How many Python functions a request calls on a view with so many limits."""
    app = Quart(__name__)
    limiter = Limiter(lambda: "all", app=app, store=MemoryStore(), doctor=False)

    async def page() -> str:
        return "page"

    view: Any = page
    for number in range(count):
        amount = 3 if spent else 100
        view = KINDS[kind](limiter, f"{amount}/{number + 1} hour")(view)
    app.get("/")(view)
    client, calls = app.test_client(), 0
    for _ in range(3):  # what is kept of limits is complete after two
        assert (await client.get("/")).status_code == 200

    def count_calls(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count_calls)
    try:
        response = await client.get("/")
    finally:
        sys.setprofile(None)
    assert response.status_code == (429 if spent else 200)
    return calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spent", [False, True])
async def test_four_times_as_many_limits_are_at_most_five_times_the_work(
    kind: str, spent: bool
) -> None:
    few = await calls_of_a_request(kind, 60, spent=spent)
    many = await calls_of_a_request(kind, 240, spent=spent)
    assert many < 5 * few
