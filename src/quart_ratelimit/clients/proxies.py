"""Whose request a proxy passes on: what trusted proxies say, and nothing that a client says.

Each proxy appends its peer's address to the right end of ``X-Forwarded-For``. So the right
end is the proxies' word and the left end the client's; where one ends and the other begins, only
the app's own settings can say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from ..errors import ConfigurationError
from .address import Address, canonical, parse
from .forwarded import LONGEST_CHAIN, TOKEN, reader

#: Trusts peers on a unix socket, which have no address. nginx' word for them.
UNIX = "unix:"

#: The form that every error about proxies shows.
FORM = "write the proxies' networks, trusted_proxies=['10.0.0.0/8'], or their number: 1"

Network = IPv4Network | IPv6Network


class TrustedProxies:
    """Finds the client behind proxies that are known by their networks or by their number.

    Networks (a single address is one; ``"unix:"`` is every peer without an address): from the
    transport peer leftwards, what a trusted address says of its own peer is believed; the client
    is the first that is not trusted. It does not matter who else can reach the app: a peer outside
    is the client, whatever its headers say.

    A number n: the client is the n-th address from the right. Whoever reaches the app by a way of
    fewer than n proxies can name any address. So count only proxies whose addresses are unknown,
    and only where there is no such way.

    Either way each trusted proxy must append to the header or overwrite it. Where it says nothing
    that can be read, it is taken for the client itself. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        trusted: int | str | Iterable[str] | None,
        *,
        header: str = "X-Forwarded-For",
        ipv6_prefix: int = 64,
    ) -> None:
        if not isinstance(header, str) or not re.fullmatch(TOKEN, header):
            raise ConfigurationError(
                f"{header!r} is not the name of a header; write 'X-Forwarded-For'"
            )
        if type(ipv6_prefix) is not int or not 32 <= ipv6_prefix <= 128:
            raise ConfigurationError(f"ipv6_prefix={ipv6_prefix!r} must be 32 to 128, e.g. 64")
        #: The header that `client` wants the lines of.
        self.header = header
        self._read = reader(header)
        self._ipv6_prefix = ipv6_prefix
        self._count = _checked_count(trusted) if isinstance(trusted, int) else 0
        texts = _texts(trusted)
        self._trusts_unix = UNIX in texts
        self._networks = [_network(text) for text in texts if text != UNIX]
        #: Who is trusted, as plain values.
        self.trusted: tuple[object, ...] = (self._count, self._trusts_unix, *self._networks)

    def __bool__(self) -> bool:
        """Whether any proxy is trusted; if not, no header is read."""
        return bool(self._count or self._networks or self._trusts_unix)

    def client(self, peer: str | None, lines: Sequence[str] = ()) -> str | None:
        """The client's canonical address, by the transport peer and the header's lines.

        ``peer`` is None on a unix socket. None if no trusted proxy reports an address.
        """
        if self:
            for distance, said in enumerate(self._read(lines)):
                if not (distance < self._count or self._trusts(peer)) or parse(said) is None:
                    break
                peer = said
        return canonical(peer, ipv6_prefix=self._ipv6_prefix)

    def misses(self, peer: str | None) -> bool:
        """Whether networks are trusted, and the peer with this address is in none of them."""
        return bool(self._networks) and peer is not None and not self._trusts(peer)

    def _trusts(self, peer: str | None) -> bool:
        if peer is None:
            return self._trusts_unix
        address = parse(peer)
        return address is not None and _within(address, self._networks)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _checked_count(count: int) -> int:
    if isinstance(count, bool) or not 0 <= count <= LONGEST_CHAIN:
        raise ConfigurationError(f"trusted_proxies={count!r} must be 0 to {LONGEST_CHAIN}; {FORM}")
    return count


def _texts(trusted: int | str | Iterable[str] | None) -> list[str]:
    if trusted is None or isinstance(trusted, int):
        return []
    if not isinstance(trusted, Iterable):
        raise ConfigurationError(f"trusted_proxies={trusted!r} names no networks; {FORM}")
    texts = [trusted] if isinstance(trusted, str) else list(trusted)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(f"trusted_proxies: {text!r} is not a network; {FORM}")
    return texts


def _network(text: str) -> Network:
    try:
        network = unwrapped(ip_network(text))
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies: {error}; {FORM}") from error
    if network.prefixlen == 0:
        raise ConfigurationError(
            f"trusted_proxies: {text!r} lets every client choose its address; {FORM}"
        )
    return network


def unwrapped(network: Network) -> Network:
    """As IPv4 what stands for it, as `parse` gives addresses."""
    first = parse(str(network.network_address))
    if network.version == 4 or first is None or first.version == 6 or network.prefixlen < 96:
        return network
    return IPv4Network((int(first), network.prefixlen - 96))
