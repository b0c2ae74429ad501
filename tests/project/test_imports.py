"""Which folder may import which: the floors, and who may know Redis and Quart."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import quart_ratelimit

ROOT = Path(quart_ratelimit.__file__).parent

#: The floor of every folder and of every file at the top; an import may only point to a lower one,
#: or stay in its folder.
FLOORS = {
    # know nothing of rate limits, or of each other
    "clock": 1,
    "constants": 1,
    "current": 1,
    "errors": 1,
    "findings": 1,
    # what is allowed, and who is counted
    "callables": 2,
    "clients": 2,
    "quotas": 2,
    "signals": 2,
    # what is limited
    "rules": 3,
    "util": 3,
    # where it is counted, and what the client is told
    "responses": 4,
    "stores": 4,
    # what the app configured, and limits that code checks itself
    "direct": 5,
    "quart_rate_limiter": 5,
    "settings": 5,
    # the rules, applied to one request
    "enforcement": 6,
    # the extension, and what stands on it
    "extension": 7,
    "cli": 8,
    "contrib": 8,
    "testing": 8,
    "__init__": 9,
    "commands": 9,
}

MAY_IMPORT_REDIS = "stores/redis/"
MAY_IMPORT_QUART = {
    "cli/commands.py",
    "cli/doctor.py",
    "cli/survey.py",
    "clients/key_functions.py",
    "contrib/dashboard/panel.py",
    "current.py",
    "direct/in_flight.py",
    "direct/messages.py",
    "direct/streaming.py",
    "direct/websocket_connection.py",
    "enforcement/hooks.py",
    "enforcement/routes.py",
    "extension/bound.py",
    "extension/limiter.py",
    "extension/snippet.py",
    "extension/startup.py",
    "quart_rate_limiter.py",
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
