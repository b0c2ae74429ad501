"""A master, a replica and three Sentinels on loopback; a master is down after 1 s of silence."""

from __future__ import annotations

import time

from .servers import RedisServer


class Sentinels:
    """``mymaster``, watched by three."""

    def __init__(self) -> None:
        self.master = RedisServer()
        self.replica = RedisServer("--replicaof", f"127.0.0.1 {self.master.port}")
        self.watchers = [RedisServer("--sentinel", config="") for _ in range(3)]
        for watcher in self.watchers:
            watcher.ask("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", self.master.port, 2)
            for name, value in (("down-after-milliseconds", 1000), ("failover-timeout", 3000)):
                watcher.ask("SENTINEL", "SET", "mymaster", name, value)
        end = time.monotonic() + 20
        while not self._settled():
            assert time.monotonic() < end, "the Sentinels do not see each other"
            time.sleep(0.05)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in self.watchers)
        return f"redis+sentinel://{hosts}/mymaster/0"

    def stop(self) -> None:
        for server in (*self.watchers, self.replica, self.master):
            server.stop()

    def _settled(self) -> bool:
        for watcher in self.watchers:
            seen = watcher.ask("SENTINEL", "MASTER", "mymaster")
            if int(seen["num-other-sentinels"]) < 2 or int(seen["num-slaves"]) < 1:
                return False
        return bool(self.replica.ask("INFO", "replication")["master_link_status"] == "up")
