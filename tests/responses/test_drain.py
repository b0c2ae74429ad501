"""A refusal while the request's body is still on its way: the body is drained, within bounds."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart, Response
from quart.typing import ResponseReturnValue

from quart_ratelimit import (
    ConfigurationError,
    Limiter,
    RateLimitExceeded,
    quart_rate_limiter,
    rate_limit,
)
from quart_ratelimit.responses import drain
from quart_ratelimit.responses.drain import Drain

from ..support.connections import SCOPE


class Uploader:
    """A client whose body arrives when the test says so."""

    def __init__(self, app: Any, *fields: tuple[bytes, bytes], http: str = "1.1") -> None:
        headers = [(b"host", b"h"), *(fields or [(b"transfer-encoding", b"chunked")])]
        self.scope: dict[str, Any] = {
            **SCOPE, "type": "http", "method": "POST", "scheme": "http", "path": "/upload",
            "raw_path": b"/upload", "headers": headers, "http_version": http,
        }  # fmt: skip
        self.sent: list[Any] = []
        self.begins_to_read = asyncio.Event()
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))

    def arrives(self, size: int, *, more: bool = True) -> None:
        self._inbox.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})

    def leaves(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def settles(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def is_answered(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", True)

    async def _receive(self) -> Any:
        message = await self._inbox.get()
        if message["type"] == "http.disconnect":  # servers say so each time they are asked
            self.leaves()
        return message

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        self.begins_to_read.set()
        if self.is_answered:  # as servers do; from Quart 0.23 on its call waits for it
            self.leaves()


def quart_app() -> Quart:
    app = Quart(__name__)
    app.logger.disabled = True

    @app.post("/upload")
    async def upload() -> str:
        return "stored"

    return app


def limited(**options: Any) -> tuple[Quart, Limiter]:
    app = quart_app()
    return app, Limiter(app=app, storage_uri="memory://", doctor=False, **options)


def by_decorator(**options: Any) -> Quart:
    app, limiter = limited(**options)
    app.view_functions["upload"] = limiter.limit("1/day")(app.view_functions["upload"])
    return app


def by_default(**options: Any) -> Quart:
    return limited(default_limits="1/day", **options)[0]


def by_application(**options: Any) -> Quart:
    return limited(application_limits="1/day", **options)[0]


def by_snippet(**options: Any) -> Quart:
    app, _ = limited(**options)
    app.view_functions["upload"] = rate_limit("1/day")(app.view_functions["upload"])
    return app


def by_quart_rate_limiter() -> Quart:
    app = quart_app()
    quart_rate_limiter.RateLimiter(app)
    limit = quart_rate_limiter.rate_limit(1, timedelta(minutes=1))
    app.view_functions["upload"] = limit(app.view_functions["upload"])
    return app


def by_denial(**options: Any) -> Quart:
    app, limiter = limited(**options)
    limiter.deny(lambda: True)
    return app


def by_meta(**options: Any) -> Quart:
    return limited(default_limits="1/day", meta_limits="1/day", **options)[0]


def in_view(refuse: Callable[[Limiter], Any]) -> Callable[..., Quart]:
    def make(**options: Any) -> Quart:
        app, limiter = limited(**options)

        async def upload() -> ResponseReturnValue:
            return await refuse(limiter)  # type: ignore[no-any-return]

        app.view_functions["upload"] = upload
        return app

    return make


async def a_block(limiter: Limiter) -> Any:
    async with limiter.limit("1/day"):
        return "stored"


async def a_reservation(limiter: Limiter) -> Any:
    async with limiter.reserve("1/day", cost=1), limiter.reserve("1/day", cost=1):
        return "stored"


async def a_place(limiter: Limiter) -> Any:
    async with limiter.in_flight(1, scope="s"), limiter.in_flight(1, scope="s"):
        return "stored"


async def a_hit(limiter: Limiter) -> Any:
    decision = await limiter.hit("1/day", "who")
    return ("stored", 200) if decision.allowed else ("slow down", 429)


def with_error_handler(**options: Any) -> Quart:
    app = by_default(**options)

    @app.errorhandler(RateLimitExceeded)
    async def handler(_: Exception) -> ResponseReturnValue:
        return "come back", 503

    return app


def with_redirect(**options: Any) -> Quart:
    return by_default(on_breach=lambda _: Response("", 303, {"Location": "/slow"}), **options)


def with_success(**options: Any) -> Quart:
    return by_default(on_breach=lambda _: Response('{"error": "limited"}', 200), **options)


WAYS = {
    by_decorator: 429,
    by_default: 429,
    by_application: 429,
    by_snippet: 429,
    by_quart_rate_limiter: 429,
    by_denial: 403,
    by_meta: 429,
    in_view(a_block): 429,
    in_view(a_reservation): 429,
    in_view(a_place): 429,
    in_view(a_hit): 429,
    with_error_handler: 503,
    with_redirect: 303,
    with_success: 200,
}


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no more is waited for only for a moment."""
    monkeypatch.setattr(drain, "SECONDS", 0.02)


