"""A limiter forgets its own counts, and no other service's on the same store."""

from collections.abc import AsyncIterator, Iterator

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.stores import ClusterStore, MemoryStore, RedisStore, Store

from ..support.cluster import Cluster

#: Of the service that is reset, and of another one.
PREFIXES = [
    ("a", "b"), ("a", "a|"), ("a", "ab"), ("*", "a"),
    ("", "a"), ("a", ""), ("", "{a}"), ("", "|"), ("", " "), ("", "\u00e9" * 70), ("{", "}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    redis: RedisStore | ClusterStore
    if request.param == "cluster":
        redis = ClusterStore(request.getfixturevalue("cluster").url, deadline=5)
    else:
        redis = RedisStore(request.getfixturevalue("redis_url"), deadline=5)
    await redis.clear()
    yield redis
    await redis.aclose()


async def counted(limiter: Limiter) -> list[int]:
    """What is left of a hit, and of a hit in the snippet's key."""
    return [
        (await limiter.peek("5/hour", "ann")).remaining,
        (await limiter.peek("5/hour", "ann", scope=None)).remaining,
    ]


@pytest.mark.parametrize("by_storage", [False, True])
@pytest.mark.parametrize(("one", "other"), PREFIXES)
async def test_a_reset_of_one_service_leaves_the_counts_of_another(
    store: Store, one: str, other: str, by_storage: bool
) -> None:
    limiters = [Limiter(store=store, key_prefix=prefix) for prefix in (one, other)]
    apps = [Quart(__name__), Quart(__name__)]
    for app, limiter in zip(apps, limiters, strict=True):
        limiter.init_app(app)

        @app.get("/")
        @limiter.limit("2/hour")
        @limiter.limit("1/hour", shadow=True)
        async def index() -> str:
            return ""

        async with app.app_context():
            await limiter.hit("5/hour", "ann")
            await limiter.hit("5/hour", "ann", scope=None)
        for expected in (200, 200, 429):
            assert (await app.test_client().get("/")).status_code == expected

    async with apps[0].app_context():
        assert await (limiters[0].storage.reset() if by_storage else limiters[0].reset()) >= 3
        assert await counted(limiters[0]) == [5, 5]
    assert (await apps[0].test_client().get("/")).status_code == 200
    async with apps[1].app_context():
        assert await counted(limiters[1]) == [4, 4]
    assert (await apps[1].test_client().get("/")).status_code == 429
