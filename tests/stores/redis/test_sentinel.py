"""A failover under Sentinels: counting goes on with the new master."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from quart_ratelimit import ConfigurationError, FixedWindow, Hit, StoreError
from quart_ratelimit.stores import RedisStore

from ...support.sentinel import Sentinels
from ...support.servers import binary

QUOTA = FixedWindow(1_000_000, 3_600, aligned=True)


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    if binary() is None:
        pytest.skip("no redis-server is installed: ./dev test installs one")
    sentinels = Sentinels()
    yield sentinels
    sentinels.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("how", "within"), [("kill", 2.5), ("freeze", 2.5)])
async def test_counting_resumes_soon_after_a_master_is_lost(
    sentinels: Sentinels, how: str, within: float
) -> None:
    """Within down-after (1 s) + 1.5 s, also of one that is frozen and still holds connections."""
    store = RedisStore(sentinels.url, deadline=0.2)
    await store.start()
    for _ in range(500):
        await store.hit([Hit(QUOTA, "ann")])
    getattr(sentinels.master, how)()
    lost_at = time.monotonic()
    decision = None
    while decision is None and time.monotonic() < lost_at + 15:
        try:
            (decision,) = await store.hit([Hit(QUOTA, "ann")])
        except StoreError:
            await asyncio.sleep(0.02)
    assert decision is not None
    assert time.monotonic() - lost_at <= within
    assert decision.remaining <= QUOTA.amount - 1
    await store.aclose()


@pytest.mark.parametrize(
    "uri", ["redis+sentinel://", "redis+sentinel://h:1", "redis+sentinel://h:x/mymaster"]
)
def test_a_uri_without_sentinels_or_service_is_named(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="names no Sentinels and service"):
        RedisStore(uri)
