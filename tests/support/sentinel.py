"""Masters and their Sentinels on loopback; a master is down after 1 s of silence."""

from __future__ import annotations

import time

from .certificates import Certificates
from .servers import RedisServer, free_port


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


class SecuredSentinel:
    """A master and one Sentinel, each with a user and a password of its own, perhaps by TLS."""

    def __init__(
        self,
        service: str,
        *,
        login: tuple[str, str],
        own: tuple[str, str],
        files: Certificates | None = None,
    ) -> None:
        self.master_port, self.port = free_port(), free_port()
        tls = (self._tls(files, self.master_port), self._tls(files, self.port))
        bind = ("--bind", "127.0.0.1", "::1")
        self.master = RedisServer(*bind, *tls[0], port=None if files else self.master_port)
        self.watcher = RedisServer(
            "--sentinel", *bind, *tls[1], config="", port=None if files else self.port
        )
        (user, password), (own_user, own_password) = login, own
        self.master.ask("ACL", "SETUSER", user, "on", f">{password}", "~*", "&*", "+@all")
        self.watcher.ask("SENTINEL", "MONITOR", service, "127.0.0.1", self.master_port, 1)
        self.watcher.ask("SENTINEL", "SET", service, "auth-user", user)
        self.watcher.ask("SENTINEL", "SET", service, "auth-pass", password)
        self.watcher.ask("ACL", "SETUSER", own_user, "on", f">{own_password}", "&*", "+@all")
        for server in (self.master, self.watcher):  # nobody else is let in
            server.ask("ACL", "SETUSER", "default", "resetpass", "-@all")

    def stop(self) -> None:
        self.watcher.stop()
        self.master.stop()

    @staticmethod
    def _tls(files: Certificates | None, port: int) -> tuple[str, ...]:
        if files is None:
            return ()
        return (
            "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-replication", "yes",
            "--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key),
            "--tls-ca-cert-file", str(files.authority),
        )  # fmt: skip
