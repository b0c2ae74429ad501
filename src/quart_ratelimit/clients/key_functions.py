"""The client that a request counts for: an address, which the client cannot choose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import FunctionType
from typing import TypeVar

from quart import Request, Websocket
from werkzeug.datastructures import Headers

from ..current import current_request_or_none
from ..errors import ConfigurationError
from ..findings import Finding
from ..recent import Once
from .address import canonical, parse
from .key_spaces import space_of
from .keys import client_text
from .proxies import FORM, TrustedProxies

#: The client that all clients without an address count as; as in Flask-Limiter.
LOCAL = "127.0.0.1"

#: Quart's word for a peer without an address.
NO_PEER = "<local>"

#: What Quart's test client adds to a connection's scope; its peer has no address.
TEST_CLIENT = "_quart._preserve_context"

#: How servers begin the name of a unix socket, which a client may choose.
SOCKET_NAMES = ("/", "@", "\0", "unix:")

#: The headers in which proxies name the client.
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP")

#: Networks that no client on the internet comes from. Source: RFC 1918, RFC 6598, RFC 4193.
_PRIVATE: list[IPv4Network | IPv6Network] = [
    ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10",
                "::1/128", "fc00::/7")
]  # fmt: skip

#: Requests that are looked at for a proxy in front.
_LOOKS = 100

_log = logging.getLogger("quart_ratelimit")

F = TypeVar("F", bound=Callable[..., object])


class ClientAddress:
    """A key function that returns the address of a request's client; `client_address` makes it."""

    def __init__(self, proxies: TrustedProxies, ipv6_prefix: int) -> None:
        #: Who is believed about the client.
        self.proxies = proxies
        #: The request fields that decide, with the connection, what it returns.
        self.depends_on: tuple[bytes, ...] = fields_by(proxies)
        self._ipv6_prefix = ipv6_prefix
        self._trusts = bool(proxies)
        #: Plain, so that functions with other proxies have other spaces.
        self._trusted = proxies.trusted
        self._warned = False
        #: How many more requests are checked for a proxy that is not trusted.
        self._looks = _LOOKS

    def __call__(self) -> str:
        """Return the client's address, or `LOCAL` if it has none."""
        connection = current_request_or_none() or known_connection()
        if self._trusts:
            who = client_by(self.proxies, connection)
        else:
            who = canonical(connection.remote_addr, ipv6_prefix=self._ipv6_prefix)
        if self._looks:
            self._look(connection)
        if who is None and not self._warned and TEST_CLIENT not in connection.scope:
            self._warned = True
            _log.warning(
                "requests have no client address (a unix socket, or a proxy that leaves it out): "
                "all such clients share one rate limit; set client_address(trusted_proxies=...)"
            )
        return who or LOCAL

    def _look(self, connection: Request | Websocket) -> None:
        """Log once that a proxy seems to stand in front."""
        self._looks -= 1
        finding = proxy_finding(peer_of(connection), connection.headers, self.proxies)
        if finding is not None:
            self._looks = 0
            _log.warning("%s", finding)


def client_address(
    trusted_proxies: int | str | Iterable[str] | None = None,
    *,
    header: str | None = None,
    ipv6_prefix: int = 64,
) -> ClientAddress:
    """Make a key function: ``Limiter(key_func=client_address(trusted_proxies=["10.0.0.0/8"]))``.

    It works in requests and websockets.

    - ``trusted_proxies``: networks, or a number of proxies. The client is the address that they
      report (see `TrustedProxies`). Without them it is the peer's address, and headers are ignored.
    - ``header``: the header that the proxies write (default ``X-Forwarded-For``).
    - ``ipv6_prefix``: IPv6 clients are counted by networks of this many bits, 32 to 128 (default
      64).

    Raises `ConfigurationError`.
    """
    return ClientAddress(proxies_by(trusted_proxies, header, ipv6_prefix), ipv6_prefix)


def proxies_by(
    trusted: int | str | Iterable[str] | None, header: str | None, ipv6_prefix: int
) -> TrustedProxies:
    """What the arguments of `client_address` mean. Raises `ConfigurationError`."""
    proxies = TrustedProxies(trusted, header=header or "X-Forwarded-For", ipv6_prefix=ipv6_prefix)
    if header is not None and not proxies:
        raise ConfigurationError(f"header={header!r} needs trusted proxies, which write it; {FORM}")
    return proxies


