"""Clients cannot choose their bucket: every way that is known to have worked, against a Quart app.

The advisories are those of other limiters; each is named in its test.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware
from quart import Quart, request
from werkzeug.datastructures import Headers

from quart_ratelimit import ConfigurationError, Limiter, client_address
from quart_ratelimit.clients.key_functions import TEST_CLIENT
from quart_ratelimit.stores import MemoryStore

ANN, BOB, PROXY, OUTER = "203.0.113.1", "203.0.113.2", "10.0.0.1", "10.0.0.2"
NOON = 1_800_000_000_000


class Site:
    """An app that admits 10 requests a minute and counts in memory, where no time passes."""

    def __init__(self, key: Callable[[], str], *limits: tuple[str, Callable[[], str]]) -> None:
        self.app = Quart(__name__)
        self.store = MemoryStore(now_ms=lambda: NOON)
        #: What Quart's own ``access_route[0]`` says, as limiters that can be spoofed ask it.
        self.leftmost: set[str] = set()
        limiter = Limiter(key, app=self.app, store=self.store)

        async def index() -> str:
            return "hello"

        for limit, key_func in limits:
            index = limiter.limit(limit, key_func=key_func)(index)
        self.app.get("/")(limiter.limit("10/minute")(index))

        @self.app.before_request
        def note() -> None:
            self.leftmost.update(request.access_route[:1])

    def hide_the_test_client(self) -> None:
        """Take away from each scope what says that it comes from Quart's test client."""
        inner = self.app.asgi_app

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await inner({k: v for k, v in scope.items() if k != TEST_CLIENT}, receive, send)

        self.app.asgi_app = served  # type: ignore[method-assign]

    async def admits(
        self, headers: Mapping[str, str] | Headers | None = None, *, peer: str | None = ANN
    ) -> bool:
        """Send one request over a connection from this peer; None: over a unix socket."""
        response = await self.app.test_client().get(
            "/", headers=Headers(headers or {}), scope_base={"client": peer and (peer, 4711)}
        )
        assert response.status_code in (200, 429)
        return response.status_code == 200

    async def count(self, many: Any, *, peer: str | None = ANN) -> tuple[int, int]:
        """Send requests with these headers: how many are admitted, of how many buckets."""
        admitted = [await self.admits(headers, peer=peer) for headers in many]
        return sum(admitted), len(self.store)


def forged(n: int) -> str:
    return f"198.51.100.{n}"


#: Lies, as many as one likes, in every header that some framework or CDN has ever believed.
LIES = {
    "X-Forwarded-For": lambda n: {"X-Forwarded-For": forged(n)},
    "a chain": lambda n: {"X-Forwarded-For": f"{forged(n)}, {PROXY}, {OUTER}"},
    "two lines": lambda n: [("X-Forwarded-For", forged(n)), ("X-Forwarded-For", forged(n + 1))],
    "Forwarded": lambda n: {"Forwarded": f"for={forged(n)};proto=https"},
    "X-Real-IP": lambda n: {"X-Real-IP": forged(n)},
    "CF-Connecting-IP": lambda n: {"CF-Connecting-IP": forged(n), "True-Client-IP": forged(n)},
    "Remote-Addr": lambda n: {"Remote-Addr": forged(n), "X-Remote-Addr": forged(n)},
    "X_FORWARDED_FOR": lambda n: {"X_FORWARDED_FOR": forged(n), "X-Client-IP": forged(n)},
}


@pytest.mark.parametrize(
    "key",
    [
        client_address(),
        client_address("10.0.0.0/8"),
        client_address("10.0.0.0/8", header="CF-Connecting-IP"),
        client_address("10.0.0.0/8", header="Forwarded"),
    ],
    ids=["no proxy", "strange peer", "strange peer, CF-Connecting-IP", "strange peer, Forwarded"],
)
async def test_a_hundred_spoofed_headers_are_one_bucket(key: Any) -> None:
    """Also werkzeug #290: a header is no more true because some proxy would have been trusted."""
    site = Site(key)
    assert await site.count(lie(n) for n in range(100) for lie in LIES.values()) == (10, 1)
    assert await site.admits(peer=BOB)


async def test_the_lies_would_work_on_a_limiter_that_takes_the_leftmost_address() -> None:
    site = Site(client_address())
    await site.count(LIES["X-Forwarded-For"](n) for n in range(100))
    assert len(site.leftmost) == 100


