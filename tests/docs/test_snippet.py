"""The original Flask snippet beside its port, on one Redis: one budget, the same answers."""

import time
from collections.abc import AsyncIterator
from typing import Any

import flask
import pytest
import redis
from quart import Quart
from werkzeug.wrappers import Response

import serve
from quart_ratelimit import Limiter

#: So long that no window ends during a test, at midnight either: the next one begins in 2033.
DURATION = 1_000_000_000
REQUESTS = 10


def original(redis_url: str) -> flask.Flask:
    """The snippet as its author wrote it, with this test's Redis and duration."""
    app = flask.Flask("original")
    client = redis.Redis.from_url(redis_url)

    def rate_limit(key: str, duration: int, requests: int) -> bool:
        window = int(time.time()) // duration
        name = f"rate_limit:{key}:{window}"
        count = client.incr(name)
        if count == 1:
            client.expire(name, duration)
        return bool(count <= requests)

    @app.route("/api/data", methods=["GET"])
    def data() -> Any:
        if not rate_limit(str(flask.request.remote_addr), DURATION, REQUESTS):
            return flask.jsonify({"message": "Too many requests. Please try again later."}), 429
        return flask.jsonify({"message": "Here is your data!"})

    @app.route("/api/<name>/ask", methods=["GET"])
    def ask(name: str) -> Any:
        return flask.jsonify(rate_limit(name, DURATION, REQUESTS))

    @app.route("/api/status", methods=["GET"])
    def status() -> Any:
        return flask.jsonify({"status": "OK"})

    app.teardown_appcontext(lambda _: client.close())
    return app


@pytest.fixture
async def port(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Quart]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("RATE_LIMIT_DURATION", str(DURATION))
    app = serve.create_app()
    async with app.test_app():
        yield app


class Pair:
    """One request to both apps, as the same client."""

    def __init__(self, flask_app: flask.Flask, quart_app: Quart) -> None:
        self._flask = flask_app.test_client()
        self._quart = quart_app.test_client()

    def flask(self, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
        answer: Response = self._flask.open(path, method=method)
        return answer.status_code, answer.content_type, answer.get_data()

    async def quart(self, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
        # Quart's test client says "<local>" where Flask's says 127.0.0.1.
        answer = await self._quart.open(
            path, method=method, scope_base={"client": ("127.0.0.1", 5000)}
        )
        return answer.status_code, answer.content_type, await answer.get_data(as_text=False)


@pytest.fixture
def pair(redis_url: str, port: Quart) -> Pair:
    return Pair(original(redis_url), port)


async def test_they_admit_exactly_ten_between_them(pair: Pair) -> None:
    statuses = []
    for _ in range(15):
        statuses += [pair.flask("/api/data")[0], (await pair.quart("/api/data"))[0]]
    assert statuses == [200] * 10 + [429] * 20


async def test_they_answer_alike_when_allowed_and_when_refused(pair: Pair) -> None:
    assert pair.flask("/api/data") == await pair.quart("/api/data")
    for _ in range(10):
        pair.flask("/api/data")
    refused = await pair.quart("/api/data")
    assert refused == pair.flask("/api/data")
    assert refused == (
        429,
        "application/json",
        b'{"message":"Too many requests. Please try again later."}\n',
    )


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/data", "HEAD"),
        ("/api/data", "OPTIONS"),
        ("/api/data", "POST"),
        ("/api/status", "GET"),
        ("/api/status", "HEAD"),
        ("/api/status", "DELETE"),
        ("/api/nothing", "GET"),
    ],
)
async def test_they_answer_alike(pair: Pair, path: str, method: str) -> None:
    theirs, ours = pair.flask(path, method), await pair.quart(path, method)
    assert ours[:2] == theirs[:2]
    if theirs[1] == "application/json" and method != "HEAD":  # a server sends none with HEAD
        assert ours == theirs


@pytest.mark.parametrize(("method", "counts"), [("HEAD", 1), ("OPTIONS", 0), ("POST", 0)])
async def test_they_count_the_same_methods(
    redis_url: str, pair: Pair, method: str, counts: int
) -> None:
    pair.flask("/api/data", method)
    await pair.quart("/api/data", method)
    with redis.Redis.from_url(redis_url) as client:
        total = sum(int(client.get(key) or 0) for key in client.scan_iter("*:127.0.0.1:*"))
    assert total == 2 * counts


async def test_a_refusal_tells_when_to_come_back(port: Quart) -> None:
    client = port.test_client()
    for _ in range(10):
        await client.get("/api/data")
    refused = await client.get("/api/data")
    assert 1 <= int(refused.headers["Retry-After"]) <= DURATION


async def test_status_is_never_limited(port: Quart) -> None:
    client = port.test_client()
    answers = [await client.get("/api/status") for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    assert await answers[0].get_json() == {"status": "OK"}


async def test_code_that_asks_by_itself_keeps_the_budget(pair: Pair, port: Quart) -> None:
    limiter: Limiter = port.extensions["quart_ratelimit"]
    asked = []
    for _ in range(15):
        asked.append(pair.flask("/api/job/ask")[2] == b"true\n")
        hit = limiter.hit(requests=REQUESTS, duration=DURATION, key="job", scope=None)
        asked.append(bool(await hit))
    assert asked == [True] * 10 + [False] * 20
