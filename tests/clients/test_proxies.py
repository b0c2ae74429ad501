"""Who the client is, by what trusted proxies say; the app's side of it is in test_spoofing."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from quart_ratelimit import ConfigurationError, client_address
from quart_ratelimit.clients.forwarded import LONGEST_CHAIN
from quart_ratelimit.clients.proxies import TrustedProxies

from ..fuzz import headers
from ..support.serving import ROOT

PROXY, OUTER = "10.0.0.1", "10.0.0.2"
ANN, BOB = "203.0.113.1", "203.0.113.2"
FORGED = "198.51.100.7"


def client(
    trusted: int | str | Iterable[str] | None,
    *lines: str,
    peer: str | None = PROXY,
    header: str = "X-Forwarded-For",
) -> str | None:
    return TrustedProxies(trusted, header=header).client(peer, lines)


by_network = ["10.0.0.0/8"]


@pytest.mark.parametrize("trusted", [1, by_network, PROXY, [PROXY, "2001:db8::/32"]])
@pytest.mark.parametrize(
    "lines",
    [
        [ANN],
        [f"{FORGED}, {ANN}"],
        [f"{FORGED},{ANN}"],
        [FORGED, ANN],
        [FORGED, f"{FORGED}, {ANN}"],
        [f", ,, {ANN}"],
        [f"{PROXY}, {ANN}"],
        [f"unknown, {ANN}:4711"],
        [f'"{FORGED}, "{ANN}"'],
        [f"::ffff:{ANN}"],
        [f"{'x' * 10_000}, {ANN}"],
        [f"{',' * 10_000} {ANN}"],
        [*[FORGED] * 100, ANN],
    ],
    ids=lambda lines: lines[0][:30],
)
def test_what_the_proxy_wrote_counts_and_what_stands_left_of_it_does_not(
    trusted: Any, lines: list[str]
) -> None:
    assert client(trusted, *lines) == ANN


@pytest.mark.parametrize("trusted", [2, by_network, [PROXY, OUTER]])
def test_two_proxies_lead_to_the_client(trusted: Any) -> None:
    assert client(trusted, f"{FORGED}, {ANN}, {OUTER}") == ANN
    assert client(trusted, FORGED, ANN, f"[::ffff:{OUTER}]:80") == ANN


@pytest.mark.parametrize("trusted", [1, 2, by_network])
@pytest.mark.parametrize("lines", [[], [""], ["unknown"], [f"{FORGED}, "], [f"{FORGED}, _hidden"]])
def test_a_proxy_that_names_nobody_is_the_client(trusted: Any, lines: list[str]) -> None:
    assert client(trusted, *lines) == PROXY


@pytest.mark.parametrize("trusted", [2, by_network])
def test_of_two_proxies_the_last_that_names_somebody_decides(trusted: Any) -> None:
    assert client(trusted, f"{FORGED}, , {OUTER}") == OUTER
    assert client(trusted, OUTER) == OUTER


def test_too_few_hops_are_no_invitation() -> None:
    assert client(5, f"{ANN}, {OUTER}") == ANN
    assert client(5) == PROXY


@pytest.mark.parametrize("trusted", [None, 0, [], ()])
def test_without_trust_the_peer_is_the_client_whatever_it_says(trusted: Any) -> None:
    assert not TrustedProxies(trusted)
    assert client(trusted, FORGED, peer=ANN) == ANN


@pytest.mark.parametrize("trusted", [by_network, "unix:", ["unix:", "fd00::/8"]])
def test_a_peer_that_is_no_trusted_proxy_is_the_client_whatever_it_says(trusted: Any) -> None:
    assert client(trusted, FORGED, peer=ANN) == ANN
    assert client(trusted, f"{FORGED}, {PROXY}", peer=ANN) == ANN


def test_a_client_inside_the_trusted_networks_is_found_too() -> None:
    assert client(by_network, "10.9.9.9") == "10.9.9.9"


def test_a_proxy_on_a_unix_socket_is_trusted_by_name_or_by_number() -> None:
    assert client("unix:", ANN, peer=None) == ANN
    assert client(["unix:", "10.0.0.0/8"], f"{FORGED}, {ANN}, {PROXY}", peer=None) == ANN
    assert client(1, f"{FORGED}, {ANN}", peer=None) == ANN
    assert client(by_network, ANN, peer=None) is None
    assert client("unix:", "unknown", peer=None) is None


@pytest.mark.parametrize("peer", ["", "_hidden", "<script>"])
def test_a_peer_without_a_readable_address_is_no_unix_socket(peer: str) -> None:
    assert client("unix:", ANN, peer=peer) is None


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "10.0.0.1"])
@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}", f"{PROXY}:80"])
def test_mapped_networks_and_peers_are_what_they_stand_for(network: str, peer: str) -> None:
    assert client(network, ANN, peer=peer) == ANN


def test_a_single_trusted_address_is_not_its_whole_64() -> None:
    assert client("2001:db8::1", ANN, peer="2001:db8::1") == ANN
    assert client("2001:db8::1", ANN, peer="2001:db8::2") == "2001:db8::/64"


def test_no_more_than_the_longest_chain_is_looked_at() -> None:
    chain = [OUTER] * LONGEST_CHAIN
    assert client(by_network, ", ".join([ANN, *chain])) == ANN
    assert client(by_network, ", ".join([FORGED, ANN, *chain])) == OUTER


@pytest.mark.parametrize(
    ("line", "who"),
    [
        (f"for={ANN}", ANN),
        (f"For={ANN};proto=https;by=10.0.0.1", ANN),
        (f'proto=https; FOR="{ANN}:4711"', ANN),
        (f"for={FORGED}, for={ANN}", ANN),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::/64"),
        (f'for="{FORGED}, for={ANN}', ANN),
        (f'x="\\, for="{ANN}"', ANN),
        (f'for={ANN};host="a, for={FORGED};x=\\"b"', ANN),
        (f'for={ANN};host="{FORGED},for={FORGED}"', ANN),
        (f"for={FORGED}, for=unknown", PROXY),
        (f'for={FORGED}, for="_hidden"', PROXY),
        (f"for={FORGED}, proto=https", PROXY),
        (f"for={FORGED}, for={ANN};for={BOB}", PROXY),
        (f"for={FORGED}, {ANN}", PROXY),
        (f"for={FORGED}, for=[2001:db8::1]", PROXY),  # brackets need quotes
        (f'for={FORGED}, for="{ANN}', PROXY),
        ("", PROXY),
        ('for="' + "a," * 10_000, PROXY),
        ('for="' + '\\",' * 10_000, PROXY),
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("trusted", [1, by_network])
def test_the_forwarded_header_is_read_as_rfc_7239_has_it(trusted: Any, line: str, who: str) -> None:
    assert client(trusted, line, header="Forwarded") == who


@pytest.mark.parametrize("trusted", [1, 2, by_network])
@pytest.mark.parametrize(
    ("lines", "who"),
    [
        ([ANN], ANN),
        ([PROXY], PROXY),
        ([f"{FORGED}, {ANN}"], PROXY),
        ([FORGED, ANN], PROXY),
        ([], PROXY),
        ([""], PROXY),
    ],
)
def test_a_header_of_one_address_must_hold_one(trusted: Any, lines: list[str], who: str) -> None:
    assert client(trusted, *lines, header="CF-Connecting-IP") == who


def test_a_header_of_one_address_is_not_read_from_strangers() -> None:
    assert client(by_network, FORGED, peer=ANN, header="CF-Connecting-IP") == ANN


def test_what_a_list_says_left_of_a_trusted_address_is_believed_and_one_address_ends_there() -> (
    None
):
    """Why the how-to reads CF-Connecting-IP: other customers' Workers call from such addresses."""
    edge, worker = "2400:cb00::1", "2a06:98c0:3600::103"
    cloudflare = ["2400:cb00::/32", "2a06:98c0::/29"]
    assert client(cloudflare, f"{FORGED}, {worker}", peer=edge) == FORGED
    assert client(cloudflare, worker, peer=edge, header="CF-Connecting-IP") == "2a06:98c0:3600::/64"


