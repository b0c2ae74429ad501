"""``./dev matrix``: run the rows, print a table, and with ``--write`` put it into the docs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date

from .places import BUILD, ROOT
from .rows import ROWS
from .running import Outcome, log_of, run

PAGE = ROOT / "docs" / "reference" / "versions.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"


def lines_of(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """A line of Markdown for each outcome, by the name of its row."""
    lines = {}
    for each in outcomes:
        tests = each.counts if each.verdict == "passed" else f"**{each.verdict}** {each.counts}"
        cells = [each.row.name, each.ran_on, tests, f"{each.seconds:.0f}", f"{date.today()}"]
        lines[each.row.name] = f"| {' | '.join(cells)} |\n"
    return lines


def table(lines: Mapping[str, str]) -> str:
    """The lines in Markdown, in the order of the rows."""
    head = "| row | ran on | tests | seconds | day |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(lines[row.name] for row in ROWS if row.name in lines)


def written(page: str, lines: Mapping[str, str]) -> str:
    """The page with these lines in its table; rows that were not run keep theirs."""
    head, _, rest = page.partition(BEGIN)
    before, _, tail = rest.partition(END)
    kept = {line[2:].partition(" | ")[0]: line for line in before.splitlines(keepends=True)}
    return f"{head}{BEGIN}{table({**kept, **lines})}{END}{tail}"


def again(first: Outcome) -> Outcome:
    """Run a row's failed tests once more: what fails twice is a fault."""
    second = run(first.row, "--last-failed", "--last-failed-no-failures", "none")
    passed = second.verdict == "passed"
    counts = f"{first.counts}; what failed passed again" if passed else second.counts
    return replace(second, counts=counts, seconds=first.seconds + second.seconds)


def main() -> int:
    """Run what the arguments name; 1 if a row failed."""
    parser = argparse.ArgumentParser(prog="./dev matrix", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the rows that CI runs at each push")
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="the row of this name, or those with it in theirs",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"put the rows into the table of {PAGE.name}"
    )
    options = parser.parse_args()
    named = [row for row in ROWS if options.only.lower() in row.name.lower()]
    exact = [row for row in named if options.only.lower() == row.name.lower()]
    rows = [row for row in exact or named if row.quick or not options.quick]
    if not rows:
        parser.error(f"no row has {options.only!r} in its name; there are: "
                     + ", ".join(row.name for row in ROWS))  # fmt: skip
    BUILD.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for row in rows:
        outcome = run(row)
        if outcome.verdict == "failed":  # a busy machine fails a test of time
            print(f"matrix: {row.name}: {outcome.counts}; once more", log_of(outcome), flush=True)
            outcome = again(outcome)
        outcomes.append(outcome)
        if options.write:
            PAGE.write_text(written(PAGE.read_text("utf-8"), lines_of([outcome])), "utf-8")
        print(f"matrix: {row.name}: {outcome.verdict} {outcome.counts}", flush=True)
        if outcome.verdict == "failed":
            print(outcome.output[-6000:], f"matrix: all of it is in {log_of(outcome)}", sep="\n")
    print(table(lines_of(outcomes)))
    missing = [each.row.name for each in outcomes if each.verdict.startswith("not run")]
    if missing:
        print(f"matrix: THIS MACHINE COULD NOT RUN: {', '.join(missing)}")
    return any(each.verdict == "failed" for each in outcomes)


if __name__ == "__main__":
    sys.exit(main())