async def test_leftmost_forwarded_for() -> None:
    """Django REST framework 2022, flask-limiter #41, fastapi-limiter #11, quart-rate-limiter."""
    site = Site(client_address(1))
    lies = ({"X-Forwarded-For": f"{forged(n)}, {ANN}"} for n in range(100))
    assert await site.count(lies, peer=PROXY) == (10, 1)
    assert len(site.leftmost) == 100


async def test_ghsa_hm36_ffrh_c77c_forwarded_for_believed_of_everybody() -> None:
    """Litestar's RateLimitMiddleware, CVE-2025-59152."""
    site = Site(client_address(["10.0.0.0/8"]))
    assert await site.count(LIES["X-Forwarded-For"](n) for n in range(100)) == (10, 1)


async def test_cve_2025_46814_a_trusted_address_forged_into_the_header() -> None:
    """fastapi-guard: a client names a trusted address to be taken for it."""
    site = Site(client_address([f"{PROXY}", f"{OUTER}"]))
    lies = [PROXY, OUTER, f"{PROXY}, {OUTER}", "127.0.0.1", f"{forged(1)}, {PROXY}"]
    spoofed = ({"X-Forwarded-For": f"{lies[n % 5]}, {ANN}"} for n in range(100))
    assert await site.count(spoofed, peer=PROXY) == (10, 1)
    straight = ({"X-Forwarded-For": lies[n % 5]} for n in range(100))
    assert await site.count(straight, peer=ANN) == (0, 1)


async def test_cve_2026_30827_mapped_ipv4_clients_share_no_bucket() -> None:
    """express-rate-limit 8.0 to 8.2.1 masked ::ffff:0:0/96 to one network."""
    site = Site(client_address())
    for n in range(100):
        assert await site.admits(peer=f"::ffff:203.0.{n}.1")
        assert await site.admits(peer=f"203.0.{n}.1")
    assert len(site.store) == 100


async def test_cve_2026_45364_no_other_notation_and_no_other_host_of_a_network_is_a_bucket() -> (
    None
):
    """better-auth keyed IPv6 by its text."""
    site = Site(client_address(1))
    texts = [
        "2001:db8::1",
        "2001:DB8::1",
        "2001:0db8:0:0:0:0:0:1",
        "2001:db8::1%eth0",
        '"[2001:db8::1]:443"',
        *(f"2001:db8::{n:x}" for n in range(2, 97)),
    ]
    assert await site.count(({"X-Forwarded-For": t} for t in texts), peer=PROXY) == (10, 1)


@pytest.mark.parametrize("key", [client_address(2), client_address([PROXY, OUTER])])
async def test_behind_two_proxies_each_client_has_one_bucket(key: Any) -> None:
    site = Site(key)
    lies = ({"X-Forwarded-For": f"{forged(n)}, {ANN}, {OUTER}"} for n in range(100))
    assert await site.count(lies, peer=PROXY) == (10, 1)
    assert await site.admits({"X-Forwarded-For": f"{ANN}, {BOB}, {OUTER}"}, peer=PROXY)


@pytest.mark.parametrize(
    "value", ["", ",", "unknown", "_hidden", "<script>", "01.2.3.4", "x" * 10_000, "," * 10_000]
)
async def test_a_proxy_that_passes_on_garbage_is_counted_itself(value: str) -> None:
    site = Site(client_address(1))
    assert await site.count([{"X-Forwarded-For": value}] * 20, peer=PROXY) == (10, 1)
    assert not await site.admits(peer=PROXY)
    assert await site.admits({"X-Forwarded-For": ANN}, peer=PROXY)


async def key_of(site: Site, peer: str, key: Callable[[], str]) -> str:
    # Quart's own way of handing the peer over.
    async with site.app.test_request_context("/", headers={"Remote-Addr": peer}):
        return key()


async def test_ten_thousand_addresses_of_one_64_are_one_bucket() -> None:
    key = client_address()
    site = Site(key)
    addresses = (f"2001:db8::{n:x}:{n * 40_503 & 0xFFFF:x}" for n in range(10_000))
    assert {await key_of(site, address, key) for address in addresses} == {"2001:db8::/64"}


async def test_ten_thousand_64s_of_one_48_are_bounded_by_a_second_limit() -> None:
    site = Site(client_address(), ("100/minute", client_address(ipv6_prefix=48)))
    admitted = 0
    for n in range(200):
        admitted += await site.admits(peer=f"2001:db8:1:{n:x}::1")
    assert admitted == 100
    wide = client_address(ipv6_prefix=48)
    addresses = (f"2001:db8:1:{n:x}::1" for n in range(10_000))
    assert {await key_of(site, address, wide) for address in addresses} == {"2001:db8:1::/48"}


