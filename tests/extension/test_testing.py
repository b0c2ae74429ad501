"""The kit for users' tests, on an app that is written as theirs: its limiter is made at import."""

import sys
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import ConfigurationError, InvalidLimit, Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.testing import Clock, assert_limited, in_fakeredis, in_memory

from ..support.servers import free_port


@pytest.fixture
def shop() -> tuple[Quart, Limiter]:
    """It counts in a Redis that is not there."""
    app = Quart(__name__)
    uri = f"redis://127.0.0.1:{free_port()}/0"
    limiter = Limiter(
        app=app, storage_uri=uri, on_store_error="raise", application_limits=["100/day"]
    )

    @app.get("/")
    @limiter.limit("3/minute")
    async def index() -> str:
        return "index"

    @app.get("/two")
    @limiter.limit("2/second;5/minute")
    async def two() -> str:
        return "two"

    @app.get("/free")
    async def free() -> str:
        return "free"

    return app, limiter


async def statuses(app: Quart, times: int, path: str = "/") -> list[int]:
    client = app.test_client()
    return [(await client.get(path)).status_code for _ in range(times)]


async def test_an_app_is_tested_without_its_redis(shop: Any) -> None:
    app, limiter = shop
    with in_memory(limiter) as clock:
        async with app.test_app():
            assert await statuses(app, 4) == [200, 200, 200, 429]
            clock.forward(59.999)
            assert await statuses(app, 1) == [429]
            clock.forward(0.001)
            assert await statuses(app, 1) == [200]
    assert await statuses(app, 1) == [500]  # its own store is asked again


async def test_each_block_counts_from_nothing(shop: Any) -> None:
    app, limiter = shop
    with in_memory(limiter):
        assert await statuses(app, 4) == [200, 200, 200, 429]
        with in_memory(limiter):
            assert await statuses(app, 4) == [200, 200, 200, 429]
        assert await statuses(app, 1) == [429]


async def test_what_is_asked_outside_a_request_counts_there_too(shop: Any) -> None:
    _, limiter = shop
    with in_memory(limiter) as clock:
        assert await limiter.hit("1/minute", "job")
        assert not await limiter.hit("1/minute", "job")
        clock.forward(60)
        assert await limiter.hit("1/minute", "job")


async def test_who_waits_for_a_turn_turns_the_clock(shop: Any) -> None:
    _, limiter = shop
    with in_memory(limiter) as clock:
        start = clock()
        for _ in range(3):
            assert await limiter.wait("1/minute", "job", seconds=90)
        assert clock() - start == 120_000
        assert not await limiter.wait("1/minute", "job", seconds=30)


async def test_apps_that_are_made_within_the_block_count_there() -> None:
    limiter = Limiter(default_limits=["1/minute"])
    with in_memory(limiter):
        app = Quart(__name__)
        limiter.init_app(app)
        app.add_url_rule("/", "index", lambda: "index")
        assert await statuses(app, 2) == [200, 429]
    assert await statuses(app, 2) == [200, 429]


async def test_a_limiter_of_no_app_counts_there() -> None:
    limiter = Limiter(store=(own := MemoryStore()))
    with in_memory(limiter):
        assert not [await limiter.hit("1/minute", "job") for _ in range(2)][1]
    assert (limiter.store, len(own)) == (own, 0)


async def test_a_paused_limiter_limits_and_charges_nothing(shop: Any) -> None:
    app, limiter = shop
    with in_memory(limiter):
        with limiter.paused():
            assert await statuses(app, 9) == [200] * 9
            with limiter.paused():
                pass
            assert await statuses(app, 1) == [200]
        assert await statuses(app, 4) == [200, 200, 200, 429]


async def test_a_limiter_is_paused_until_the_last_of_overlapping_blocks_ends(shop: Any) -> None:
    app, limiter = shop
    with in_memory(limiter):
        first, second = limiter.paused(), limiter.paused()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert await statuses(app, 9) == [200] * 9
        second.__exit__(None, None, None)
        assert await statuses(app, 4) == [200, 200, 200, 429]


@pytest.mark.filterwarnings("error")
async def test_fakeredis_plays_the_redis(shop: Any) -> None:
    app, limiter = shop
    with in_fakeredis(limiter):
        async with app.test_app():
            assert await statuses(app, 4) == [200, 200, 200, 429]
            assert await statuses(app, 3, "/two") == [200, 200, 429]
            assert await limiter.reset() == 4
            assert await statuses(app, 1) == [200]


async def test_a_missing_fakeredis_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lupa", None)
    missing = pytest.raises(ConfigurationError, match=r"pip install 'fakeredis\[lua\]'")
    with missing, in_fakeredis(Limiter()):
        pytest.fail("entered")


async def test_a_limit_that_holds_is_asserted(shop: Any) -> None:
    app, limiter = shop
    client = app.test_client()
    with in_memory(limiter) as clock:
        refused = await assert_limited(lambda: client.get("/"), "3/minute", clock)
        assert "3 per 1 minute" in await refused.get_data(as_text=True)
        await assert_limited(lambda: client.get("/two"), "2/second;5/minute", clock)


@pytest.mark.parametrize(
    ("path", "limit", "words"),
    [
        ("/", "4/minute", "4/minute: request 4 of 4 is refused"),
        ("/", "2/minute", "2/minute: request 3 gets 200, not 429"),
        ("/free", "1/minute", "1/minute: request 2 gets 200, not 429"),
        ("/nowhere", "1/minute", "1/minute: request 2 gets 404, not 429"),
    ],
)
async def test_a_limit_that_does_not_hold_is_named(
    shop: Any, path: str, limit: str, words: str
) -> None:
    app, limiter = shop
    client = app.test_client()
    with in_memory(limiter), pytest.raises(AssertionError) as error:
        await assert_limited(lambda: client.get(path), limit)
    assert str(error.value) == words


async def test_a_limit_that_is_none_is_named() -> None:
    with pytest.raises(InvalidLimit, match="'often'"):
        await assert_limited(Quart(__name__).test_client().get, "often")  # type: ignore[arg-type]


async def test_a_wait_that_is_untrue_is_named() -> None:
    app = Quart(__name__)
    waits = iter(["", "3", "5"])

    @app.get("/")
    async def index() -> Any:
        wait = next(waits)
        return "", 429 if wait else 200, {"Retry-After": wait}

    client, clock = app.test_client(), Clock()
    with pytest.raises(AssertionError, match="refused again after the 3 s of its Retry-After"):
        await assert_limited(lambda: client.get("/"), "1/minute", clock)
    assert clock() == 1_800_000_003_000


async def test_a_refusal_that_tells_no_wait_is_named() -> None:
    app = Quart(__name__)
    answers = iter([200, 429])

    @app.get("/")
    async def index() -> Any:
        return "", next(answers)

    client = app.test_client()
    with pytest.raises(AssertionError, match="no Retry-After"):
        await assert_limited(lambda: client.get("/"), "1/minute", Clock())
