"""Which folder may import which: the floors, and who may know Redis and Quart."""

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest
from quart import Quart

import quart_ratelimit

from ..support.serving import ROOT as REPOSITORY

ROOT = Path(quart_ratelimit.__file__).parent

#: What every file but those of floor 1 may import.
EVERYWHERE = {"constants", "errors", "recent"}
BELOW_ENFORCEMENT = {
    "callables",
    "clients",
    "clock",
    "current",
    "quotas",
    "responses",
    "rules",
}
BELOW_EXTENSION = BELOW_ENFORCEMENT | {
    "direct", "enforcement", "findings", "settings", "signals", "stores",
}  # fmt: skip

#: Every folder and every file at the top: its floor, and which others it may import. An import may
#: only point to a lower floor, or stay in its folder. docs/explanation/architecture.md shows it.
UNITS: dict[str, tuple[int, set[str]]] = {
    # know nothing of rate limits, or of each other
    "clock": (1, set()),
    "constants": (1, set()),
    "current": (1, set()),
    "errors": (1, set()),
    "findings": (1, set()),
    "recent": (1, set()),
    # what is allowed, and who is counted
    "callables": (2, {"errors"}),
    "clients": (2, EVERYWHERE | {"current", "findings"}),
    "quotas": (2, {"errors"}),  # pure arithmetic
    "signals": (2, {"errors"}),
    # what is limited
    "rules": (3, EVERYWHERE | {"callables", "clients", "clock", "current", "quotas"}),
    "util": (3, {"clients"}),
    # where it is counted, and what the client is told
    "responses": (4, EVERYWHERE | {"clients", "clock", "current", "quotas", "rules"}),
    "stores": (4, EVERYWHERE | {"clock", "findings", "quotas", "signals"}),
    # what the app configured, and limits that code checks itself
    "direct": (5, EVERYWHERE | BELOW_ENFORCEMENT | {"signals", "stores"}),
    "quart_rate_limiter": (5, EVERYWHERE | BELOW_ENFORCEMENT | {"stores"}),
    # TEMPORARY: `responses`, until `Settings.draft` is a name
    "settings": (
        5,
        EVERYWHERE | {"callables", "clients", "quotas", "responses", "rules", "stores"},
    ),
    # the rules, applied to one request; independent of what code checks itself
    "enforcement": (6, EVERYWHERE | BELOW_ENFORCEMENT | {"settings", "signals", "stores"}),
    # the extension, and what stands on it
    "extension": (7, EVERYWHERE | BELOW_EXTENSION),
    "cli": (8, EVERYWHERE | BELOW_EXTENSION | {"extension"}),
    "contrib": (8, EVERYWHERE | BELOW_EXTENSION | {"extension"}),
    "testing": (8, EVERYWHERE | BELOW_EXTENSION | {"extension"}),
    "__init__": (9, EVERYWHERE | BELOW_EXTENSION | {"extension"}),
    "commands": (9, {"cli"}),
    "pytest": (9, {"extension", "testing"}),
}
FLOORS = {name: floor for name, (floor, _) in UNITS.items()}

MAY_IMPORT_REDIS = "stores/redis/"
MAY_IMPORT_QUART = {
    "cli/commands.py",
    "cli/doctor.py",
    "cli/paths.py",
    "cli/running.py",
    "cli/survey.py",
    "clients/key_functions.py",
    "contrib/dashboard/panel.py",
    "current.py",
    "direct/in_flight.py",
    "direct/websocket_connection.py",
    "enforcement/breach.py",
    "enforcement/error_handlers.py",
    "enforcement/hooks.py",
    "enforcement/routes.py",
    "extension/app_hooks.py",
    "extension/binding.py",
    "extension/limiter.py",
    "extension/snippet.py",
    "extension/startup.py",
    "quart_rate_limiter.py",
    "rules/costs.py",
    "rules/views.py",
}

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def unit(file: str) -> str:
    """The folder of a file, or the file at the top."""
    return file.split("/", 1)[0].removesuffix(".py")


def _is_for_types(node: ast.AST) -> bool:
    """``if TYPE_CHECKING:`` names a type of an upper floor, and knows nothing of it at run time."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(file: str) -> list[tuple[int, str]]:
    """Every import of a file: its level (0 = absolute) and the module it names."""
    found: list[tuple[int, str]] = []
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    for_types = {id(n) for block in ast.walk(tree) if _is_for_types(block) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = f"{node.module}." if node.module else ""
            found += [(node.level, start + alias.name) for alias in node.names]
    return found


def imported_files(file: str) -> set[str]:
    """The package's own files that a file imports."""
    found = set()
    for level, name in imports(file):
        if not level:
            continue
        parts = [*file.split("/")[:-level], *name.split(".")]
        while parts:  # the last part may be a module, or a name in one
            path = "/".join(parts)
            if target := {f"{path}.py", f"{path}/__init__.py"}.intersection(FILES):
                found |= target
                break
            parts.pop()
        else:
            found.add("__init__.py")
    return found


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    assert unit(file) in FLOORS, "a new folder needs a floor"
    for target in sorted({unit(imported) for imported in imported_files(file)} - {unit(file)}):
        assert FLOORS[target] < FLOORS[unit(file)], f"{file} imports {target}"
        assert target in UNITS[unit(file)][1], f"{file} imports {target}"


def test_the_table_itself_points_down() -> None:
    for name, (floor, allowed) in UNITS.items():
        assert not {target for target in allowed if FLOORS[target] >= floor}, name