async def test_clients_without_an_address_share_a_bucket_and_a_warning_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(client_address())
    site.hide_the_test_client()
    with caplog.at_level(logging.WARNING):
        assert await site.count(map(LIES["X-Forwarded-For"], range(100)), peer=None) == (10, 1)
    (record,) = [r for r in caplog.records if "share one rate limit" in r.getMessage()]
    assert "trusted_proxies" in record.getMessage()
    assert "198.51.100" not in caplog.text


async def test_behind_a_proxy_on_a_unix_socket_clients_are_told_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(client_address("unix:"))
    for who in (ANN, BOB):
        lies = ({"X-Forwarded-For": f"{forged(n)}, {who}"} for n in range(20))
        assert (await site.count(lies, peer=None))[0] == 10
    assert len(site.store) == 2
    assert "share one rate limit" not in caplog.text


async def test_websockets_count_for_the_same_client() -> None:
    app, key = Quart(__name__), client_address(1)

    @app.websocket("/ws")
    async def ws() -> None:
        from quart import websocket

        await websocket.send(key())

    headers = Headers([("X-Forwarded-For", f"{forged(1)}, {ANN}")])
    base = {"client": (PROXY, 1)}
    async with app.test_client().websocket("/ws", headers=headers, scope_base=base) as connection:
        assert await connection.receive() == ANN


async def test_a_header_without_trust_is_an_error_not_an_open_door() -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies="):
        client_address(header="CF-Connecting-IP")


@pytest.mark.parametrize(
    ("mode", "header", "value"),
    [
        ("legacy", "X-Forwarded-For", "{}:{}"),
        ("legacy", "X-Forwarded-For", '"[2001:db8::1]:{1}"'),
        ("modern", "Forwarded", 'for="{}:{}"'),
        ("legacy", "X-Forwarded-For", "_hidden{1}"),
        ("legacy", "X-Forwarded-For", "<script>{1}"),
        ("modern", "X-Forwarded-For", "{}:{}"),  # a proxy that sends no Forwarded
    ],
)
async def test_hypercorns_middleware_hands_text_over_that_is_made_one_client_here(
    mode: Any, header: str, value: str
) -> None:
    """It gives remote_addr whatever the header says: a new port would be a new bucket."""
    site, seen = Site(client_address()), set()
    site.app.asgi_app = ProxyFixMiddleware(site.app.asgi_app, mode)  # type: ignore[method-assign]

    @site.app.before_request
    def note() -> None:
        seen.add(request.remote_addr)

    ports = ({header: value.format(ANN, port)} for port in range(4000, 4100))
    assert await site.count(ports, peer=PROXY) == (10, 1)
    assert len(seen) == 100


async def test_hypercorns_middleware_believes_whoever_connects_and_trusted_networks_do_not() -> (
    None
):
    fixed, ours = Site(client_address()), Site(client_address("10.0.0.0/8"))
    fixed.app.asgi_app = ProxyFixMiddleware(fixed.app.asgi_app)  # type: ignore[method-assign]
    lies = [LIES["X-Forwarded-For"](n) for n in range(100)]
    assert await fixed.count(lies, peer=ANN) == (100, 100)
    assert await ours.count(lies, peer=ANN) == (10, 1)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str) -> str:
    """The app's answer over a real connection."""
    writer.write(f"GET /who HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{headers}\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().rpartition("\r\n\r\n")[2]


async def test_on_hypercorns_own_sockets_clients_are_who_they_are(tmp_path: Path) -> None:
    """A dual-stack socket reports IPv4 peers as mapped, a unix socket reports none."""
    app = Quart(__name__)
    plain, counted, unix = client_address(), client_address("127.0.0.0/8"), client_address("unix:")

    @app.get("/who")
    async def who() -> str:
        return " ".join([str(request.remote_addr), plain(), counted(), unix()])

    config, stop, path = Config(), asyncio.Event(), tmp_path / "socket"
    config.bind = ["[::]:0", f"unix:{path}"]
    config.errorlog = None
    sockets = config.create_sockets()
    for each in sockets.insecure_sockets:
        each.listen()  # so that nobody need wait for the server
    port = sockets.insecure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    lie = f"X-Forwarded-For: {forged(1)}, {ANN}\r\n"
    try:
        by_ipv4 = await ask(*await asyncio.open_connection("127.0.0.1", port), lie)
        by_unix = await ask(*await asyncio.open_unix_connection(path), lie)
    finally:
        stop.set()
        await server
    assert by_ipv4 == f"::ffff:127.0.0.1 127.0.0.1 {ANN} 127.0.0.1"
    assert by_unix == f"<local> 127.0.0.1 127.0.0.1 {ANN}"
