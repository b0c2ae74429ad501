"""docs/explanation/comparison.md: every cell has a source,
and those of ours are tests that there are.
"""

import ast
import re
from pathlib import Path

from ..support.markdown import table
from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "explanation" / "comparison.md").read_text("utf-8")


#: Each chapter of one question by its title: library, answer, source.
CHAPTERS = {
    title: table(text)
    for title, text in re.findall(r"\n## ([^\n]+)\n(.*?)(?=\n## |\Z)", TEXT, re.S)
    if title not in ("Where others are better", "At a glance")
}
GLANCE = table(TEXT.partition("## At a glance")[2].partition("\n## ")[0])
LIBRARIES = [cell for cell, *_ in next(iter(CHAPTERS.values()))]


def names_in(path: Path) -> set[str]:
    """The functions that a module holds."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_cell_at_a_glance_is_explained_with_a_source() -> None:
    assert [re.sub(r"\[(.*)\].*", r"\1", row[0]) for row in GLANCE] == list(CHAPTERS)
    for row, chapter in zip(GLANCE, CHAPTERS.values(), strict=True):
        assert [library for library, *_ in chapter] == LIBRARIES
        assert all(source for *_, source in chapter)
        answers = [re.match(r"\*\*(.+?)\*\*", answer) for _, answer, _ in chapter]
        assert row[1:] == [match and match[1] for match in answers]


def test_what_is_said_of_ours_is_shown_by_a_test() -> None:
    sources = [rows[0][2] for rows in CHAPTERS.values()]
    for source in sources:
        cited = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", source)
        assert cited, source
        for path, name in cited:
            assert name in names_in(ROOT / path), f"{path}::{name}"
