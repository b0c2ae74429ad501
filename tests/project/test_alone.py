"""What an app meets alone: each module as its first import, no asserts, and warnings as errors."""

import os
import subprocess
import sys
from pathlib import Path

import quart_ratelimit

ROOT = Path(quart_ratelimit.__file__).parent.parent

#: Any import of the package runs its __init__, which imports most modules in one order. Each of the
#: others is imported in a fork, where none of them was imported before.
EACH_ALONE = """
import importlib, os, pathlib, sys, traceback
import quart_ratelimit
root = pathlib.Path(sys.argv[1])
names = [
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((root / "quart_ratelimit").rglob("*.py"))
]
names = [name for name in names if name not in sys.modules]
for name in names:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if (error.name or "quart_ratelimit").startswith("quart_ratelimit"):
                traceback.print_exc()
                os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} cannot be imported alone")
print(*names)
"""


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_module_can_be_imported_alone() -> None:
    names = run("-c", EACH_ALONE, str(ROOT)).split()
    assert {"quart_ratelimit.testing", "quart_ratelimit.contrib.prometheus"} <= set(names)


#: An app that refuses, says so in its fields, waits, and reads limits that are wrong.
DECIDES = """
import asyncio
from quart import Quart
from quart_ratelimit import InvalidLimit, Limiter, client_address

app = Quart(__name__)
limiter = Limiter(client_address(), app=app, storage_uri="memory://", headers_enabled=True)

@app.get("/")
@limiter.limit("2/minute")
async def index():
    return "here"

async def main():
    client = app.test_client()
    answers = [await client.get("/") for _ in range(3)]
    print([answer.status_code for answer in answers], answers[2].headers["X-RateLimit-Remaining"])
    async with limiter.in_flight(1, key="ann"):
        pass
    try:
        await limiter.hit("none/minute", "ann")
    except InvalidLimit:
        print("InvalidLimit")

asyncio.run(main())
"""
DECIDED = "[200, 200, 429] 0\nInvalidLimit\n"


def test_an_app_does_the_same_without_asserts() -> None:
    assert run("-OO", "-c", DECIDES) == DECIDED


def test_an_app_leaves_nothing_for_python_and_asyncio_to_warn_of() -> None:
    assert run("-W", "error", "-X", "dev", "-c", DECIDES, PYTHONASYNCIODEBUG="1") == DECIDED
