"""Lists of clients by their networks: found at the same cost however long the list is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network

from ..errors import ConfigurationError
from .address import Address, parse
from .key_functions import client_by, fields_by, known_connection, proxies_by
from .proxies import unwrapped


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


def client_in(
    networks: str | Iterable[str],
    *,
    trusted_proxies: int | str | Iterable[str] | None = None,
    header: str | None = None,
) -> Callable[[], bool]:
    """Whether the request's client is in these networks (a single address is one).

    A function for ``limiter.request_filter``, ``limiter.deny`` or ``exempt_when``. The client is
    whom `client_address` finds with the same proxies, and in IPv6 this very address, not its
    network. Who has no address is in none. Raises `ConfigurationError`.
    """
    listed = Networks(networks)
    proxies = proxies_by(trusted_proxies, header, 128)

    def is_in() -> bool:
        who = client_by(proxies, known_connection())
        address = parse(who) if who else None
        return address is not None and address in listed

    is_in.request_fields = fields_by(proxies)  # type: ignore[attr-defined]
    is_in.proxies = proxies  # type: ignore[attr-defined]  # for the doctor
    return is_in


client_in.makes_functions = 'client_in(["192.0.2.0/24"])'  # type: ignore[attr-defined]  # for mistakes
