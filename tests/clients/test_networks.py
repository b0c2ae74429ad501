"""Clients by their networks: who is not limited, and who is sent away."""

from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart

from quart_ratelimit import ConfigurationError, Limiter, client_in
from quart_ratelimit.clients.networks import Networks
from quart_ratelimit.stores import GuardedStore, MemoryStore

OFFICE, ABUSER, STRANGER, PROXY = "192.0.2.7", "203.0.113.66", "198.51.100.1", "10.0.0.1"


def site() -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    memory = MemoryStore(now_ms=lambda: 1_800_000_000_000)
    store = GuardedStore(memory, remember_ms=1000)
    limiter = Limiter(app=app, store=store, application_limits=["2/minute"])

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app, limiter


async def ask(app: Quart, who: str, times: int = 1, path: str = "/", **headers: str) -> list[int]:
    client = app.test_client()
    return [
        (await client.get(path, headers=headers, scope_base={"client": (who, 1)})).status_code
        for _ in range(times)
    ]


@given(
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=5),
    st.integers(0, 32),
    st.ip_addresses(v=4),
)
def test_an_address_is_found_as_the_library_finds_it(
    starts: list[IPv4Address], bits: int, address: IPv4Address
) -> None:
    nets = [IPv4Network((int(start), bits), strict=False) for start in starts]
    listed = Networks(str(net) for net in nets)
    assert (address in listed) == any(address in net for net in nets)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.0/24", "192.0.2.255"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::/32", "2001:db8:ffff::1"),
        ("::ffff:192.0.2.0/120", "192.0.2.9"),
    ],
)
def test_networks_and_single_addresses_of_both_versions_are_found(text: str, address: str) -> None:
    assert ip_address(address) in Networks([text])
    assert ip_address("198.51.100.1") not in Networks([text])
    assert ip_address("2001:db9::1") not in Networks([text])


@pytest.mark.parametrize("text", ["192.0.2.0/33", "example.org", "192.0.2.7/24", ""])
def test_what_is_no_network_is_named_when_the_app_is_built(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write '203\.0\.113\.0/24'"):
        client_in([text])


async def test_listed_clients_are_not_limited() -> None:
    app, limiter = site()
    limiter.request_filter(client_in("192.0.2.0/24"))
    assert await ask(app, OFFICE, 5) == [200] * 5
    assert await ask(app, STRANGER, 3) == [200, 200, 429]


async def test_denied_clients_get_403_and_nothing_is_counted() -> None:
    app, limiter = site()
    limiter.deny(client_in(["203.0.113.0/24", "2001:db8:bad::/48"]))
    assert await ask(app, ABUSER, 3) == [403] * 3
    assert await ask(app, "2001:db8:bad::1") == [403]
    assert await ask(app, ABUSER, path="/nowhere") == [403]
    assert await limiter.store.clear() == 0
    assert await ask(app, STRANGER, 3) == [200, 200, 429]


async def test_a_client_that_is_both_allowed_and_denied_is_denied() -> None:
    app, limiter = site()
    limiter.request_filter(client_in(ABUSER))
    limiter.deny(client_in(ABUSER))
    assert await ask(app, ABUSER) == [403]


async def test_a_header_is_believed_of_trusted_proxies_only() -> None:
    app, limiter = site()
    limiter.request_filter(client_in(OFFICE, trusted_proxies=PROXY))
    forged = {"X-Forwarded-For": OFFICE}
    assert await ask(app, STRANGER, 3, **forged) == [200, 200, 429]
    assert await ask(app, PROXY, 5, **forged) == [200] * 5


async def test_who_has_no_address_is_in_no_network() -> None:
    app, limiter = site()
    limiter.request_filter(client_in(["127.0.0.0/8", "0.0.0.0/1"]))
    assert [(await app.test_client().get("/")).status_code for _ in range(3)] == [200, 200, 429]


async def test_a_websocket_of_a_denied_client_is_refused() -> None:
    app, limiter = site()

    @app.websocket("/ws")
    async def echo() -> None:
        raise AssertionError("reached")

    limiter.deny(client_in("127.0.0.1"))
    client = app.test_client()
    with pytest.raises(Exception, match="403"):
        async with client.websocket("/ws", scope_base={"client": ("127.0.0.1", 1)}) as socket:
            await socket.receive()


async def test_the_shield_goes_on_refusing_strangers_and_never_those_that_are_allowed() -> None:
    app, limiter = site()
    limiter.request_filter(client_in(OFFICE))
    limiter.deny(client_in(ABUSER))
    shield = limiter.shield(app)
    assert await ask(app, STRANGER, 5) == [200, 200, 429, 429, 429]
    assert shield.answered == 2
    assert await ask(app, OFFICE, 5) == [200] * 5
    assert await ask(app, ABUSER, 2) == [403] * 2
    assert shield.answered == 2


async def test_a_list_that_is_added_while_the_app_runs_counts_at_once() -> None:
    app, limiter = Quart(__name__), Limiter(storage_uri="memory://")
    limiter.init_app(app)

    @app.get("/")
    @limiter.limit("5/minute")
    async def index() -> str:
        return "hello"

    assert await ask(app, ABUSER) == [200]  # nothing applied before views until now
    limiter.deny(client_in(ABUSER))
    assert await ask(app, ABUSER) == [403]
    assert await ask(app, STRANGER) == [200]
