"""A client's address in one form, however it is written. Knows no header and no request.

What a client can vary at will, a port, a zone, its notation or the lower half of its IPv6
addresses, must not make it another client; and two clients must not become one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

#: Characters. The longest address with quotes, brackets, a zone and a port is well below it.
LONGEST = 100

#: The /96 networks whose addresses stand for IPv4 ones: mapped (RFC 4291, as dual-stack sockets
#: report IPv4 peers) and NAT64 (RFC 6052).
_EMBEDS_IPV4 = {int(IPv6Address(net)) >> 32 for net in ("::ffff:0:0", "64:ff9b::")}

#: An address, perhaps with a zone, and a port. Source: RFC 7239, section 6, "node"; RFC 6874.
_PORT = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_IPV6 = r"([0-9A-Fa-f:.]+)(?:%[A-Za-z0-9._~-]+)?"
_NODE = re.compile(rf'("?)(?:([0-9.]+){_PORT}|{_IPV6}|\[{_IPV6}\]{_PORT})\1')

#: Addresses whose reading is remembered: enough for the clients of a moment, below 1 MB.
_REMEMBERED = 2048


def canonical(text: str | None, *, ipv6_prefix: int = 64) -> str | None:
    """The address that a text gives, always in the same form; None if it gives none.

    IPv4 stays as it is; IPv6 becomes its network, ``2001:db8::/64``, because one subscriber holds
    at least that (RFC 6177); ``ipv6_prefix`` may be 32 to 128, and 128 keeps single addresses.
    """
    if text is None or len(text) > LONGEST:
        return None
    return _canonical(text, ipv6_prefix)


def parse(text: str) -> Address | None:
    """The address in a text, without port, brackets, quotes and zone; None if there is none.

    An IPv6 address that stands for an IPv4 one is given as that: by its range, not its notation.
    """
    return _parse(text) if len(text) <= LONGEST else None


@lru_cache(_REMEMBERED)
def _canonical(text: str, ipv6_prefix: int) -> str | None:
    address = _parse(text)
    if address is None or address.version == 4 or ipv6_prefix == 128:
        return None if address is None else str(address)
    host_bits = 128 - ipv6_prefix
    network = IPv6Address(int(address) >> host_bits << host_bits)
    return f"{network}/{ipv6_prefix}"


@lru_cache(_REMEMBERED)
def _parse(text: str) -> Address | None:
    node = _NODE.fullmatch(text.strip(" \t"))
    if node is None:
        return None
    _, ipv4, ipv6, bracketed = node.groups()
    try:
        address = IPv4Address(ipv4) if ipv4 else IPv6Address(ipv6 or bracketed)
    except ValueError:
        return None
    value = int(address)
    return IPv4Address(value & 0xFFFFFFFF) if value >> 32 in _EMBEDS_IPV4 else address
