"""Lists of clients by their networks: found at the same cost however long the list is."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import ip_network

from ..errors import ConfigurationError
from .address import Address, parse
from .key_functions import client_by, fields_by, known_connection, proxies_by
from .proxies import TrustedProxies, unwrapped

_log = logging.getLogger("quart_ratelimit")


class Networks:
    """Whether an address lies in one of many networks. Raises `ConfigurationError`."""

    def __init__(self, texts: str | Iterable[str]) -> None:
        #: Version and host bits -> the networks of that size, without their host bits.
        self._sizes: dict[tuple[int, int], set[int]] = {}
        if not isinstance(texts, Iterable):
            raise ConfigurationError(
                f"networks={texts!r} is not a list of networks; write ['203.0.113.0/24']"
            )
        for text in [texts] if isinstance(texts, str) else texts:
            if isinstance(text, (int, bytes)):  # `ip_network` takes them for bits
                raise ConfigurationError(
                    f"networks: {text!r} is not a network; write '203.0.113.0/24'"
                )
            try:
                network = unwrapped(ip_network(text))
            except ValueError as error:
                raise ConfigurationError(f"networks: {error}; write '203.0.113.0/24'") from error
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
    """A function that returns whether a request's client is in a list; `client_in` makes it.

    ``denies``: whether a client without an address counts as listed (default: no).
    """

    def __init__(
        self, networks: Networks, proxies: TrustedProxies, *, denies: bool = False
    ) -> None:
        #: Who is believed about the client.
        self.proxies = proxies
        #: The request fields that decide, with the connection, what it returns.
        self.depends_on: tuple[bytes, ...] = fields_by(proxies)
        self._networks = networks
        self._denies = denies
        self._warned = False

    def __call__(self) -> bool:
        """Return whether the client is in one of the networks."""
        who = client_by(self.proxies, known_connection())
        address = parse(who) if who else None
        return self._without_address() if address is None else address in self._networks

    def denying(self) -> ClientIn:
        """Return the same list for `limiter.deny`: a client without an address is denied."""
        return ClientIn(self._networks, self.proxies, denies=True)

    def _without_address(self) -> bool:
        if self._denies and not self._warned:
            self._warned = True
            _log.error(
                "limiter.deny(client_in(...)) denies requests without an address, as on a unix "
                "socket: any of them may be listed. Behind a proxy on a unix socket write "
                "client_in(..., trusted_proxies='unix:'); in a test give an address, "
                "client.get('/', scope_base={'client': ('192.0.2.1', 1)})"
            )
        return self._denies


def client_in(
    networks: str | Iterable[str],
    *,
    trusted_proxies: int | str | Iterable[str] | None = None,
    header: str | None = None,
) -> ClientIn:
    """Make a function that returns whether the client is in these networks.

    ``limiter.request_filter(client_in("192.0.2.0/24"))``; also for ``limiter.deny`` and
    ``exempt_when``. A client without an address is in no network; ``limiter.deny`` denies it,
    because it may be any listed client.

    - ``networks``: networks or single addresses.
    - ``trusted_proxies``, ``header``: as in `client_address`. The whole address of an IPv6 client
      is compared, not its /64 network.

    Raises `ConfigurationError`.
    """
    return ClientIn(Networks(networks), proxies_by(trusted_proxies, header, 128))
