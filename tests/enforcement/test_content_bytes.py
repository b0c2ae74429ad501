"""``cost=content_bytes``: a limit on the bytes of requests, and its unit in the fields."""

from typing import Any

import http_sf
import pytest
from quart import Quart, request, websocket
from quart.testing.connections import WebsocketResponseError

from quart_ratelimit import ConfigurationError, FixedWindow, content_bytes

from ..support.apps import Make
from ..support.apps import clock as clock  # noqa: PLC0414  # a fixture
from ..support.apps import make as make  # noqa: PLC0414  # a fixture


def uploads(make: Make, limit: Any = "100/hour", **options: Any) -> Quart:
    """An app whose view returns the body that it read."""
    app, limiter = make(**{"header_fields": ["x-ratelimit", "draft-11"], **options})

    @app.route("/", methods=["GET", "POST"])
    @limiter.limit(limit, cost=content_bytes, name="uploads")
    async def upload() -> bytes:
        if "form" in request.args:
            return (await request.form)["name"].encode()
        if "whole" in request.args:
            return await request.get_data()
        parts = [part async for part in request.body]
        return b"".join(parts)

    return app


async def post(app: Quart, data: bytes) -> Any:
    return await app.test_client().post("/", data=data)


async def chunked(app: Quart, *parts: bytes, path: str = "/", kind: str = "text/plain") -> Any:
    """A request with a body and without ``Content-Length``."""
    fields = {"Content-Type": kind}
    connection = app.test_client().request(path, method="POST", headers=fields)
    async with connection:
        for part in parts:
            await connection.send(part)
        await connection.send_complete()
    return await connection.as_response()


async def test_each_byte_of_a_body_is_a_unit(make: Make) -> None:
    app = uploads(make)
    left = [(await post(app, data)).headers["X-RateLimit-Remaining"] for data in (b"a" * 60, b"b")]
    assert left == ["40", "39"]
    refused = await post(app, b"c" * 40)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
    assert (await post(app, b"c" * 39)).status_code == 200


async def test_a_body_without_a_length_is_counted_before_the_view_which_still_reads_it(
    make: Make,
) -> None:
    app = uploads(make)
    first = await chunked(app, b"a" * 30, b"b" * 30)
    assert (first.status_code, await first.get_data()) == (200, b"a" * 30 + b"b" * 30)
    assert first.headers["X-RateLimit-Remaining"] == "40"
    assert (await chunked(app, b"c" * 20, b"d" * 21)).status_code == 429
    assert (await chunked(app, b"c" * 20, b"d" * 20)).status_code == 200


FORM = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nann\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("path", "kind", "parts", "read"),
    [
        ("/", "text/plain", [b"ab", b"c"], b"abc"),
        ("/?whole", "text/plain", [b"ab", b"c"], b"abc"),
        ("/", "text/plain", [], b""),
        ("/?whole", "text/plain", [], b""),
        ("/?form", "multipart/form-data; boundary=x", [FORM[:20], FORM[20:]], b"ann"),
        ("/?form", "application/x-www-form-urlencoded", [b"name=", b"ann"], b"ann"),
    ],
)
async def test_a_view_reads_a_body_without_a_length_as_it_likes(
    make: Make, path: str, kind: str, parts: list[bytes], read: bytes
) -> None:
    answer = await chunked(uploads(make, "1000/hour"), *parts, path=path, kind=kind)
    assert (answer.status_code, await answer.get_data()) == (200, read)
    charged = 1000 - int(answer.headers["X-RateLimit-Remaining"])
    assert charged == len(b"".join(parts))


@pytest.mark.parametrize("swallow_errors", [False, True])
async def test_a_body_without_a_length_that_is_too_large_is_413_and_charges_nothing(
    make: Make, swallow_errors: bool
) -> None:
    app = uploads(make, swallow_errors=swallow_errors)
    app.config["MAX_CONTENT_LENGTH"] = 50
    assert (await chunked(app, b"a" * 30, b"b" * 30)).status_code == 413
    assert (await chunked(app, b"a" * 30)).headers["X-RateLimit-Remaining"] == "70"


async def test_a_request_without_a_body_costs_nothing_and_is_refused_while_nothing_is_left(
    make: Make,
) -> None:
    app = uploads(make)
    client = app.test_client()
    assert (await client.get("/")).headers["X-RateLimit-Remaining"] == "100"
    await post(app, b"a" * 100)
    assert (await client.get("/")).status_code == 429


@pytest.mark.parametrize("fields", [None, "x-ratelimit", "draft-7", "draft-11"])
@pytest.mark.parametrize("style", [None, "http-date"])
async def test_a_body_that_is_larger_than_the_limit_has_no_time_to_come_back(
    make: Make, fields: str | None, style: str | None
) -> None:
    app = uploads(make, header_fields=fields, retry_after=style)
    refused = await post(app, b"a" * 101)
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, False)
    assert (await post(app, b"a" * 100)).status_code == 200
    assert (await post(app, b"a")).headers["Retry-After"]


async def test_a_refusal_by_two_limits_of_which_one_never_allows_it_has_no_time_either(
    make: Make,
) -> None:
    app = uploads(make, "100/hour", application_limits=["1/minute"])
    assert (await post(app, b"a")).status_code == 200
    refused = await post(app, b"a" * 101)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")


async def test_the_policy_of_such_a_limit_says_that_its_unit_is_a_byte(make: Make) -> None:
    app = uploads(make, application_limits=["7/minute"])
    for size, status in ((60, 200), (60, 429)):
        answer = await post(app, b"a" * size)
        policies = http_sf.parse(answer.headers["RateLimit-Policy"].encode(), tltype="list")
        assert answer.status_code == status
        assert dict(policies) == {
            "global:7/minute": {"q": 7, "w": 60},
            "uploads": {"q": 100, "qu": "content-bytes", "w": 3600},
        }


async def test_the_same_quota_by_bytes_and_by_requests_has_two_policies(make: Make) -> None:
    quota = FixedWindow(100, 3600, name="uploads")
    app, limiter = make(header_fields="draft-11")

    @app.post("/bytes")
    @limiter.limit(quota, cost=content_bytes)
    async def by_bytes() -> str:
        return "ok"

    @app.post("/requests")
    @limiter.limit(quota)
    async def by_requests() -> str:
        return "ok"

    client = app.test_client()
    told = [
        (await client.post(path)).headers["RateLimit-Policy"] for path in ("/bytes", "/requests")
    ]
    assert told == ['"uploads";q=100;qu="content-bytes";w=3600', '"uploads";q=100;w=3600']


async def test_in_a_websocket_view_the_error_names_what_counts_messages(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app, limiter = make()

    @app.websocket("/")
    @limiter.limit("100/hour", cost=content_bytes)
    async def talk() -> None:
        await websocket.send("hello")

    with pytest.raises(WebsocketResponseError):
        async with app.test_client().websocket("/") as connection:
            await connection.receive()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ConfigurationError)
    assert "limiter.messages" in str(record.exc_info[1])
