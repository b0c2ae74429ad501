"""Nothing that a request made enters a cache without a bound on its size."""

import ast
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request
from werkzeug.datastructures import Headers

import quart_ratelimit
from quart_ratelimit import FixedWindow, Limiter
from quart_ratelimit.clients.address import canonical
from quart_ratelimit.clients.keys import join_key, slot_key
from quart_ratelimit.responses import drafts
from quart_ratelimit.responses.problems import wants_problem
from quart_ratelimit.rules.naming import derived_name
from quart_ratelimit.rules.notation import quotas_of

SOURCE = Path(quart_ratelimit.__file__).parent
MEGABYTE = 1_000_000

#: Every cache of functools in the package, and what bounds the size of its keys.
CACHES = {
    "recent.py:kept_for_short_texts": "the length of the text is checked",
    "clients/address.py:_canonical": "longer texts than LONGEST are not passed to it",
    "clients/address.py:_parse": "longer texts than LONGEST are not passed to it",
    "clients/keys.py:_short_part": "longer parts than LONGEST_PART are not passed to it",
    "contrib/dashboard/panel.py:_html": "no argument",
    "contrib/opentelemetry.py:_default_meter": "one entry: the app's provider",
    "direct/blocks.py:_position": "places in the app's code",
    "enforcement/evaluator.py:__init__": "stages of many requests, clients up to LONGEST_KEPT",
    "enforcement/loading.py:__init__": "rules loaded twice, texts and scopes up to LONGEST_KEPT",
    "rules/notation.py:_made": "numbers of the app's code",
    "stores/redis/script.py:_around": "numbers and an algorithm's name",
    "stores/redis/script.py:_spec": "quotas, which are numbers and a short name",
    "stores/redis/script.py:script": "no argument",
    "stores/redis/script.py:sha": "no argument",
}


def caches(path: Path) -> set[str]:
    """Where a cache of functools is made or decorates, by file and function."""
    found: set[str] = set()

    def walk(node: ast.AST, function: str) -> None:
        inside = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else ""
        for child in ast.iter_child_nodes(node):
            walk(child, function if inside == "" or function else inside)
        name = getattr(node, "id", getattr(node, "attr", None))
        if name in ("lru_cache", "cache") and isinstance(node, (ast.Name, ast.Attribute)):
            found.add(f"{path.relative_to(SOURCE).as_posix()}:{function}")

    for top in ast.parse(path.read_text("utf-8")).body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            walk(node, getattr(node, "name", ""))
    return found


def test_every_cache_is_listed_with_what_bounds_its_keys() -> None:
    found = set().union(*map(caches, SOURCE.rglob("*.py")))
    assert found == set(CACHES)


def kept(make: Callable[[int], object], times: int = 20) -> int:
    """Bytes that are kept after so many calls."""
    make(-1)
    tracemalloc.start()
    try:
        for number in range(times):
            make(number)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def long(number: int) -> str:
    """A text of a megabyte that no other number has."""
    return f"{number}".rjust(MEGABYTE, "x")


QUOTA = FixedWindow(5, 60)
KINDS: dict[str, Callable[[int], object]] = {
    "a scope in a derived name": lambda n: derived_name(long(n), QUOTA),
    "a limit as text": lambda n: quotas_of(f"{n + 2}/minute" + " " * MEGABYTE),
    "a limit's policy": lambda n: drafts._policy_of(long(n), QUOTA),
    "a part of a key": lambda n: (join_key(long(n)), slot_key(long(n), long(n))),
    "an address": lambda n: canonical(long(n)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_texts_of_a_megabyte_leave_nothing_behind(kind: str) -> None:
    assert kept(KINDS[kind]) < 2 * MEGABYTE


async def test_limits_made_inside_requests_are_gone_with_their_requests() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_func=lambda: "ann", storage_uri="memory://")

    @app.get("/")
    async def index() -> str:
        ballast = bytes(MEGABYTE)
        async with limiter.limit("1000/minute", key_func=lambda: str(len(ballast))):
            return ""

    client: Any = app.test_client()
    assert (await client.get("/")).status_code == 200
    tracemalloc.start()
    try:
        for _ in range(50):
            assert (await client.get("/")).status_code == 200
        assert tracemalloc.get_traced_memory()[0] < 10 * MEGABYTE
    finally:
        tracemalloc.stop()


async def test_a_long_accept_field_is_not_read_and_is_no_preference() -> None:
    app = Quart(__name__)
    for accept, wants in {
        "text/html": False,
        "text/html;q=0.5,application/json": True,
        "text/html," * 6_000: True,
    }.items():
        async with app.test_request_context("/", headers=Headers({"Accept": accept})):
            current = request._get_current_object()
            assert wants_problem(current) is wants
            assert ("accept_mimetypes" in vars(current)) is (len(accept) < 1_000)