async def refused(app: Any, *fields: tuple[bytes, bytes], **options: Any) -> Uploader:
    """An upload that the app refuses before its body arrives."""
    for _ in range(3):  # one that is allowed, one that is refused, one that a meta limit refuses
        spent = Uploader(app)
        spent.arrives(0, more=False)
        await spent.task
    client = Uploader(app, *fields, **options)
    await client.settles()
    return client


@pytest.mark.parametrize(("make", "status"), WAYS.items())
async def test_each_refusal_ends_when_the_body_has_arrived(
    make: Callable[..., Quart], status: int
) -> None:
    client = await refused(make())
    assert not client.is_answered
    client.arrives(100_000)
    await client.settles()
    assert not client.is_answered
    client.arrives(100_000, more=False)
    await client.task
    assert client.is_answered
    assert client.status == status


@pytest.mark.parametrize("make", [way for way in WAYS if way is not by_quart_rate_limiter])
async def test_zero_switches_it_off(make: Callable[..., Quart]) -> None:
    client = await refused(make(drain_refused_bodies=0))
    assert client.is_answered


async def test_a_closed_policy_drains_as_a_limit_does() -> None:
    app = quart_app()
    limits = {"default_limits": "1/day", "on_store_error": "closed"}
    Limiter(app=app, storage_uri="redis://127.0.0.1:1", doctor=False, **limits)
    client = Uploader(app)
    await asyncio.sleep(0.2)  # the store's deadline
    assert not client.is_answered
    client.arrives(1, more=False)
    await client.task
    assert client.status == 503


async def test_a_body_of_unknown_length_is_drained_as_far_as_the_setting_says() -> None:
    client = await refused(by_default(drain_refused_bodies=1000))
    client.arrives(999)
    await client.settles()
    assert client.sent == []
    client.arrives(1)
    await client.task
    assert client.is_answered


async def test_what_arrived_before_the_refusal_is_not_counted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b"slow down"})

    client = Uploader(Drain(app, lambda: 1000))
    client.arrives(5000)
    client.arrives(999)
    await client.settles()
    assert client.sent == []
    client.arrives(1)
    await client.task
    assert client.status == 429


async def test_a_body_that_is_known_to_be_larger_is_drained_after_the_refusal() -> None:
    client = await refused(by_default(drain_refused_bodies=1000), (b"content-length", b"1001"))
    assert client.status == 429
    assert b"Too Many Requests" in b"".join(part["body"] for part in client.sent[1:])
    assert not client.is_answered
    client.arrives(1000)
    await client.task
    assert client.is_answered


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("length", [b"5", b"5000000", b"many", b"9" * 5000])
async def test_a_client_that_sends_nothing_is_answered_all_the_same(length: bytes) -> None:
    client = await refused(by_default(), (b"content-length", length))
    await client.task
    assert (client.status, client.is_answered) == (429, True)


@pytest.mark.usefixtures("silence")
async def test_a_body_that_is_late_is_drained_before_the_refusal_and_after_it() -> None:
    client = await refused(by_default(drain_refused_bodies=1000))
    client.arrives(500)
    await client.begins_to_read.wait()
    assert (client.status, client.is_answered) == (429, False)
    client.arrives(500)
    await client.settles()
    assert client.is_answered
    await client.task


async def test_a_client_that_leaves_ends_its_request() -> None:
    client = await refused(by_default())
    client.leaves()
    await client.task
    assert client.sent == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_rest_of_a_body_is_dropped() -> None:
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> None:
            while True:
                bodies.append((await receive())["body"])

        reading = asyncio.create_task(read())
        await client.settles()
        await send({"type": "http.response.start", "status": 429, "headers": []})
        reading.cancel()

    client = Uploader(Drain(app))
    client.arrives(3)
    await client.settles()
    client.arrives(5)
    client.arrives(7, more=False)
    await client.task
    assert bodies == [b"xxx", b"", b""]