def test_the_examples_of_the_how_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_SECRET", "a secret of the test")
    page = (ROOT / "docs" / "howto" / "proxies.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 8
    names: dict[str, Any] = {"__name__": __name__, "client_address": client_address}
    for example in examples:
        exec(example, names)


def test_clients_are_grouped_as_told() -> None:
    proxies = TrustedProxies(1, ipv6_prefix=48)
    assert proxies.client(PROXY, ["2001:db8:1:2::3"]) == "2001:db8:1::/48"


@pytest.mark.parametrize(
    "trusted",
    [
        -1,
        33,
        True,
        False,
        "",
        "*",
        "2",
        "nginx",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/8, 192.168.0.0/16",
        "0.0.0.0/0",
        "::/0",
        "::ffff:0:0/96",
        ["10.0.0.0/8", "*"],
        ["10.0.0.0/8", "0.0.0.0/0"],
        [1],
        [None],
    ],
    ids=repr,
)
def test_a_trust_that_can_never_be_meant_is_an_error_that_shows_the_form(trusted: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"trusted_proxies=\['10.0.0.0/8'\]"):
        TrustedProxies(trusted)


@pytest.mark.parametrize("prefix", [0, 31, 129, True, "64", None])
def test_a_prefix_that_is_none_is_an_error(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="32 to 128"):
        TrustedProxies(1, ipv6_prefix=prefix)


@pytest.mark.parametrize("header", ["", "X Forwarded For", "X-Forwarded-For:", "\r\n"])
def test_a_header_that_is_none_is_an_error(header: str) -> None:
    with pytest.raises(ConfigurationError, match="X-Forwarded-For"):
        TrustedProxies(1, header=header)


def test_random_headers_never_name_another_than_the_proxies_vouch_for() -> None:
    counts = headers.run(20_000, seed=7)
    assert len(counts) == 16  # 2 headers, 4 kinds of trust, client or proxy: none is missing
    assert min(counts.values()) > 100


@pytest.mark.slow
def test_half_a_million_random_headers(tell: Callable[[int, str], None]) -> None:
    counts = headers.run(500_000, seed=8)
    assert counts.total() == 500_000
    tell(counts.total(), "headers")
