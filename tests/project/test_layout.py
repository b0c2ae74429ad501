"""How the tests are laid out: they share code through tests/support, not through each other."""

import ast
from pathlib import Path

from ..support.serving import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every package, module and name in the import statements of a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or "").split("."), (alias.name for alias in node.names))
    return found


def test_no_module_imports_from_a_test_module() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        for name in sorted(imported(path))
        if name.startswith("test_")
    ]
    assert wrong == [], "move what they share to tests/support"


def test_every_folder_is_a_package_and_tests_stand_in_one_that_mirrors_src() -> None:
    assert [path for path in FILES if not (path.parent / "__init__.py").is_file()] == []
    assert list((ROOT / "tests").glob("test_*.py")) == []
