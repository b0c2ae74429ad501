"""docs/explanation/faults.md: every fault and attack of the plan has a row,
and every test that it cites is.
"""

import ast
import re
from functools import cache
from pathlib import Path

from ..fuzz import configs, headers, keys, notation, replies
from ..support.markdown import table
from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "explanation" / "faults.md").read_text("utf-8")
CHAPTERS = dict(re.findall(r"\n## ([^\n]+)\n(.*?)(?=\n## |\Z)", TEXT, re.S))

#: The rows below the two heads: id or "", what, tests.
ROWS = [*table(CHAPTERS["Redis and the network"]), *table(CHAPTERS["Clients"])]
CITED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`( \(slow\))?", TEXT)


def test_every_fault_and_every_attack_has_a_row_in_order() -> None:
    faults = [f"T-{number:02}" for number in range(1, 31)]
    attacks = [f"S-{number:02}" for number in range(1, 8)]
    assert [name for name, *_ in ROWS if name] == faults + attacks


def test_every_row_cites_a_test() -> None:
    for name, what, shown in ROWS:
        assert what, name
        assert re.search(r"`tests/\S+\.py::\w+`", shown), (name, what)


def test_what_is_cited_exists_and_is_slow_where_the_page_says_so() -> None:
    for path, name, slow in CITED:
        tests = decorators(ROOT / path)
        assert name in tests, f"{path}::{name}"
        assert ("pytest.mark.slow" in tests[name]) == bool(slow), f"{path}::{name}"


@cache
def decorators(path: Path) -> dict[str, list[str]]:
    """Those of each function in a module."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {node.name: [ast.unparse(each) for each in node.decorator_list] for node in functions}


def test_every_fuzzer_is_listed_with_the_number_that_its_slow_test_runs() -> None:
    listed = {row[0]: int(row[1].replace(",", "")) for row in table(CHAPTERS["Fuzzers"])}
    modules = [configs, headers, keys, notation, replies]
    assert set(listed) == {f"`python -m {module.__name__}`" for module in modules}
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    runs = {int(number) for number in re.findall(r"\.run\(([\d_]+), seed", sources)}
    assert set(listed.values()) <= runs
