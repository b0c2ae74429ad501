"""One thing has one key in four workers and after a restart."""

import http.client
from collections.abc import Callable

from ..support.servers import RedisServer
from ..support.serving import hypercorn

#: Those of `keyed_app`, which an import would start.
PATHS = ("/rules", "/blocks", "/things")


def keys_by_workers(server: RedisServer, seed: str, *args: str) -> set[str]:
    """The keys that were charged until four workers had answered each path."""
    server.ask("FLUSHALL")
    app = "tests.support.keyed_app:app"
    env = {"REDIS_URL": server.url, "PYTHONHASHSEED": seed}
    with hypercorn(*args, env=env, app=app) as port:
        for path in PATHS:
            workers: set[bytes] = set()
            for _ in range(2_000):
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request("GET", path)
                response = connection.getresponse()
                assert response.status == 200
                workers.add(response.read())
                connection.close()
                if len(workers) == 4:
                    break
            assert len(workers) == 4
    with server.client() as client:
        keys = set(client.scan_iter(count=1000)) - {"rate_limit:seen"}  # it counts nothing
        return {key for key in keys if "concurrency" not in key}


def test_four_workers_and_a_restart_have_one_key_for_one_thing(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    first = keys_by_workers(server, "1", "-w", "4")
    assert len(first) == 11
    assert all(key.startswith("rate_limit:shop%7C|") for key in first)
    assert keys_by_workers(server, "2", "-w", "4") == first
