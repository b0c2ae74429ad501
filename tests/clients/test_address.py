"""One client has one address, however it is written, and two clients never share one."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quart_ratelimit.clients.address import canonical, parse
from quart_ratelimit.clients.keys import LONGEST_PART, join_key

IPV4 = [
    "1.2.3.4",
    "1.2.3.4:5555",
    "1.2.3.4:_hidden",
    '"1.2.3.4"',
    '"1.2.3.4:5555"',
    " 1.2.3.4\t",
    "::ffff:1.2.3.4",
    "::FFFF:102:304",
    "0:0:0:0:0:ffff:0102:0304",
    "[::ffff:1.2.3.4]:5555",
    "64:ff9b::1.2.3.4",
    "64:FF9B::102:304",
]
IPV6 = [
    "2001:db8::1",
    "2001:DB8:0:0::1",
    "2001:0db8:0000:0000:0000:0000:0000:0001",
    "2001:db8::1%eth0",
    "[2001:db8::1%25]:80",
    "[2001:db8::1]",
    '"[2001:db8::1]:443"',
    "2001:db8::ffff:ffff:ffff:ffff",
    "2001:db8::1.2.3.4",
]
INVALID = [
    "",
    " ",
    "<local>",
    "unknown",
    "_hidden",
    "localhost",
    "example.org",
    "01.2.3.4",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "0x1.2.3.4",
    "0x01020304",
    "16909060",
    "１.２.３.４",  # full-width digits
    "١.٢.٣.٤",  # Arabic digits
    "1.2.3.4/32",
    "1.2.3.4 5",
    "1.2.3.4, 5.6.7.8",
    "1.2.3.4\n",
    "1.2.3.4\x00",
    "1.2.3.4%eth0",
    "1.2.3.4:",
    "1.2.3.4:http",
    "1.2.3.4:123456",
    "[1.2.3.4]",
    "[1.2.3.4]:80",
    "-1.2.3.4",
    "2001:db8::1::1",
    "2001:db8::12345",
    "2001:db8::g",
    "2001:db8::1/64",
    "2001:db8::1%",
    "2001:db8::1%a,1.2.3.4",
    "[2001:db8::1",
    "2001:db8::1]",
    "[2001:db8::1]80",
    "[2001:db8::1]:",
    "[[2001:db8::1]]",
    '"1.2.3.4',
    '1.2.3.4"',
    '""1.2.3.4""',
    '"',
    "::ffff:1.2.3.04",
    "\ud800",
    "1.2.3.4" + " " * 200,
    "1" * 10_000_000,
]


@pytest.mark.parametrize("text", IPV4)
def test_an_ipv4_client_is_one_however_it_is_written(text: str) -> None:
    assert canonical(text) == "1.2.3.4"


@pytest.mark.parametrize("text", IPV6)
def test_an_ipv6_subscriber_is_one_however_it_is_written(text: str) -> None:
    assert canonical(text) == "2001:db8::/64"


@pytest.mark.parametrize("text", INVALID, ids=lambda text: ascii(text[:30]))
def test_what_is_no_address_is_none(text: str) -> None:
    assert canonical(text) is None
    assert parse(text) is None


def test_no_text_is_no_address() -> None:
    assert canonical(None) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("::ffff:1.2.3.4", "::ffff:5.6.7.8"),
        ("64:ff9b::1.2.3.4", "64:ff9b::5.6.7.8"),
        ("2001:db8::1.2.3.4", "1.2.3.4"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("::1", "127.0.0.1"),
        ("64:ff9b:1::1.2.3.4", "1.2.3.4"),  # RFC 8215: where the address stands there, none knows
    ],
)
def test_different_clients_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)
    assert canonical(one)


@pytest.mark.parametrize(
    ("prefix", "network"),
    [
        (32, "2001:db8::/32"),
        (48, "2001:db8:1::/48"),
        (56, "2001:db8:1:2200::/56"),
        (64, "2001:db8:1:2222::/64"),
        (127, "2001:db8:1:2222::6/127"),
        (128, "2001:db8:1:2222::7"),
    ],
)
def test_the_prefix_says_what_one_client_is(prefix: int, network: str) -> None:
    assert canonical("2001:db8:1:2222::7", ipv6_prefix=prefix) == network
    assert canonical("::ffff:1.2.3.4", ipv6_prefix=prefix) == "1.2.3.4"


def notations(value: int) -> list[str]:
    """An IPv6 address in every way that servers and proxies write it."""
    address = IPv6Address(value)
    low = IPv4Address(value & 0xFFFFFFFF)
    dotted = ":".join(address.exploded.split(":")[:6]) + f":{low}"
    written = [str(address), address.exploded, address.exploded.upper(), dotted]
    return [
        form
        for text in written
        for form in (text, f"{text}%eth0", f"[{text}]", f"[{text}]:80", f'"[{text}%1]:_x"')
    ]


@given(st.integers(0, 2**32 - 1))
def test_every_ipv4_address_is_itself_in_every_notation(value: int) -> None:
    plain = str(IPv4Address(value))
    embedded = [0xFFFF << 32 | value, 0x64FF9B << 96 | value]
    texts = [plain, f"{plain}:80", f'"{plain}"', *(n for v in embedded for n in notations(v))]
    assert {canonical(text) for text in texts} == {plain}


#: Above all mapped and NAT64 ones.
ipv6 = st.integers(0x64FF9C << 96, 2**128 - 1)


@given(ipv6)
def test_every_ipv6_address_is_one_in_every_notation(value: int) -> None:
    assert {canonical(text, ipv6_prefix=128) for text in notations(value)} == {
        str(IPv6Address(value))
    }


@settings(max_examples=500)
@given(ipv6, st.integers(0, 127), st.integers(32, 128))
def test_two_ipv6_addresses_are_one_client_if_their_prefix_is_the_same(
    value: int, bit: int, prefix: int
) -> None:
    other = value ^ (1 << bit)
    if other < 0x64FF9C << 96:
        return
    one, two = (canonical(str(IPv6Address(v)), ipv6_prefix=prefix) for v in (value, other))
    assert (one == two) == (bit < 128 - prefix)


addresses = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='0123456789abcdefxF.:%[]" _-', max_size=60),
)


@settings(max_examples=2000)
@given(addresses)
def test_no_text_raises_and_every_answer_is_plain_and_short(text: str) -> None:
    answer = canonical(text)
    if answer is not None:
        assert len(answer) <= LONGEST_PART
        assert join_key(answer) == answer
        assert canonical(answer.removesuffix("/64")) == answer
