"""What clients see of a refused upload: ``python -m benchmarks.uploads [--quick] [--write]``.

Each server serves `tests.support.upload_app`, first with ``drain_refused_bodies=0`` and
then with its default. Each client sends bodies of each size to a limit that refuses them, and a
cell counts how many of its uploads read the 429, without and with draining. A server or a client
that is not installed has no row. "slow" clients send 64 kB every 5 ms and read when all is sent.
"HTTP/2, beside" counts how often another request on the same connection was answered.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from quart_ratelimit.responses.drain import MOST
from tests.support.http2 import Http2
from tests.support.servers import free_port
from tests.support.serving import ROOT

from .kit import measure

KB = 1024
SIZES = {
    "64 kB": 64 * KB,
    "256 kB": 256 * KB,
    "1 MB": KB * KB,
    "2 MB": 2 * KB * KB,
    "4 MB": 4 * KB * KB,
    "16 MB": 16 * KB * KB,
}
PIECE = 64 * KB
APP = "tests.support.upload_app:app"
SERVERS = {
    "hypercorn": [
        "hypercorn", "--error-logfile", "/dev/null", "--graceful-timeout", "0",
        "-b", "127.0.0.1:{port}", APP,
    ],
    "uvicorn": ["uvicorn", "--log-level", "critical", "--port", "{port}", APP],
    "granian": [
        "granian", "--interface", "asgi", "--log-level", "critical", "--port", "{port}", APP,
    ],
}  # fmt: skip

#: Sends so many bytes to a URL; whether the client read the 429.
Client = Callable[[str, int], bool]


def pieces(size: int, pause: float = 0) -> Iterator[bytes]:
    """A body, piece by piece."""
    while size > 0:
        yield b"x" * min(size, PIECE)
        size -= PIECE
        time.sleep(pause)


def by_urllib(*, chunked: bool = False, pause: float = 0) -> Client:
    """The standard library: it reads when all is sent."""

    def send(url: str, size: int) -> bool:
        fields = {} if chunked else {"Content-Length": str(size)}
        request = urllib.request.Request(url, pieces(size, pause), fields, method="POST")
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 429
        except OSError:
            return False
        return False

    return send


def by_httpx(*, chunked: bool = False, http2: bool = False) -> Client:
    """httpx, which reads also after it could not send all."""

    def send(url: str, size: int) -> bool:
        import httpx

        fields = {} if chunked else {"Content-Length": str(size)}
        try:
            with httpx.Client(http1=not http2, http2=http2, timeout=30) as client:
                return client.post(url, content=pieces(size), headers=fields).status_code == 429
        except httpx.TransportError:
            return False

    return send


def beside(url: str, size: int) -> bool:
    """Another stream of the connection of an upload by HTTP/2: whether it is answered."""
    connection = Http2(urlsplit(url).port or 80)
    other = connection.request("GET", "/beside")
    connection.upload(connection.request("POST", "/upload"), size)
    answered = connection.wait_for(other) == 200
    connection.close()
    return answered


def by_curl(*options: str) -> Client:
    """curl, which stops to send when it reads a refusal."""

    def send(url: str, size: int) -> bool:
        with tempfile.NamedTemporaryFile() as body:
            body.write(b"x" * size)
            body.flush()
            command = ["curl", "-s", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}"]
            command += [*options, "--data-binary", f"@{body.name}", url]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode == 0 and done.stdout == "429"

    return send


CLIENTS: dict[str, Client] = {
    "urllib": by_urllib(),
    "urllib, chunked": by_urllib(chunked=True),
    "urllib, slow": by_urllib(pause=0.005),
    "httpx": by_httpx(),
    "httpx, chunked": by_httpx(chunked=True),
    "curl": by_curl("-H", "Expect:"),
    "curl, 100-continue": by_curl("-H", "Expect: 100-continue"),
    "curl, chunked": by_curl("-H", "Expect:", "-H", "Transfer-Encoding: chunked"),
}
OF_HTTP2: dict[str, Client] = {
    "httpx, HTTP/2": by_httpx(http2=True),
    "curl, HTTP/2": by_curl("--http2-prior-knowledge"),
    "HTTP/2, beside": beside,
}


def installed(name: str) -> bool:
    """Whether this machine has a client or a server."""
    first = name.split(",", maxsplit=1)[0].replace("HTTP/2", "h2")
    return bool(shutil.which("curl") if first == "curl" else importlib.util.find_spec(first))


@contextmanager
def serving(server: str, env: dict[str, str]) -> Iterator[int]:
    """Serve the app; the port. Hypercorn's worker does not end by itself once it lost a stream."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *(word.format(port=port) for word in SERVERS[server])],
        cwd=ROOT,
        env={**os.environ, **env},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{server} does not serve") from None
                time.sleep(0.05)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(server: str, rounds: int, sizes: dict[str, int], shield: bool) -> list[list[str]]:
    """The rows of one server."""
    clients = {**CLIENTS, **(OF_HTTP2 if server == "hypercorn" else {})}
    clients = {name: client for name, client in clients.items() if installed(name)}
    read: dict[tuple[str, str, int], int] = {}
    for drain in (0, MOST):
        env = {"DRAIN": str(drain), "SHIELD": "1" if shield else ""}
        with serving(server, env) as port:
            url = f"http://127.0.0.1:{port}/upload"
            for _ in range(20 if shield else 1):  # a shield answers when the app has refused a few
                CLIENTS["urllib"](url, 1)
            for name, client in clients.items():
                for size, count in sizes.items():
                    read[name, size, drain] = sum(client(url, count) for _ in range(rounds))
                print(f"{server}, {drain} bytes drained: {name}", file=sys.stderr)
    cells = {
        name: [f"{read[name, size, 0]} → {read[name, size, MOST]}" for size in sizes]
        for name in clients
    }
    return [[server, name, *row] for name, row in cells.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=list(SERVERS), action="append")
    parser.add_argument("--shield", action="store_true", help="a shield before the app")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    rows = []
    for server in options.server or SERVERS:
        if installed(server):
            rows += run(server, rounds, SIZES, options.shield)
    packages = ("quart", *SERVERS, "h11", "h2", "httptools", "httpx")
    text = "\n\n".join(
        [
            f"Uploads of {rounds} whose client read the 429, without draining → with it. "
            f"{measure.versions(packages)}.",
            measure.table(["server", "client", *SIZES], rows),
        ]
    )
    print(text)
    if options.write:
        measure.write_between("howto/responses.md", "uploads", text)


if __name__ == "__main__":
    main()
