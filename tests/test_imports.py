"""Which room may import which: the floors, and who may know Redis and Quart."""

import ast
from pathlib import Path

import pytest

import quart_ratelimit

ROOT = Path(quart_ratelimit.__file__).parent

#: The floor of every room; an import may only point to a lower one, or stay on its own floor
#: where the folder is one room (quotas, stores).
FLOORS = {
    # know nothing of rate limits or of each other
    "address": 1,
    "asgi_call": 1,
    "errors": 1,
    "findings": 1,
    "batch": 1,
    "callables": 1,
    "current": 1,
    "clock": 1,
    "exemptions": 1,
    "forwarded": 1,
    # know no more than those
    "answers": 2,
    "connection": 2,
    "keys": 2,
    "mistakes": 2,
    "given": 3,
    "signals": 2,
    "proxies": 2,
    # what a limit is
    "quotas": 2,
    "notation": 3,
    "asking": 3,
    "stores": 3,
    "strategies": 4,
    "limits": 3,
    "marks": 4,
    "runtime": 4,
    # a rule in a request, and code that asks by itself
    "reservation": 4,
    "slots": 4,
    "streaming": 4,
    "waiting": 4,
    "context": 5,
    "limits_file": 6,
    "fields": 5,
    "headers": 5,
    "storage": 5,
    "constants": 6,
    "settings": 7,
    "resolve": 8,
    "shadow": 8,
    "evaluate": 9,
    "shield": 3,
    "problems": 6,
    "telling": 6,
    "gate": 10,
    "in_flight": 10,
    "messages": 10,
    "binding": 11,
    # the extension, and what stands on it
    "client": 3,
    "checkup": 12,
    "networks": 4,
    "bound": 12,
    "charging": 13,
    "limiter": 14,
    "decorator": 15,
    "quart_rate_limiter": 15,
    "util": 4,
    "testing": 15,
    "survey": 15,
    "contrib": 16,
    "doctor": 16,
    "render": 16,
    "cli": 17,
    "commands": 18,
}
MAY_IMPORT_REDIS = {"stores/checks.py", "stores/cluster.py", "stores/redis.py", "stores/wire.py"}
MAY_IMPORT_QUART = {
    "client.py",
    "contrib/dashboard.py",
    "connection.py",
    "current.py",
    "doctor.py",
    "gate.py",
    "in_flight.py",
    "bound.py",
    "limiter.py",
    "messages.py",
    "decorator.py",
    "quart_rate_limiter.py",
    "streaming.py",
    "survey.py",
    "cli.py",
}

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def room(file: str) -> str:
    return file.split("/", 1)[0].removesuffix(".py")


def _is_for_types(node: ast.AST) -> bool:
    """``if TYPE_CHECKING:`` names a type of an upper room, and knows nothing of it at run time."""
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
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_point_down(file: str) -> None:
    assert room(file) in FLOORS, "a new room needs a floor"
    depth = file.count("/") + 1
    for level, module in imports(file):
        if level == depth:  # from the package's own top
            target = module.split(".", 1)[0]
            assert FLOORS[target] < FLOORS[room(file)], f"{file} imports {target}"


@pytest.mark.parametrize("file", FILES)
def test_the_package_imports_itself_relatively(file: str) -> None:
    assert not [name for level, name in imports(file) if not level and "quart_ratelimit" in name]


@pytest.mark.parametrize("file", FILES)
def test_only_the_redis_store_knows_redis_and_only_the_extension_knows_quart(file: str) -> None:
    known = {name.split(".", 1)[0] for level, name in imports(file) if level == 0}
    assert "redis" not in known or file in MAY_IMPORT_REDIS
    assert "quart" not in known or file in MAY_IMPORT_QUART


def test_quotas_do_no_io() -> None:
    for path in (ROOT / "quotas").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, (ast.AsyncFunctionDef, ast.Await))]


def test_every_public_name_is_there() -> None:
    assert len(set(quart_ratelimit.__all__)) == len(quart_ratelimit.__all__)
    for name in quart_ratelimit.__all__:
        assert getattr(quart_ratelimit, name).__doc__
