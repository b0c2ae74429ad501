"""How soon a far Redis counts after it was lost: ``python -m benchmarks.distances``.

Starts its own servers and delays what they send, prints the table of
docs/explanation/reliability.md, and fails if a cell is over 2 s; ``--write`` puts the table there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.support import certificates
from tests.support.distances import DISTANCES, EVENTS, Far

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "reliability.md"
BEGIN, END = "<!-- distances -->", "<!-- end of distances -->"
LIMIT = 2.0


async def main() -> int:
    """The exit code."""
    logging.disable(logging.CRITICAL)
    worst = 0.0
    lines = ["| round trip | | " + " | ".join(EVENTS) + " |", "| ---: | --- |" + " ---: |" * 4]
    with tempfile.TemporaryDirectory() as folder:
        files = certificates.make(Path(folder))
        for distance_ms in DISTANCES:
            for name, own in (("plain", None), ("TLS", files)):
                took = []
                for event in EVENTS.values():
                    async with Far(own, distance_ms) as far:
                        took.append(await event(far))
                worst = max(worst, *took)
                cells = " | ".join(f"{seconds:.2f} s" for seconds in took)
                lines.append(f"| {distance_ms} ms | {name} | {cells} |")
                print(lines[-1], file=sys.stderr)
    table = "\n".join(lines)
    print(table)
    if "--write" in sys.argv:
        page = PAGE.read_text("utf-8")
        before, rest = page.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
