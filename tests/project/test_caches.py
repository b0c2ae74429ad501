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
from quart_ratelimit.enforcement.shadow import ShadowLog
from quart_ratelimit.responses import drafts
from quart_ratelimit.responses.problems import wants_problem
from quart_ratelimit.rules.answers import LimitAnswers
from quart_ratelimit.rules.naming import derived_name
from quart_ratelimit.rules.notation import quotas_of
from quart_ratelimit.stores import MemoryStore

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
    "stores/standin.py:_share": "quotas, which are numbers and a short name",
    "stores/redis/script.py:_around": "numbers and an algorithm's name",
    "stores/redis/script.py:_spec": "quotas, which are numbers and a short name",
    "stores/redis/script.py:script": "no argument",
    "stores/redis/script.py:sha": "no argument",
}


def caches(source: str, file: str) -> set[str]:
    """Where a cache of functools is made or decorates, by file and function."""
    found: set[str] = set()
    tree = ast.parse(source)
    #: What the caches are called here, also under another name.
    names = {"lru_cache", "cache", "cached_property"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "functools":
            names |= {one.asname for one in node.names if one.name in names and one.asname}

    def walk(node: ast.AST, function: str) -> None:
        inside = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else ""
        for child in ast.iter_child_nodes(node):
            walk(child, function if inside == "" or function else inside)
        name = getattr(node, "id", getattr(node, "attr", None))
        if name in names and isinstance(node, (ast.Name, ast.Attribute)):
            found.add(f"{file}:{function}")

    for top in tree.body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            walk(node, getattr(node, "name", ""))
    return found


def test_every_cache_is_listed_with_what_bounds_its_keys() -> None:
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        found |= caches(path.read_text("utf-8"), path.relative_to(SOURCE).as_posix())
    assert found == set(CACHES)


@pytest.mark.parametrize(
    "source",
    [
        "from functools import lru_cache\n@lru_cache(64)\ndef new(name): ...",
        "from functools import lru_cache as kept\n@kept\ndef new(name): ...",
        "import functools as f\ndef new(name):\n    return f.cache(str)(name)",
        "import functools\nclass A:\n    @functools.lru_cache\n    def new(self, name): ...",
    ],
)
def test_a_new_cache_of_functools_is_found(source: str) -> None:
    assert caches(source, "a.py") == {"a.py:new"}


#: Collections that start empty and outlive a call, and what bounds them.
COLLECTIONS = {
    "of one request, one call or one command": """
        callables.py:_answers contrib/dashboard/unblocking.py:places
        contrib/dashboard/unblocking.py:unknown cli/survey.py:application
        cli/survey.py:code cli/survey.py:fallback
        cli/survey.py:functions cli/survey.py:groups cli/survey.py:meta
        extension/enumeration.py:application extension/enumeration.py:code
        extension/enumeration.py:fallback extension/enumeration.py:functions
        extension/enumeration.py:groups extension/enumeration.py:meta
        stores/redis/counters.py:keys stores/redis/counters.py:known stores/redis/counters.py:looks
        stores/redis/script.py:_spec_index stores/redis/script.py:keys
        stores/redis/script.py:known stores/redis/script.py:_by_clock
    """,
    "of what is under way: callers that wait, blocks, tasks, batches": """
        direct/blocks.py:_held direct/ledger.py:_tasks direct/turns.py:_queues
        direct/turns.py:called direct/turns.py:turns stores/payer.py:_pieces
        stores/guard.py:_tasks stores/redis/cluster.py:_tasks stores/redis/store.py:_tasks
        stores/redis/batcher.py:_sent
        stores/redis/cluster_link.py:_tasks stores/redis/connections.py:_closing
        stores/redis/connections.py:_open stores/redis/connections.py:_openers
        stores/redis/connections.py:_opening stores/redis/sentinels.py:_tasks
    """,
    "of the app's code: functions, routes, blueprints, limits, networks": """
        clients/key_functions.py:_FIELDS
        clients/key_spaces.py:_known clients/networks.py:_sizes
        contrib/opentelemetry.py:_feeds
        contrib/prometheus.py:_feeds enforcement/routes.py:_known
        enforcement/routes.py:fixed_stages extension/snippet.py:_known
        rules/limits_file.py:_limits rules/limits_file.py:_policies rules/limits_file.py:_texts
        rules/registry.py:_entries
        rules/registry.py:blueprints rules/registry.py:exempt_blueprints
        rules/registry.py:limits stores/redis/uri.py:NO_MAINTENANCE
    """,
    "of one request: the counters that its functions charged": """
        enforcement/paid.py:_by_function enforcement/paid.py:_deciders enforcement/paid.py:_shared
        enforcement/paid.py:_total
    """,
    "event loops of the process, and TLS settings of its stores": """
        stores/redis/per_loop.py:_links stores/redis/sockets.py:_contexts
    """,
    "of the nodes and slots of a Cluster": """
        stores/breaker.py:_open stores/redis/cluster_link.py:_batchers
        stores/redis/cluster_link.py:_moved stores/redis/cluster_link.py:_nodes
    """,
    "metrics, whose limits are `_names`, as many as were asked for": """
        contrib/_metrics.py:_names contrib/_metrics.py:_scopes contrib/prometheus.py:_decisions
        contrib/prometheus.py:_fallback contrib/prometheus.py:_near
    """,
    "rows and keys of a dashboard: ROWS, LONGEST_SCOPE, KEYS, and keys of our size": """
        extension/space_saving.py:_counts extension/tally.py:_rows
        extension/fleet_rows.py:busiest extension/fleet_rows.py:minutes
        extension/fleet_rows.py:parts extension/fleet_rows.py:rows
        extension/fleet_rows.py:seconds
        extension/tally.py:hits extension/tally.py:history extension/tally.py:refusals
    """,
    "`Recent`, in number and in length": "recent.py:_old recent.py:_young",
    "MOST_KEPT leases": "direct/ledger.py:_kept",
    "KEPT stages of limits": "enforcement/routes.py:stages",
    "TEXTS texts up to LONGEST_TEXT": "recent.py:_texts",
    "MOST_REPORTS mistakes": "stores/guard.py:_reported",
    "INVALIDATED names up to LONGEST_NAME": "stores/knowledge.py:_invalidated",
    "counters of the app's limits, with keys up to ``max_keys``": """
        stores/memory.py:_tables stores/standin.py:_quotas
    """,
    "MOST_OWED names up to LONGEST_NAME": "stores/standin.py:bases",
    "MOST limits that code checks, with forms of keys up to LONGEST": "extension/seen.py:_known",
    "stores of the process": "contrib/_metrics.py:_workers",
    "limiters of the process that have a dashboard": "signals.py:recorders",
}


def collections(source: str, file: str) -> set[str]:
    """Modules' and objects' own dictionaries and sets that start empty, by file and name."""
    found: set[str] = set()
    makers = ("dict", "set", "defaultdict", "OrderedDict", "Counter", "WeakKeyDictionary")

    def is_empty(value: ast.AST | None) -> bool:
        if isinstance(value, ast.Call):
            name = getattr(value.func, "id", getattr(value.func, "attr", ""))
            return name in makers or (name == "field" and "default_factory" in ast.unparse(value))
        return isinstance(value, ast.Dict) and not value.keys

    def names(body: list[ast.stmt], *, inside: bool) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                names(node.body, inside=True)
            elif isinstance(node, ast.FunctionDef) and inside and node.name == "__init__":
                for one in ast.walk(node):
                    note(one)
            else:
                note(node)

    def note(node: ast.AST) -> None:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and is_empty(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(f"{file}:{ast.unparse(one).removeprefix('self.')}" for one in targets)

    names(ast.parse(source).body, inside=False)
    return found


def test_every_collection_is_listed_with_what_bounds_it() -> None:
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        found |= collections(path.read_text("utf-8"), path.relative_to(SOURCE).as_posix())
    assert found == set(" ".join(COLLECTIONS.values()).split())


@pytest.mark.parametrize(
    "source",
    [
        "_seen = {}",
        "_seen: dict[str, int] = {}",
        "_seen = defaultdict(list)",
        "class A:\n    _seen = set()",
        "class A:\n    def __init__(self):\n        self._seen: dict[str, str] = {}",
        "@dataclass\nclass A:\n    _seen: dict[str, str] = field(default_factory=dict)",
    ],
)
def test_a_new_collection_is_found(source: str) -> None:
    assert collections(source, "a.py") == {"a.py:_seen"}


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
SHADOW_LOG = ShadowLog()
KINDS: dict[str, Callable[[int], object]] = {
    "a scope in a derived name": lambda n: derived_name(long(n), QUOTA),
    "a limit as text": lambda n: quotas_of(f"{n + 2}/minute" + " " * MEGABYTE),
    "a limit's policy": lambda n: drafts._policy_of(long(n), QUOTA),
    "a part of a key": lambda n: (join_key(long(n)), slot_key(long(n), long(n))),
    "a scope of a limit in shadow": lambda n: SHADOW_LOG.note(QUOTA, long(n), "store"),
    "an address": lambda n: canonical(long(n)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_texts_of_a_megabyte_leave_nothing_behind(kind: str) -> None:
    assert kept(KINDS[kind]) < 2 * MEGABYTE


def test_an_answer_that_is_no_limit_is_remembered_by_its_start() -> None:
    answers = LimitAnswers("fixed-window")
    for number in range(20):
        answers.usable(kept, f"{number}" + "x" * MEGABYTE, "view")
    assert max(map(len, answers._logged._texts)) < 1_000


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


async def test_limits_that_a_function_makes_of_a_long_text_are_gone_with_their_request() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_func=lambda: "ann", storage_uri="memory://")

    def answered() -> str:
        return "; ".join(f"{1000 + n}/{n + 1} minutes" for n in range(200))

    @app.get("/")
    @limiter.limit(answered)
    async def index() -> str:
        return ""

    client: Any = app.test_client()
    for _ in range(3):
        assert (await client.get("/")).status_code == 200
    tracemalloc.start()
    try:
        for _ in range(20):
            assert (await client.get("/")).status_code == 200
        assert tracemalloc.get_traced_memory()[0] < MEGABYTE
    finally:
        tracemalloc.stop()


async def test_hits_of_many_limits_are_not_kept_for_each_client() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_func=lambda: request.args["user"], store=MemoryStore())

    @app.get("/")
    @limiter.limit("; ".join(f"{1000 + n}/{n + 1} minutes" for n in range(200)))
    async def index() -> str:
        return ""

    client: Any = app.test_client()
    for number in range(10):
        await client.get(f"/?user=first{number}")
    tracemalloc.start()
    try:
        for number in range(30):
            await client.get(f"/?user={number}")
        async with app.app_context():
            await limiter.reset()
        assert tracemalloc.get_traced_memory()[0] < MEGABYTE
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