def test_the_page_on_the_architecture_shows_the_folders_of_the_table() -> None:
    text = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| ([^|]+) \|$", text, re.M)
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    shown = {
        name: BELOW_EXTENSION if targets == "everything above" else set(targets.split(", "))
        for name, targets in rows
    }
    hidden = EVERYWHERE | {"extension"}  # the page says so above the table
    assert shown == {name: UNITS[name][1] - hidden or {"errors"} for name in folders}


@pytest.mark.parametrize("page", ["architecture", "performance", "reliability", "exactness"])
def test_a_page_names_no_file_that_is_not_there(page: str) -> None:
    text = (REPOSITORY / "docs" / "explanation" / f"{page}.md").read_text("utf-8")
    named = re.findall(r"`(?:[\w.]+/)*\w+\.(?:py|lua)`|`(?:\w+/)+`", text)
    files = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("benchmarks", "docs", "examples", "src", "tests")
        for path in (REPOSITORY / folder).rglob("*.*")
    ]
    known = {f"/{file}" for file in files} | {f"/{file.rpartition('/')[0]}/" for file in files}
    assert [
        name for name in named if not any(f.endswith(f"/{name.strip('`')}") for f in known)
    ] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter({file: imported_files(file) for file in FILES}).prepare()


@pytest.mark.parametrize("file", FILES)
def test_the_package_imports_itself_relatively(file: str) -> None:
    assert not [name for level, name in imports(file) if not level and "quart_ratelimit" in name]


@pytest.mark.parametrize("file", FILES)
def test_only_the_redis_store_knows_redis_and_only_the_extension_knows_quart(file: str) -> None:
    known = {name.split(".", 1)[0] for level, name in imports(file) if level == 0}
    assert "redis" not in known or file.startswith(MAY_IMPORT_REDIS)
    assert "quart" not in known or file in MAY_IMPORT_QUART


def test_quotas_do_no_io() -> None:
    for path in (ROOT / "quotas").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, (ast.AsyncFunctionDef, ast.Await))]


def test_every_public_name_is_there() -> None:
    assert len(set(quart_ratelimit.__all__)) == len(quart_ratelimit.__all__)
    for name in quart_ratelimit.__all__:
        assert getattr(quart_ratelimit, name).__doc__


def test_nothing_else_is_public() -> None:
    exposed = {
        name
        for name, value in vars(quart_ratelimit).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(quart_ratelimit.__all__) == exposed  # ruff keeps the list sorted


#: Every import path that the documentation promises beside `quart_ratelimit` itself.
PROMISED = {
    "quart_ratelimit.cli": ["cli"],
    "quart_ratelimit.commands": ["cli"],
    "quart_ratelimit.constants": ["ConfigVars", "ExemptionScope", "HeaderNames"],
    "quart_ratelimit.contrib.dashboard": ["dashboard"],
    "quart_ratelimit.contrib.openapi": ["LimitedProvider"],
    "quart_ratelimit.contrib.opentelemetry": ["OpenTelemetryMetrics"],
    "quart_ratelimit.contrib.prometheus": ["PrometheusMetrics", "exposition"],
    "quart_ratelimit.contrib.util": ["get_remote_address_cloudflare"],
    "quart_ratelimit.errors": [
        "ConfigurationError", "InvalidLimit", "LimiterUnavailable", "MissingParentheses",
        "RateLimitError", "RateLimitExceeded", "StoreError", "StoreMisconfigured",
        "StoreOverloaded", "StoreTimeout",
    ],
    "quart_ratelimit.pytest": ["CountInMemory", "count_in_memory"],
    "quart_ratelimit.quart_rate_limiter": [
        "RateLimit", "RateLimiter", "limit_blueprint", "rate_exempt", "rate_limit",
    ],
    "quart_ratelimit.quotas": [
        "ALGORITHMS", "GCRA", "Concurrency", "Decision", "FixedWindow", "Hit", "MovingWindow",
        "Penalty", "Quota", "SlidingWindow", "StrictWindow",
    ],
    "quart_ratelimit.signals": [
        "Decided", "batch_sent", "limit_decided", "store_asked", "store_recovered",
        "store_unavailable",
    ],
    "quart_ratelimit.stores": [
        "ClusterStore", "GuardedStore", "MemoryStore", "RedisStore", "Store", "store_from_uri",
    ],
    "quart_ratelimit.testing": ["Clock", "assert_limited", "in_fakeredis", "in_memory"],
    "quart_ratelimit.util": ["get_remote_address"],
}  # fmt: skip
EXTRAS = {
    "cli": "rich",
    "openapi": "quart_schema",
    "opentelemetry": "opentelemetry",
    "prometheus": "prometheus_client",
}


@pytest.mark.parametrize("path", PROMISED)
def test_every_promised_import_path_leads_to_its_names(path: str) -> None:
    if extra := EXTRAS.get(path.rpartition(".")[2]):
        pytest.importorskip(extra)
    module = importlib.import_module(path)
    assert [name for name in PROMISED[path] if not hasattr(module, name)] == []


def test_an_app_finds_its_limiters_where_it_is_promised() -> None:
    app = Quart(__name__)
    limiter = quart_ratelimit.Limiter(app=app, storage_uri="memory://")
    assert app.extensions["quart_ratelimit"] is limiter
    assert app.extensions["limiter"] == {limiter}
