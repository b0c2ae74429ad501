"""Two services on one Redis count apart in all that they charge, and reset what is theirs."""

import contextlib
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import (
    GCRA,
    FixedWindow,
    Limiter,
    MovingWindow,
    Penalty,
    RateLimitExceeded,
    SlidingWindow,
    StrictWindow,
    rate_limit,
)

from ..support.servers import RedisServer

#: What each key of a service begins with, in Redis, by its ``key_prefix``.
STARTS = {
    "": ("rate_limit:{", "rate_limit:|", "rate_limit:127.0.0.1:", "rate_limit:job:"),
    "a": ("rate_limit:a|",),
    "a|b": ("rate_limit:a%7Cb|",),
    "{a}": ("rate_limit:%7Ba%7D|",),
    "a b": ("rate_limit:a b|",),
}
#: One quota of each algorithm, by a name.
QUOTAS = [
    FixedWindow(3, 3600, name="a|b"), SlidingWindow(3, 3600), StrictWindow(3, 3600),
    MovingWindow(3, 3600), GCRA(3, 3600, burst=3, name="{a}"),
]  # fmt: skip


class Service:
    """An app that charges in all ways there are, three of each."""

    def __init__(self, url: str, prefix: str) -> None:
        self.app = Quart(__name__)
        self.limiter = limiter = Limiter(
            app=self.app,
            storage_uri=url,
            storage_options={"deadline": 5},
            key_prefix=prefix,
            on_store_error="raise",
            application_limits=["1000/hour"],
            meta_limits=[Penalty(1000, 600, blocks=(60,)), "1000/hour"],
        )
        decorators: dict[str, list[Any]] = {
            "snippet": [rate_limit("3/hour")],
            "snippets-key": [rate_limit("3/day", scope=None)],
            "snippet-scope": [rate_limit("3/hour", scope="a")],
            "snippet-key": [rate_limit("3/hour", key=lambda: "ann")],
            "rule": [limiter.limit("3/hour")],
            "rule-key": [limiter.limit("3/hour", key_func=lambda: "ann", per_method=True)],
            "shared": [limiter.shared_limit("3/hour", scope="a")],
            "penalty": [limiter.limit(Penalty(3, 3600, blocks=(60,)))],
            "shadow": [limiter.limit("3/hour"), limiter.limit("1/hour", shadow=True)],
            "in-flight": [limiter.limit("3/hour"), limiter.in_flight(3)],
            **{type(one).__name__: [limiter.limit(one)] for one in QUOTAS},
        }
        self.paths = [*decorators, "block"]
        for name, chosen in decorators.items():
            self._add(name, chosen)

        @self.app.get("/block")
        async def block() -> str:
            async with limiter.limit("3/hour"), limiter.in_flight(2, "k", scope="a"):
                return ""

    def _add(self, name: str, decorators: list[Any]) -> None:
        async def view() -> str:
            return ""

        for decorator in decorators:
            view = decorator(view)
        self.app.add_url_rule(f"/{name}", name, view)

    async def charge(self) -> dict[str, object]:
        """What each way admits of four."""
        client, limiter = self.app.test_client(), self.limiter
        found: dict[str, object] = {
            path: [(await client.get(f"/{path}")).status_code for _ in range(4)]
            for path in self.paths
        }
        async with self.app.app_context():
            for scope in ("", "a", None):
                hits = [await limiter.hit("3/hour", "job", scope=scope) for _ in range(4)]
                found[f"hit {scope}"] = [hit.allowed for hit in hits]
                found[f"peek {scope}"] = (await limiter.peek("3/hour", "job", scope=scope)).allowed
            found["wait"] = [(await limiter.wait("3/day", "w", seconds=0)).allowed for _ in "1234"]
            found["reserve"] = [await self._reserve() for _ in range(4)]
            async with limiter.in_flight(1, "k"):
                found["in_flight"] = True
        return found

    async def _reserve(self) -> bool:
        with contextlib.suppress(RateLimitExceeded):
            async with self.limiter.reserve("3/week", "ann", cost=1):
                return True
        return False


@pytest.mark.parametrize(
    ("one", "other"), [("a", ""), ("", "a"), ("a", "a|b"), ("{a}", "a"), ("a b", "{a}")]
)
async def test_two_services_share_no_count_in_any_way_to_charge(
    redis_server: RedisServer, redis_url: str, one: str, other: str
) -> None:
    services = [Service(redis_url, prefix) for prefix in (one, other)]
    async with services[0].app.test_app(), services[1].app.test_app():
        first = await services[0].charge()
        own = names(redis_server)
        assert all(name.startswith(STARTS[one]) for name in own)
        assert await services[1].charge() == first
        others = names(redis_server) - own
        assert len(others) == len(own) > 20
        assert all(name.startswith(STARTS[other]) for name in others)
        statuses = [answer for answer in first.values() if isinstance(answer, list)]
        assert statuses.count([200, 200, 200, 429]) == len(services[0].paths)
        async with services[0].app.app_context():
            assert await services[0].limiter.reset() == len(own)
        assert names(redis_server) == others
        assert await services[0].charge() == first


def names(server: RedisServer) -> set[str]:
    """All keys in Redis that count something: workers note themselves under a key beside them."""
    keys = {key.decode() if isinstance(key, bytes) else key for key in server.ask("KEYS", "*")}
    return keys - {"rate_limit:workers", "rate_limit:seen", "rate_limit:sums"}