async def test_an_app_that_reads_only_once_the_drain_has_begun_delays_no_refusal() -> None:
    async def refuse(send: Any) -> None:
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b"slow", "more_body": False})

    async def read(receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.TaskGroup() as tasks:  # as Quart does from 0.23 on
            tasks.create_task(refuse(send))
            tasks.create_task(read(receive))

    client = Uploader(Drain(app))
    await client.settles()
    client.arrives(100)
    await client.settles()
    assert client.sent == []
    client.arrives(100, more=False)
    await client.settles()
    assert client.is_answered
    await client.task


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_an_answer_that_is_no_refusal_waits_for_nothing(status: int) -> None:
    app, _ = limited(default_limits="9/day")

    async def upload() -> ResponseReturnValue:
        return "read nothing", status

    app.view_functions["upload"] = upload
    client = await refused(app)
    assert (client.status, client.is_answered) == (status, True)


async def test_a_refused_request_without_a_body_waits_for_nothing() -> None:
    client = await refused(by_default(), (b"accept", b"*/*"))
    assert client.is_answered


async def test_http2_announces_no_body_so_its_end_is_waited_for() -> None:
    client = await refused(by_default(), (b"accept", b"*/*"), http="2")
    assert not client.is_answered
    client.arrives(0, more=False)
    await client.task
    assert client.status == 429


async def test_a_place_in_flight_is_free_while_the_body_is_drained() -> None:
    app, limiter = limited()
    refusing = limiter.limit("1/day")(app.view_functions["upload"])
    app.view_functions["upload"] = limiter.in_flight(1)(refusing)

    first = await refused(app)
    second = await refused(app)
    for client in (second, first):
        assert not client.is_answered
        client.arrives(0, more=False)
        await client.task
        body = b"".join(part["body"] for part in client.sent[1:])
        assert b"1 per 1 day" in body, "the first one still holds the place"


async def test_a_refusal_that_the_app_catches_delays_only_the_end_of_its_answer() -> None:
    async def stream(limiter: Limiter) -> Any:
        try:
            return await a_block(limiter)
        except RateLimitExceeded:
            return Response("from the cache")

    client = await refused(in_view(stream)())
    assert client.status == 200
    assert b"".join(part["body"] for part in client.sent[1:]) == b"from the cache"
    client.arrives(0, more=False)
    await client.task


async def test_of_two_limiters_the_last_one_drains_for_both() -> None:
    app = by_default(drain_refused_bodies=0)
    Limiter(app=app, storage_uri="memory://", doctor=False, drain_refused_bodies=10)
    client = await refused(app)
    assert not client.is_answered
    client.arrives(10)
    await client.task
    assert client.is_answered


# The shield answers without Quart, so nobody else reads the body.


async def shielded() -> Quart:
    app, limiter = limited(default_limits="1/day")
    shield = limiter.shield(app)
    for _ in range(5):
        client = await refused(app)
        client.arrives(0, more=False)
        await client.task
    assert shield.answered > 0
    return app


async def test_the_shield_drains_too() -> None:
    client = await refused(await shielded())
    assert client.sent == []
    client.arrives(100_000)
    client.arrives(100_000, more=False)
    await client.task
    assert (client.status, client.is_answered) == (429, True)


async def test_the_shield_requests_no_body_that_waits_for_100_continue() -> None:
    fields = [(b"content-length", b"9"), (b"expect", b"100-continue")]
    client = await refused(await shielded(), *fields)
    assert client.status == 429  # a server sends no 100 after it
    client.leaves()
    await client.task


@pytest.mark.usefixtures("silence")
async def test_the_shield_waits_no_longer_for_a_silent_client() -> None:
    client = await refused(await shielded())
    await client.task
    assert (client.status, client.is_answered) == (429, True)


async def test_a_client_of_the_shield_that_leaves_is_sent_nothing() -> None:
    client = await refused(await shielded())
    client.leaves()
    await client.task
    assert client.sent == []


@pytest.mark.parametrize("value", [-1, 1.5, "1MB", True, None])
def test_a_setting_that_is_no_number_of_bytes_is_an_error(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="drain_refused_bodies"):
        limited(drain_refused_bodies=value)
