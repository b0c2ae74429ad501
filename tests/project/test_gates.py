"""The package in other interpreters: each module alone, `-W error`, `-O`, asyncio's debug mode."""

import os
import subprocess
import sys

import pytest

#: Imports, each in a process of its own, every module that the package itself does not import.
ALONE = """
import importlib, os, pkgutil, sys
import quart_ratelimit

names = [
    module.name
    for module in pkgutil.walk_packages(quart_ratelimit.__path__, "quart_ratelimit.")
    if module.name not in sys.modules
]
for name in names:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
print(len(names))
"""
#: Limits by Redis and in memory; checks without ``assert``, which -O drops.
SERVED = """
import asyncio, sys
from quart import Quart
from quart_ratelimit import Limiter
from quart_ratelimit.testing import assert_limited, in_memory


app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=sys.argv[1], header_fields="draft-11")


@app.get("/")
@limiter.limit("3/hour")
async def index():
    async with limiter.in_flight(2, "all"):
        return "index"


async def main():
    client = app.test_client()
    with in_memory(limiter) as clock:
        await assert_limited(lambda: client.get("/"), "3/hour", clock)
    async with app.test_app():
        await assert_limited(lambda: client.get("/"), "3/hour")


asyncio.run(main())
"""


def run(options: list[str], code: str, *args: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code, *args],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_each_module_imports_alone_and_warns_of_nothing() -> None:
    pytest.importorskip("opentelemetry")
    assert int(run(["-W", "error"], ALONE)) > 10


@pytest.mark.parametrize("options", [["-O"], ["-W", "error"]])
def test_limits_hold_in_this_mode_of_the_interpreter(options: list[str], redis_url: str) -> None:
    run(options, SERVED, redis_url, PYTHONASYNCIODEBUG="" if options == ["-O"] else "1")


#: What an app may lack, or may use without.
OPTIONAL = ("fakeredis", "opentelemetry", "prometheus_client", "quart_schema", "redis", "rich")
#: Prints the optional packages that are imported, before and after the line of an app.
LOADED = f"""
import sys
import quart_ratelimit
from quart_ratelimit.stores import ClusterStore, MemoryStore, RedisStore, store_from_uri
from quart import Quart
def loaded():
    return sorted({{name.partition(".")[0] for name in sys.modules}}.intersection({OPTIONAL}))
quart_ratelimit.Limiter(app=Quart("memory"), storage_uri="memory://")
print(loaded())
quart_ratelimit.Limiter(app=Quart("redis"), storage_uri="redis://localhost:1")
print("redis" in loaded())
"""


def test_the_package_imports_redis_with_the_first_store_that_needs_it_and_no_extra() -> None:
    assert run([], LOADED).splitlines() == ["[]", "True"]
