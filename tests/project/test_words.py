"""Prose that a stranger understands at once: the words that CONTRIBUTING.md replaces stay away."""

from pathlib import Path

import pytest

from ..support.serving import ROOT
from ..support.words import REPLACED, in_module, in_page

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
MODULES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]

#: How many words a file may have, and why.
ALLOWED = {
    "docs/howto/responses.md": (2, "'HTTP/2, beside' is a row of a measured table"),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def found(path: Path) -> list[str]:
    return in_page(path) if path.suffix == ".md" else in_module(path)


@pytest.mark.parametrize("path", PAGES + MODULES, ids=name_of)
def test_no_word_stands_that_has_a_plainer_one(path: Path) -> None:
    words = found(path)
    most, _ = ALLOWED.get(name_of(path), (0, ""))
    assert len(words) <= most, f"{name_of(path)}: {words}; write instead: {REPLACED}"


def test_the_list_of_exceptions_is_as_short_as_it_can_be() -> None:
    spare = {name: len(found(ROOT / name)) for name, (most, _) in ALLOWED.items()}
    assert spare == {name: most for name, (most, _) in ALLOWED.items()}


def test_code_and_links_are_not_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Ask `tell`, [see](told.md).\n\n```sh\nask\n```\n\n    asked\n\nIt is no list.\n"
    )
    assert in_page(page) == ["1: Ask", "9: is no"]


def test_docstrings_comments_and_errors_are_prose(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Ask it."""\n\n# told anew\ntell = "ask"\nraise ValueError("x is no y")\n')
    assert in_module(module) == ["1: Ask", "3: told", "3: anew", "5: is no"]
