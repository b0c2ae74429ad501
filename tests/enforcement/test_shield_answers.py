"""The shield repeats no answer to a request that differs, and changes none that it repeats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Response, request

from quart_ratelimit.enforcement.shield import PASSED, PLAIN, REFUSED, Refused, Shield
from quart_ratelimit.quotas import Decision, Hit
from quart_ratelimit.responses.drain import Drain

from ..support.asgi import Answer, ask
from ..support.sites import ShieldedSite


@dataclass(frozen=True)
class Asked:
    """One request; the limit counts by its client and ``x-account``."""

    client: str | None = "192.0.2.1"
    method: str = "GET"
    scheme: str = "http"
    host: str = "one.example"
    root_path: str = ""
    path: str = "/"
    query: str = ""
    cookie: str | None = None
    authorization: str | None = None
    accept: str | None = None
    origin: str | None = None
    varying: str | None = None
    account: str | None = None
    language: str | None = None
    encoding: str | None = None
    range: str | None = None
    etag: str | None = None
    raw_path: str = ""
    http_version: str = "1.1"
    server: tuple[str, int | None] = ("127.0.0.1", 80)
    #: Read on HTTP/2 alone, where no field announces it.
    body: str = ""
    #: Who the client is by a layer outside, which took the fields that say so, or by TLS.
    user: str | None = None
    state: str | None = None
    certificate: str | None = None
    #: The names of fields in the answer's ``Vary``, in as many lines.
    vary: tuple[str, ...] = ("x-varying",)

    @property
    def scope(self) -> dict[str, Any]:
        fields = {
            "host": self.host,
            "cookie": self.cookie,
            "authorization": self.authorization,
            "accept": self.accept,
            "origin": self.origin,
            "x-varying": self.varying,
            "x-account": self.account,
            "accept-language": self.language,
            "accept-encoding": self.encoding,
            "range": self.range,
            "if-none-match": self.etag,
        }
        tls = {"client_cert_name": self.certificate}
        return {
            **({} if self.user is None else {"user": self.user}),
            "state": {} if self.state is None else {"user": self.state},
            "extensions": {"http.response.push": {}, **({"tls": tls} if self.certificate else {})},
            "client": None if self.client is None else (self.client, 50_000),
            "raw_path": (self.raw_path or self.path).encode(),
            "http_version": self.http_version,
            "server": self.server,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "query_string": self.query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in fields.items() if v is not None],
        }


values = st.text("ab=; ,*/", max_size=4)
requests = st.builds(
    Asked,
    client=st.sampled_from(["192.0.2.1", "192.0.2.2", "::1", "", None]),
    method=st.sampled_from(["GET", "HEAD", "POST", "get"]),
    scheme=st.sampled_from(["http", "https"]),
    host=values,
    root_path=values,
    path=values.map("/".__add__),
    query=values,
    raw_path=st.sampled_from(["", "/", "/%2F", "/%61", "/a", "/a%2fb", "/a%2Fb"]),
    http_version=st.sampled_from(["1.0", "1.1", "2", "3"]),
    server=st.sampled_from([("127.0.0.1", 80), ("127.0.0.1", 81), ("::1", 80), ("/run/s", None)]),
    body=st.sampled_from(["", "ann", "bob"]),
    vary=st.lists(st.sampled_from(["x-varying", "cookie", "*", "accept, *", "Origin"])).map(tuple),
    **dict.fromkeys(
        [
            "cookie",
            "authorization",
            "accept",
            "origin",
            "varying",
            "account",
            "language",
            "encoding",
            "range",
            "etag",
            "user",
            "state",
            "certificate",
        ],
        st.none() | values,
    ),
)


def page_of(asked: Asked) -> bytes:
    return repr(asked).encode()


class PageApp:
    """An app behind a shield that refuses every request with a page made for that request."""

    def __init__(self) -> None:
        app = Drain(self._refuse)
        self.shield = Shield(app, self._known_refusal, now_ms=lambda: 1_000)
        self.reached = 0
        self._asked = Asked()

    async def get(self, asked: Asked) -> Answer:
        self._asked = asked
        scope = asked.scope
        body = asked.body.encode() if asked.http_version in ("2", "3") else b""
        return await ask(self.shield, asked.path, "", asked.method, scope=scope, body=body)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += 1
        await receive()
        scope[REFUSED] = Refused([], (b"x-account",))
        headers = [(b"vary", name.encode()) for name in self._asked.vary]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": page_of(self._asked)})

    def _known_refusal(self, hits: Sequence[Hit]) -> Sequence[Decision]:
        return [Decision(False, 0, 60_000, 59_001)]


@given(requests, requests, st.data())
async def test_no_answer_is_repeated_across_a_difference_in_one_thing(
    first: Asked, other: Asked, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(vars(first))))
    second = replace(first, **{name: getattr(other, name)})
    # What the answer varies by is the app's own, and a unix socket has two names.
    pages = (page_of(second), PLAIN, b"")
    unread = name == "body" and first.http_version in ("1.0", "1.1")
    if name == "vary" or unread or (name == "client" and not (first.client or second.client)):
        pages = (*pages, page_of(first))
    site = PageApp()
    for _ in range(data.draw(st.integers(1, PASSED + 2))):
        assert (await site.get(first)).body in (page_of(first), PLAIN, b"")
    assert (await site.get(second)).body in pages


DIFFERENCES: dict[str, dict[str, Any]] = {
    "a percent-encoding": {"path": "/a/b", "raw_path": "/a%2Fb"},
    "a port of the server": {"server": ("127.0.0.1", 81)},
    "a unix socket of the server": {"server": ("/run/s", None)},
    "an HTTP version": {"http_version": "2"},
    "a range": {"range": "bytes=0-1"},
    "an etag": {"etag": '"a"'},
    "an encoding": {"encoding": "gzip"},
    "no address": {"client": None},
    "a root path": {"root_path": "/shop"},
    "a port of the host": {"host": "one.example:81"},
    "a user that a layer outside found": {"user": "bob"},
    "what a layer outside keeps in the state": {"state": "bob"},
    "a client's certificate": {"certificate": "CN=bob"},
}


@pytest.mark.parametrize("name", DIFFERENCES)
async def test_a_page_is_not_repeated_across(name: str) -> None:
    one = replace(Asked(), path=DIFFERENCES[name].get("path", "/"))
    other, site = replace(one, **DIFFERENCES[name]), PageApp()
    for _ in range(3):
        assert (await site.get(one)).body == page_of(one)
    assert (await site.get(other)).body == page_of(other)


@pytest.mark.parametrize(("first", "second"), [("ann", "bob"), ("", "bob"), ("ann", "")])
async def test_on_http_2_a_page_is_not_repeated_across_a_body_that_no_field_announces(
    first: str, second: str
) -> None:
    one, site = Asked(http_version="2", body=first), PageApp()
    for _ in range(3):
        assert (await site.get(one)).body == page_of(one)
    other = replace(one, body=second)
    assert (await site.get(other)).body in (page_of(other), PLAIN)


async def test_on_http_2_equal_requests_without_a_body_share_one_answer() -> None:
    site, asked = PageApp(), Asked(http_version="2")
    assert {(await site.get(asked)).body for _ in range(50)} == {page_of(asked)}
    assert site.reached == 1


async def test_equal_requests_share_one_answer() -> None:
    site, asked = PageApp(), Asked(query="page=2", cookie="session=ann", accept="text/html")
    answers = {(await site.get(asked)).body for _ in range(50)}
    assert answers == {page_of(asked)}
    assert site.reached == 1


@pytest.mark.parametrize("name", ["query", "cookie", "authorization", "accept", "varying"])
async def test_a_flood_that_varies_what_the_limit_does_not_count_by_is_answered_plainly(
    name: str,
) -> None:
    site = PageApp()
    answers = [await site.get(replace(Asked(), **{name: str(number)})) for number in range(100)]
    assert site.reached == PASSED + 1
    assert {answer.status for answer in answers} == {429}
    assert {answer.body for answer in answers[PASSED + 1 :]} == {PLAIN}


async def test_the_plain_answer_bears_the_true_wait_and_is_not_to_be_stored() -> None:
    site = PageApp()
    for number in range(PASSED + 1):
        await site.get(Asked(query=str(number)))
    answer = await site.get(Asked(query="last"))
    assert dict(answer.headers) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"18",
        b"cache-control": b"no-store",
        b"retry-after": b"60",
    }
    assert answer.body == b"Too Many Requests\n"


async def test_a_plain_answer_to_head_has_no_body() -> None:
    site = PageApp()
    for number in range(PASSED + 1):
        await site.get(Asked(method="HEAD", query=str(number)))
    assert (await site.get(Asked(method="HEAD", query="last"))).body == b""


@pytest.mark.parametrize("name", ["client", "host", "path", "scheme", "method", "account"])
async def test_a_flood_elsewhere_or_of_another_client_takes_no_ones_page(name: str) -> None:
    site = PageApp()
    for number in range(100):
        await site.get(Asked(query=str(number)))
    other = replace(Asked(), **{name: "/other"})
    assert (await site.get(other)).body == page_of(other)


async def test_requests_with_a_body_are_answered_by_the_app_or_plainly() -> None:
    site = PageApp()
    answers = [await site.get(Asked(method="POST")) for _ in range(20)]
    assert [answer.body for answer in answers[PASSED + 1 :]] == [PLAIN] * (19 - PASSED)
    site = ShieldedSite()
    for _ in range(6):
        await site.get(**{"content-length": "0"})
    assert site.shield.answered == 0


@pytest.mark.parametrize(("vary", "repeated"), [("*", 0), ("accept, *", 0), ("cookie, x-any", 3)])
async def test_an_answer_that_varies_by_anything_is_not_repeated(vary: str, repeated: int) -> None:
    site = ShieldedSite()

    @site.app.after_request
    async def mark(response: Response) -> Response:
        response.headers["Vary"] = vary
        return response

    for _ in range(6):
        await site.get()
    assert site.shield.answered == repeated


async def test_a_page_that_names_its_reader_is_shown_to_that_reader_alone() -> None:
    site = ShieldedSite()

    @site.app.errorhandler(429)
    async def slow_down(_: Any) -> tuple[str, int]:
        return f"Dear {request.cookies.get('name')}, not {request.args.get('q')}", 429

    for _ in range(4):
        await site.get(cookie="name=ann")
    assert site.shield.answered == 1
    assert (await site.get(cookie="name=bob")).body == b"Dear bob, not None"
    query = {"query_string": b"q=x"}
    assert (await site.get(cookie="name=ann", scope=query)).body == b"Dear ann, not x"


async def test_a_limit_that_ends_is_seen_by_a_flood_that_varies_its_query() -> None:
    site = ShieldedSite()
    for number in range(30):
        await site.get(scope={"query_string": str(number).encode()})
    assert site.shield.answered == 30 - 2 - 1 - PASSED
    await site.limiter.reset()
    assert (await site.get(scope={"query_string": b"next"})).status == 200


@pytest.mark.parametrize("peers", [[None, ("", 0)], [("", 0), None]])
async def test_peers_on_a_unix_socket_are_alike(peers: list[Any]) -> None:
    site = ShieldedSite()
    for _ in range(3):
        await site.get(scope={"client": peers[0]})
    assert (await site.get(scope={"client": peers[1]})).status == 429
    assert site.shield.answered == 1
