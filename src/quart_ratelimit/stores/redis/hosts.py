"""URIs that may name several hosts: the Sentinels', and a Cluster's. Opens nothing.

Form: ``scheme://[user:password@]host[:port][,host[:port]...][/path][?option=value...]``. IPv6
addresses stand in brackets, and every part may be percent-encoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from redis.asyncio.connection import parse_url

#: What begins an option of the Sentinels' own connections.
SENTINELS_OWN = "sentinel_"
_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?")
_FALSE = {"0", "f", "false", "n", "no"}


class Hosts(NamedTuple):
    """What such a URI says."""

    #: As it is written, percent-encoded, for a URI of redis-py's.
    login: str
    nodes: list[tuple[str, int]]
    #: Its segments.
    path: list[str]
    query: str

    @property
    def credentials(self) -> dict[str, str]:
        """The user and the password, as far as they are there."""
        user, _, password = self.login.partition(":")
        pairs = (("username", user), ("password", password))
        return {name: unquote(value) for name, value in pairs if value}


def read_hosts(uri: str, port: int) -> Hosts:
    """What a URI says; ``port`` is the default. Raises `ValueError`, which may hold a secret."""
    rest, _, query = uri.partition("://")[2].partition("?")
    if "#" in uri:
        raise ValueError("a # must be percent-encoded")
    authority, *path = rest.split("/")
    login, _, names = authority.rpartition("@")
    return Hosts(login, [_node(name, port) for name in names.split(",")], path, query)


def options_of(query: str) -> tuple[dict[str, object], dict[str, object]]:
    """The options of Redis' connections, and the Sentinels' own. Raises `ValueError`."""
    redis: list[tuple[str, str]] = []
    sentinels: list[tuple[str, str]] = []
    for name, value in parse_qsl(query):
        if name.startswith(SENTINELS_OWN):
            sentinels.append((name.removeprefix(SENTINELS_OWN), value))
        else:
            redis.append((name, value))
    return _typed(redis), _typed(sentinels)


def _node(text: str, port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError("not a host")
    address, name, own_port = match.groups()
    number = int(own_port or port)
    if not 0 < number < 65_536:
        raise ValueError("not a port")
    return unquote(address or name), number


def _typed(pairs: list[tuple[str, str]]) -> dict[str, object]:
    """Options as redis-py types them in a URI of its own."""
    typed: dict[str, object] = {**parse_url(f"redis://?{urlencode(pairs)}")}
    if "ssl" in typed:
        typed["ssl"] = str(typed["ssl"]).lower() not in _FALSE
    return typed
