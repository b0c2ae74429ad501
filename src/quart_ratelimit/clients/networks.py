"""Lists of clients by their networks: found at the same cost however long the list is."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from ..errors import ConfigurationError
from .address import Address, parse
from .key_functions import client_by, fields_by, known_connection, proxies_by
from .proxies import TrustedProxies, unwrapped


class Networks:
    """Whether an address lies in one of many networks. Raises `ConfigurationError`."""

    def __init__(self, texts: str | Iterable[str]) -> None:
        #: Version and host bits -> the networks of that size, without their host bits.
        self._sizes: dict[tuple[int, int], set[int]] = {}
        for text in [texts] if isinstance(texts, str) else texts:
            try:
                network = unwrapped(ip_network(text))
            except ValueError as error:
                raise ConfigurationError(f"{error}; write '203.0.113.0/24'") from error
            host_bits = network.max_prefixlen - network.prefixlen
            found = self._sizes.setdefault((network.version, host_bits), set())
            found.add(int(network.network_address) >> host_bits)

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(
            number >> host_bits in found
            for (version, host_bits), found in self._sizes.items()
            if version == address.version
        )


class ClientIn:
    """A function that returns whether a request's client is in a list; `client_in` makes it."""

    def __init__(self, networks: Networks, proxies: TrustedProxies) -> None:
        #: Who is believed about the client.
        self.proxies = proxies
        #: The request fields that decide, with the connection, what it returns.
        self.depends_on = fields_by(proxies)
        self._networks = networks

    def __call__(self) -> bool:
        """Return whether the client is in one of the networks."""
        who = client_by(self.proxies, known_connection())
        address = parse(who) if who else None
        return address is not None and address in self._networks


def client_in(
    networks: str | Iterable[str],
    *,
    trusted_proxies: int | str | Iterable[str] | None = None,
    header: str | None = None,
) -> ClientIn:
    """Make a function that returns whether the client is in these networks.

    A single address is a network. The function is for ``limiter.request_filter``,
    ``limiter.deny`` or ``exempt_when``. The client is whom `client_address` finds with the same
    proxies, and in IPv6 this very address, not its network. Who has no address is in none. Raises
    `ConfigurationError`.
    """
    return ClientIn(Networks(networks), proxies_by(trusted_proxies, header, 128))
