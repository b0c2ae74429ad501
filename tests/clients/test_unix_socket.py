"""Clients on a unix socket have no address: they share one key, and no list knows them."""

import logging
from typing import Any

import pytest
from quart import Quart, request

from quart_ratelimit import Limiter, client_address, client_in
from quart_ratelimit.clients.key_functions import peer_of
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.asgi import ask

#: What servers say of such a peer: Hypercorn and Uvicorn, Granian, others (the client's choice).
PEERS: list[Any] = [None, ("", 0), ("/tmp/one.sock", 0), ("@two", 0), ("unix:", 0), ["<local>", 0]]
OFFICE = "192.0.2.7"


class Site:
    """An app with one limit."""

    def __init__(self, key_func: Any = get_remote_address, limit: str = "2/minute") -> None:
        self.app = Quart(__name__)
        store = MemoryStore(now_ms=lambda: 1_800_000_000_000)
        self.limiter = Limiter(
            app=self.app, store=store, key_func=key_func, application_limits=[limit]
        )

        @self.app.get("/")
        async def index() -> str:
            return "hello"

    async def get(self, peer: Any, **headers: str) -> int:
        client = self.app.test_client()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.get("/", scope_base={"client": peer}, headers=named)
        return answer.status_code


@pytest.mark.parametrize("key_func", [get_remote_address, client_address()])
async def test_all_of_them_share_one_key_however_the_server_names_them(key_func: Any) -> None:
    site = Site(key_func)
    statuses = [await site.get(peer) for peer in PEERS]
    assert statuses == [200, 200, 429, 429, 429, 429]
    assert await site.get((OFFICE, 1)) == 200


@pytest.mark.parametrize("peer", PEERS)
async def test_a_proxy_on_a_unix_socket_is_trusted_however_the_server_names_it(peer: Any) -> None:
    site = Site(client_address(trusted_proxies="unix:"), "1/minute")
    assert await site.get(peer, X_Forwarded_For="198.51.100.1") == 200
    assert await site.get(peer, X_Forwarded_For="198.51.100.2") == 200
    assert await site.get(peer, X_Forwarded_For="198.51.100.1") == 429


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("use", ["request_filter", "exempt_when"])
async def test_a_list_of_clients_to_let_pass_exempts_none_of_them(peer: Any, use: str) -> None:
    site, passing = Site(limit="2/minute"), client_in(["0.0.0.0/0", "::/0"])
    if use == "request_filter":
        site.limiter.request_filter(passing)
    else:
        view = site.app.view_functions["index"]
        limited = site.limiter.limit("1/minute", exempt_when=passing)(view)
        site.app.view_functions["index"] = limited
    assert 429 in [await site.get(peer) for _ in range(3)]
    assert await site.get((OFFICE, 1)) == 200


@pytest.mark.parametrize("peer", PEERS)
async def test_a_list_of_clients_to_deny_denies_all_of_them_and_says_why_once(
    peer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    site.limiter.deny(client_in("203.0.113.0/24"))
    with caplog.at_level(logging.ERROR, "quart_ratelimit"):
        assert [await site.get(peer) for _ in range(3)] == [403] * 3
    assert await site.get((OFFICE, 1)) == 200
    assert await site.get(("203.0.113.9", 1)) == 403
    [record] = caplog.records
    assert "trusted_proxies='unix:'" in record.message


async def test_behind_a_trusted_proxy_on_a_unix_socket_a_denied_list_knows_its_clients() -> None:
    site = Site(client_address(trusted_proxies="unix:"))
    site.limiter.deny(client_in("203.0.113.0/24", trusted_proxies="unix:"))
    assert await site.get(None, X_Forwarded_For="203.0.113.9") == 403
    assert await site.get(("", 0), X_Forwarded_For="203.0.113.9") == 403
    assert await site.get(("", 0), X_Forwarded_For=OFFICE) == 200
    assert await site.get(None) == 403


async def test_one_list_may_deny_in_one_place_and_exempt_in_another() -> None:
    site, listed = Site(), client_in(OFFICE)
    assert site.limiter.deny(listed) is listed
    async with site.app.test_request_context("/"):
        assert listed() is False


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
async def test_a_peer_with_an_address_keeps_it(address: str) -> None:
    app = Quart(__name__)
    found: list[str | None] = []

    @app.before_request
    async def note() -> None:
        found.append(peer_of(request))

    await app.test_client().get("/", scope_base={"client": (address, 1)})
    assert found == [address]


@pytest.mark.parametrize("trusted", [None, "10.0.0.0/8"])
async def test_the_warning_about_them_is_logged_once_and_never_for_quarts_test_client(
    trusted: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(client_address(trusted_proxies=trusted))
    assert await site.get(None) == 200
    assert caplog.records == []

    for _ in range(2):
        await ask(site.app, scope={"client": None})
    assert [record.getMessage()[:31] for record in caplog.records] == [
        "requests have no client address"
    ]
