"""Every function of the user's may be sync or async, and is asked once a request."""

from collections import Counter
from typing import Any

import pytest
from quart import Response

from quart_ratelimit import Limit, MetaLimit

from ..support.apps import Make, ask, view


class UserFunction:
    """Counts its calls; its answers are plain or awaitable."""

    def __init__(self, *, later: bool) -> None:
        self.calls: Counter[str] = Counter()
        self._later = later

    def answering(self, name: str, answer: Any) -> Any:
        def now(*args: Any) -> Any:
            self.calls[name] += 1
            return answer

        async def later(*args: Any) -> Any:
            return now(*args)

        return later if self._later else now


@pytest.mark.parametrize("later", [False, True])
async def test_each_is_asked_once_a_request(make: Make, later: bool) -> None:
    asked = UserFunction(later=later)
    key = asked.answering("key", "somebody")
    app, limiter = make(
        key_func=key,
        application_limits=[asked.answering("application", "3/minute; 10/hour")],
        application_limits_cost=asked.answering("application cost", 1),
        default_limits=[Limit(asked.answering("default", "9/minute"))],
        meta_limits=[MetaLimit(asked.answering("meta", "5/minute"))],
        request_identifier=asked.answering("identifier", "index"),
        on_breach=asked.answering("breach", None),
    )
    limiter.request_filter(asked.answering("filter", False))
    limit = limiter.limit(
        asked.answering("limit", "2/minute; 5/hour"),
        scope=asked.answering("scope", "scope"),
        cost=asked.answering("cost", 1),
        exempt_when=asked.answering("exempt", False),
        deduct_when=asked.answering("deduct", True),
        error_message=asked.answering("message", "no"),
        on_breach=asked.answering("own breach", Response("mine", 429)),
        override_defaults=False,
    )
    view(app, "/", limit)
    assert await ask(app, "/", 1) == [200]
    asked.calls["deduct"] -= 1  # asked for each of the limit's two quotas
    assert set(asked.calls.values()) == {1}
    assert {"breach", "own breach", "message"}.isdisjoint(asked.calls)
    assert await ask(app, "/", 2) == [200, 429]
    assert {asked.calls[name] for name in ("breach", "own breach", "message")} == {1}
    assert {asked.calls[name] for name in ("key", "limit", "filter", "identifier")} == {3}
