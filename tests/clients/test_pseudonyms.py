"""``key_secret``: no client stands in Redis in clear, and who names a client still finds it."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from quart import Quart

from quart_ratelimit import ConfigurationError, Limiter, rate_limit
from quart_ratelimit.cli import cli
from quart_ratelimit.stores import MemoryStore

ANN = "203.0.113.7"
SECRET = "sixteen bytes and more"


@pytest.fixture
def limiter() -> Limiter:
    return Limiter(store=MemoryStore(), key_secret=SECRET)


@pytest.fixture
async def app(redis_url: str) -> AsyncIterator[Quart]:
    app = Quart(__name__)
    app.config["RATELIMIT_KEY_SECRET"] = SECRET
    limiter = Limiter(app=app, storage_uri=redis_url, key_prefix="pre", meta_limits=["9/day"])

    @app.get("/by-rule")
    @limiter.limit("1/day; 5/week")
    async def by_rule() -> str:
        return ""

    @app.get("/by-hit")
    @limiter.in_flight(5)
    async def by_hit() -> str:
        await limiter.hit("3/day")
        async with limiter.reserve("100/hour", cost=10):
            return ""

    @app.get("/by-snippet")
    @rate_limit("2/day")
    @rate_limit("4/day", scope="mine")
    async def by_snippet() -> str:
        return ""

    async with app.test_app():
        yield app


async def get(app: Quart, path: str) -> int:
    answer = await app.test_client().get(path, scope_base={"client": (ANN, 1)})
    return answer.status_code


async def test_no_client_stands_in_redis(app: Quart, redis_url: str) -> None:
    for path in ("/by-rule", "/by-rule", "/by-hit", "/by-snippet"):
        await get(app, path)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = set(client.scan_iter())
    assert len(keys - {"rate_limit:workers", "rate_limit:seen", "rate_limit:sums"}) == 7
    assert not [key for key in keys if ANN in key]


async def test_no_client_stands_in_redis_while_it_is_in_flight(redis_url: str) -> None:
    limiter = Limiter(app=Quart(__name__), storage_uri=redis_url, key_secret=SECRET)
    async with limiter.in_flight(1, ANN, scope="block"):
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            (key,) = client.scan_iter()
    await limiter.store.aclose()
    assert ANN not in key
    assert limiter.keys.slot(ANN, "block") in key


async def test_a_client_is_found_by_its_name(limiter: Limiter) -> None:
    await limiter.hit("2/minute", ANN, cost=2)
    assert not await limiter.peek("2/minute", ANN)
    assert await limiter.peek("2/minute", "203.0.113.8")
    assert await limiter.reset("2/minute", ANN) == 1
    assert (await limiter.peek("2/minute", ANN)).remaining == 2


async def test_a_request_limits_args_find_its_counter(app: Quart) -> None:
    (limiter,) = app.extensions["limiter"]
    args: list[Any] = []

    @app.after_request
    async def look(response: Any) -> Any:
        args[:] = [limiter.current_limit.limit, *limiter.current_limit.request_args]
        return response

    await get(app, "/by-rule")
    assert args[1:] == ["pre", ANN, "by_rule"]
    assert not await limiter.limiter.test(*args)
    assert await limiter.limiter.clear(*args)
    assert await limiter.limiter.test(*args)


async def test_the_command_line_finds_and_clears_a_client_by_its_name() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=MemoryStore(), key_secret=SECRET)

    @app.get("/by-rule")
    @limiter.limit("1/day; 5/week")
    async def by_rule() -> str:
        return ""

    def run(*args: str) -> Any:
        result = app.test_cli_runner().invoke(cli, [*args, "--endpoint=by_rule", "--json"])
        (found,) = json.loads(result.stdout)
        (place,) = found["groups"][app.name]
        return [line.get("allowed") for line in place["limits"]]

    await get(app, "/by-rule")
    assert run("limits", f"--key={ANN}") == [False, True]
    run("clear", f"--key={ANN}", "-y")
    assert run("limits", f"--key={ANN}") == [True, True]


def test_the_command_line_shows_no_secret() -> None:
    app = Quart(__name__)
    Limiter(app=app, store=MemoryStore(), key_secret=SECRET)
    run: Callable[..., Any] = app.test_cli_runner().invoke
    assert SECRET not in run(cli, ["config"]).output + run(cli, ["config", "--json"]).output


def test_another_secret_makes_other_keys() -> None:
    secrets = [None, SECRET, SECRET.encode(), "another secret of 16 bytes"]
    keys = [Limiter(key_secret=secret).keys.join(ANN) for secret in secrets]
    assert keys[0] == ANN
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("secret", ["too short", b"too short"])
def test_a_secret_that_can_be_guessed_is_an_error(secret: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"can be guessed; write 16 or more") as raised:
        Limiter(app=Quart(__name__), key_secret=secret)
    assert "too short" not in str(raised.value)
