"""``./dev matrix``: run the rows, print a table, and with ``--write`` put it into the docs."""

from __future__ import annotations

import argparse
import sys
from datetime import date

from .places import BUILD, ROOT
from .rows import ROWS
from .running import Outcome, log_of, run

PAGE = ROOT / "docs" / "reference" / "versions.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"


def table(outcomes: list[Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = ["| row | ran on | tests | seconds |", "| --- | --- | --- | --- |"]
    for each in outcomes:
        tests = each.counts if each.verdict == "passed" else f"**{each.verdict}** {each.counts}"
        lines.append(f"| {each.row.name} | {each.ran_on} | {tests} | {each.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what the arguments name; 1 if a row failed."""
    parser = argparse.ArgumentParser(prog="./dev matrix", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the rows that CI runs at each push")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name has this text")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    rows = [
        row for row in ROWS
        if options.only.lower() in row.name.lower() and (row.quick or not options.quick)
    ]  # fmt: skip
    if not rows:
        parser.error(f"no row has {options.only!r} in its name; there are: "
                     + ", ".join(row.name for row in ROWS))  # fmt: skip
    BUILD.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for row in rows:
        outcome = run(row)
        if outcome.verdict == "failed":  # a busy machine fails a test of time
            print(f"matrix: {row.name}: {outcome.counts}; once more", log_of(outcome), flush=True)
            outcome = run(row)
        outcomes.append(outcome)
        print(f"matrix: {row.name}: {outcome.verdict} {outcome.counts}", flush=True)
        if outcome.verdict == "failed":
            print(outcome.output[-6000:], f"matrix: all of it is in {log_of(outcome)}", sep="\n")
    print(table(outcomes))
    missing = [each.row.name for each in outcomes if each.verdict.startswith("not run")]
    if missing:
        print(f"matrix: THIS MACHINE COULD NOT RUN: {', '.join(missing)}")
    if options.write:
        text = PAGE.read_text("utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        made = f"Made by `./dev matrix --write` on {date.today()}.\n\n{table(outcomes)}"
        PAGE.write_text(f"{head}{BEGIN}{made}{END}{tail}", "utf-8")
    return any(each.verdict == "failed" for each in outcomes)


if __name__ == "__main__":
    sys.exit(main())