def known_connection() -> Request | Websocket:
    """The current request or websocket. Raises `RuntimeError` outside of both."""
    connection = current_request_or_none()
    if connection is None:
        raise RuntimeError("the address of a client is known in a request or a websocket only")
    return connection


def client_by(proxies: TrustedProxies, connection: Request | Websocket) -> str | None:
    """The client of a request or websocket, by these proxies; None if it is not known."""
    lines = connection.headers.getlist(proxies.header) if proxies else ()
    return proxies.client(peer_of(connection), lines)


def peer_of(connection: Request | Websocket) -> str | None:
    """The transport peer's address; None on a unix socket, however the server names that."""
    peer = connection.remote_addr
    if not peer or peer == NO_PEER or peer.startswith(SOCKET_NAMES):
        return None
    return peer


def fields_by(proxies: TrustedProxies) -> tuple[bytes, ...]:
    """For the shield: what `client_by` reads of a request in addition to its peer."""
    return (proxies.header.lower().encode(),) if proxies else ()


def reading(*headers: str) -> Callable[[F], F]:
    """Declare the headers that a key function reads; it may read the connection, and nothing else.

    The shield repeats a refusal only where it knows all that decided on the client.
    """

    def declare(function: F) -> F:
        _FIELDS[function] = tuple(header.lower().encode() for header in headers)
        return function

    return declare


#: What plain functions read; objects have an attribute ``depends_on`` instead.
_FIELDS: dict[Callable[..., object], tuple[bytes, ...]] = {}


def fields_read(function: object) -> tuple[bytes, ...] | None:
    """Return the request fields, in lower case, that decide with the connection what it returns.

    None: it may read anything.
    """
    if isinstance(function, FunctionType):
        return _FIELDS.get(function)
    found: tuple[bytes, ...] | None = getattr(function, "depends_on", None)
    return found


def trusts_proxies(function: object) -> bool | None:
    """Return whether the function believes proxies about the client; None: that is not known."""
    if function is get_remote_address:
        return False
    proxies: TrustedProxies | None = getattr(function, "proxies", None)
    return None if proxies is None else bool(proxies)


@reading()
def get_remote_address() -> str:
    """Return the address of the peer that the request came from, as the server writes it.

    Flask-Limiter's; `client_address` gives an address in one form, and an IPv6 client's network.
    127.0.0.1 if the server names none, as on a Unix socket and in Quart's test client.
    """
    return peer_of(known_connection()) or LOCAL


def proxy_finding(
    peer: str | None, headers: Headers, proxies: TrustedProxies | None = None
) -> Finding | None:
    """Whether a private peer forwards for others and is not trusted: it is taken for the client."""
    name = next((name for name in FORWARDED if name in headers), None)
    address = parse(peer or "")
    if name is None or address is None or not any(address in net for net in _PRIVATE):
        return None
    if proxies:
        if not proxies.misses(peer):
            return None
        return Finding(
            "QRL024",
            f"a private address that is not in trusted_proxies sends {name}",
            "If it is your proxy, add its network to trusted_proxies=[...].",
        )
    return Finding(
        "QRL020",
        f"a private address sends {name}, and no proxy is trusted",
        "If it is your proxy, write key_func=client_address(trusted_proxies=[its network]).",
    )


#: The client of a request for which a key function returned nothing.
_peer = ClientAddress(TrustedProxies(None), 64)
space_of(_peer)  # kept: within a request its values would not count

#: Key functions that named no client, as logged.
_logged = Once()


def client_named(
    answer: object, key_func: Callable[..., object], own: Callable[..., object]
) -> tuple[str, Callable[..., object]]:
    """Return the client that a key function named, and the function by which it is known.

    A missing client (see `client_text`) is replaced by the client's address, found as the limiter's
    ``own`` function finds it: a client that omits a header would else be limited by nothing. Logged
    once.
    """
    who = client_text(answer)
    if who:
        return who, key_func
    name = space_of(key_func)
    if _logged.is_new(name):
        _log.error(
            "%s returned no client: such requests count for the client's address. Return a text "
            "that is not empty.", name,
        )  # fmt: skip
    by = address_function(own)
    return str(by()), by


def address_function(own: Callable[..., object]) -> Callable[..., object]:
    """Return what finds the address of a client that no key function names; see `client_named`."""
    return own if isinstance(own, ClientAddress) else _peer
