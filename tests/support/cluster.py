"""A real Redis Cluster on loopback, formed without redis-cli."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import redis

from .servers import RedisServer, free_port

SLOTS = 16_384


class Cluster:
    """So many masters, each with so many replicas; node timeout 1 s."""

    def __init__(self, masters: int = 3, replicas: int = 0) -> None:
        self.nodes = [self._node() for _ in range(masters * (1 + replicas))]
        self.masters = self.nodes[:masters]
        share = -(-SLOTS // masters)
        for number, node in enumerate(self.masters):
            first = number * share
            last = min(SLOTS, first + share) - 1
            node.ask("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        until(lambda: all(self._knows_all(node) for node in self.nodes))
        for number, node in enumerate(self.nodes[masters:]):
            master = self.masters[number % masters]
            node.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        until(lambda: all(self._is_ok(node) for node in self.nodes))
        if replicas:
            until(lambda: all("master_link_status:up" in info(n) for n in self.nodes[masters:]))
            time.sleep(1)  # a replica younger than this may not take over

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def alive(self) -> RedisServer:
        """A node that answers."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                if node.ask("PING"):
                    return node
        raise RuntimeError("no node is alive")

    def owner(self, key: str) -> RedisServer:
        """The master that a key lies on."""
        slot = self.alive().ask("CLUSTER", "KEYSLOT", key)
        return self._owner_by(self.alive(), slot)

    def begin_move(
        self, key: str, to: RedisServer | None = None
    ) -> tuple[int, RedisServer, RedisServer]:
        """Begin to move a key's slot to another master: the slot, its source and its target."""
        slot = self.alive().ask("CLUSTER", "KEYSLOT", key)
        source = self.owner(key)
        target = to or next(node for node in self.masters if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        return slot, source, target

    def end_move(self, slot: int, target: RedisServer) -> None:
        """Give a slot that `begin_move` began to move to its target, and wait until all know it.

        The target is first: an owner that was importing claims the slot by a newer epoch, and an
        older claim that is on its way cannot undo it.
        """
        for node in [target, *[node for node in self.masters if node is not target]]:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
        until(lambda: all(self._owner_by(node, slot) is target for node in self.masters))

    def flush(self) -> None:
        for node in self.masters:
            with contextlib.suppress(redis.RedisError):
                node.ask("FLUSHALL")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _owner_by(self, node: RedisServer, slot: int) -> RedisServer:
        for first, last, master, *_ in node.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise RuntimeError(f"slot {slot} has no owner")

    @staticmethod
    def _node() -> RedisServer:
        return RedisServer(
            "--cluster-enabled", "yes",
            "--cluster-node-timeout", "1000",
            "--cluster-replica-validity-factor", "0",
            "--repl-diskless-sync-delay", "0",
            port=node_port(),
        )  # fmt: skip

    def _knows_all(self, node: RedisServer) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}" in node.ask("CLUSTER", "INFO")

    @staticmethod
    def _is_ok(node: RedisServer) -> bool:
        return "cluster_state:ok" in node.ask("CLUSTER", "INFO")


def node_port() -> int:
    """One that leaves room for the bus, which listens on the port + 10000."""
    ports = iter(free_port, None)
    return next(port for port in ports if port < 55_000 and _is_free(port + 10_000))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def info(node: RedisServer) -> str:
    return str(node.client().execute_command("INFO replication", NEVER_DECODE=False))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)
