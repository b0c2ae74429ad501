"""Draws docs/explanation/admitted.svg, what each algorithm admits over time:
``python -m benchmarks.plots``.

The real quotas decide, at times that are numbers: the drawing is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quart_ratelimit import (
    GCRA,
    FixedWindow,
    Hit,
    MovingWindow,
    Quota,
    SlidingWindow,
    StrictWindow,
)
from quart_ratelimit.stores import MemoryStore

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "admitted.svg"

AMOUNT, PERIOD = 20, 60
START = 1_800_000_000_000  # ms since the epoch; a whole minute
#: One request at 0 s; from 55 s on the client asks four times a second.
ASKS = [0, *range(55_000, 200_000, 250)]
LAST = 200_000

QUOTAS: dict[str, Quota] = {
    "fixed-window": FixedWindow(AMOUNT, PERIOD),
    "sliding-window-counter": SlidingWindow(AMOUNT, PERIOD),
    "strict-window": StrictWindow(AMOUNT, PERIOD),
    "moving-window": MovingWindow(AMOUNT, PERIOD),
    "gcra (20/minute)": GCRA(AMOUNT, PERIOD),
    "gcra (20/minute burst 5)": GCRA(AMOUNT, PERIOD, burst=5),
}

WIDTH, HEIGHT, LEFT, TOP = 340, 130, 34, 26  # of a panel and of its plot's corner, in pixels
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - 16, HEIGHT - TOP - 34
HIGHEST = 2 * AMOUNT


def admitted(quota: Quota) -> list[int]:
    """When the client was admitted, in ms from the start."""
    store = MemoryStore()
    return [ms for ms in ASKS if store.decide([Hit(quota, "ann")], START + ms)[0]]


def trailing(times: list[int]) -> list[tuple[int, int]]:
    """How many were admitted in the period that ends at each moment when this changes."""
    changes = sorted([(ms, 1) for ms in times] + [(ms + PERIOD * 1000, -1) for ms in times])
    counts = dict.fromkeys([0], 0)
    count = 0
    for ms, change in changes:
        count += change
        counts[ms] = count
    return list(counts.items())


def x(ms: int) -> float:
    return round(LEFT + PLOT_WIDTH * min(ms, LAST) / LAST, 1)


def y(count: int) -> float:
    return round(TOP + PLOT_HEIGHT * (1 - count / HIGHEST), 1)


def panel(name: str, quota: Quota) -> Iterator[str]:
    """One algorithm: a tick for each request admitted, and how many the last period holds."""
    times = admitted(quota)
    counts = trailing(times)
    steps = [f"M{x(0)} {y(0)}"]
    for ms, count in counts:
        if ms <= LAST:
            steps.append(f"H{x(ms)}V{y(count)}")
    line = "".join([*steps, f"H{x(LAST)}"])
    most = max(count for _, count in counts)
    right, floor = LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT
    yield f'<text x="{LEFT}" y="16" class="name">{name}</text>'
    yield f'<text x="{right}" y="16" class="end">at most {most} in a minute</text>'
    for count in (0, AMOUNT, HIGHEST):
        yield f'<text x="{LEFT - 6}" y="{y(count) + 4}" class="end">{count}</text>'
        kind = "limit" if count == AMOUNT else "grid"
        yield f'<path d="M{LEFT} {y(count)}H{right}" class="{kind}"/>'
    for second in (0, 60, 120, 180):
        yield f'<text x="{x(second * 1000)}" y="{HEIGHT - 6}" class="mid">{second} s</text>'
    yield f'<path d="{line}V{floor}H{LEFT}Z" class="area"/><path d="{line}" class="line"/>'
    ticks = "".join(f"M{x(ms)} {floor + 4}v7" for ms in times)
    yield f'<path d="{ticks}" class="tick"/>'


def drawing() -> str:
    """The whole SVG."""
    rows = -(-len(QUOTAS) // 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}" '
        'role="img" aria-label="Requests admitted in the last minute, by algorithm">',
        "<style>text{font:11px sans-serif;fill:#57606a}.name{font-weight:bold;fill:#1f2328}"
        ".end{text-anchor:end}.mid{text-anchor:middle}path{fill:none;stroke-width:1}"
        ".grid{stroke:#d0d7de}.limit{stroke:#cf222e;stroke-dasharray:4 3}"
        ".line{stroke:#0969da;stroke-width:1.5}.area{fill:#0969da;fill-opacity:.12}"
        ".tick{stroke:#1f2328;stroke-opacity:.7}</style>",
        f'<rect width="{2 * WIDTH}" height="{rows * HEIGHT}" fill="#fff"/>',
    ]
    for number, (name, quota) in enumerate(QUOTAS.items()):
        row, column = divmod(number, 2)
        parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT})">')
        parts += [*panel(name, quota), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PAGE.write_text(drawing(), "utf-8")
    print(f"wrote {PAGE}")
