"""Lines over a logarithmic axis as an SVG: enough for two panels, and no library to install."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 490, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 180, 34, 40
COLOURS = ("#0b6e4f", "#1f9e89", "#d1495b", "#30638e", "#8f5d9f", "#b07d2b", "#6b7280", "#111827")


@dataclass(frozen=True)
class Panel:
    """One set of axes: lines by name, each as high as ``points[x]``."""

    title: str
    lines: Mapping[str, Mapping[int, float]]
    log: bool = False


def svg(panels: Sequence[Panel], x_title: str) -> str:
    """The panels side by side."""
    parts = [_panel(panel, x_title, index * (WIDTH + 10)) for index, panel in enumerate(panels)]
    width = len(panels) * (WIDTH + 10)
    style = "text{font:11px sans-serif;fill:#374151}.t{font-weight:bold;font-size:13px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img">'
        f"<style>{style}</style>"
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, x_title: str, shift: int) -> str:
    xs = sorted({x for line in panel.lines.values() for x in line})
    ticks = _ticks([y for line in panel.lines.values() for y in line.values()], panel.log)
    low, high = ticks[0], ticks[-1]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x: int) -> float:
        return LEFT + (right - LEFT) * math.log(x / xs[0]) / (math.log(xs[-1] / xs[0]) or 1)

    def up(y: float) -> float:
        if panel.log:
            return bottom - (bottom - TOP) * math.log(y / low) / math.log(high / low)
        return bottom - (bottom - TOP) * (y - low) / (high - low)

    out = [f'<text class="t" x="{LEFT}" y="18">{escape(panel.title)}</text>']
    for y in ticks:
        out.append(
            f'<path d="M{LEFT} {up(y):.1f}H{right}" stroke="#e5e7eb"/>'
            f'<text x="{LEFT - 5}" y="{up(y) + 4:.1f}" text-anchor="end">{_short(y)}</text>'
        )
    for x in xs:
        out.append(f'<text x="{across(x):.1f}" y="{bottom + 15}" text-anchor="middle">{x}</text>')
    middle = (LEFT + right) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>')
    ends = {name: up(line[max(line)]) for name, line in panel.lines.items()}
    places = _apart(ends)
    for (name, line), colour in zip(panel.lines.items(), COLOURS, strict=False):
        points = " ".join(f"{across(x):.1f},{up(line[x]):.1f}" for x in sorted(line))
        out.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{right + 6}" y="{places[name] + 4:.1f}" style="fill:{colour}">'
            f"{escape(name)}</text>"
        )
    return f'<g transform="translate({shift})">{"".join(out)}</g>'


def _apart(heights: Mapping[str, float], gap: float = 13) -> dict[str, float]:
    """Heights for labels that do not overlap."""
    places: dict[str, float] = {}
    last = HEIGHT - BOTTOM + gap
    for name in sorted(heights, key=heights.__getitem__, reverse=True):
        last = places[name] = min(heights[name], last - gap)
    return places


def _ticks(values: Sequence[float], log: bool) -> list[float]:
    if log:
        first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    step = 10 ** math.floor(math.log10(max(values)))
    step = next(part for part in (step / 5, step / 2, step, 2 * step) if max(values) <= 6 * part)
    return [step * number for number in range(math.ceil(max(values) / step) + 1)]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
