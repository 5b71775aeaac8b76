"""Ratios as horizontal bars, SVG text: a group a workload, a line at 1, logarithmic, light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

LEFT, PLOT, RIGHT = 132, 420, 64  # labels, bars, the figure of the longest bar
ROW, GAP, TOP, BOTTOM = 17, 30, 58, 34
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
SLOWER, FASTER = "#2f6fb5", "#c8641e"  # blue and orange, told apart by colour-blind eyes too

STYLE = (
    "svg{font:12px system-ui,sans-serif;background:#fff;color:#222}text{fill:currentColor}"
    ".one{stroke:currentColor;stroke-opacity:.7}.grid{stroke:currentColor;stroke-opacity:.13}"
    ".group{font-weight:600}.title{font-weight:600;font-size:15px}.aside{fill-opacity:.65}"
    "@media(prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}}"
)


class Group(NamedTuple):
    """A workload: its title, and (label, ratio, whether it is only a yardstick) of each bar."""

    title: str
    bars: Sequence[tuple[str, float, bool]]


def draw_bars(title: str, note: str, groups: Sequence[Group]) -> str:
    """The picture: bars to the right of the line are above 1, bars to its left below."""
    ratios = [ratio for group in groups for _, ratio, _ in group.bars] or [1.0]
    low, high = math.log(min(0.8, *ratios)) - 0.25, math.log(max(1.25, *ratios)) + 0.05
    height = TOP + sum(GAP + ROW * len(group.bars) for group in groups) + BOTTOM
    width = LEFT + PLOT + RIGHT

    def x_of(ratio: float) -> float:
        return round(LEFT + PLOT * (math.log(ratio) - low) / (high - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
        f'<text class="title" x="16" y="24">{escape(title)}</text><text x="16" y="43">{escape(note)}</text>',
    ]
    for tick in (t for t in TICKS if low <= math.log(t) <= high):
        x, style = x_of(tick), "one" if tick == 1 else "grid"
        parts.append(f'<path class="{style}" d="M{x} {TOP}V{height - BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{height - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    y = TOP
    for group in groups:
        y += GAP
        parts.append(f'<text class="group" x="16" y="{y - 9}">{escape(group.title)}</text>')
        for label, ratio, aside in group.bars:
            start, end = sorted((x_of(1), x_of(ratio)))
            colour, opacity = (SLOWER if ratio >= 1 else FASTER), (0.35 if aside else 1)
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 10}" text-anchor="end">{escape(label)}</text>'
                f'<rect x="{start}" y="{y}" width="{max(1, end - start):.1f}" height="{ROW - 5}" fill="{colour}" '
                f'fill-opacity="{opacity}"/>'
            )
            x, anchor = (end + 4, "start") if ratio >= 1 else (start - 4, "end")
            parts.append(f'<text x="{x:.1f}" y="{y + 10}" text-anchor="{anchor}">{ratio:.2f}</text>')
            y += ROW
    return "\n".join([*parts, "</svg>\n"])


def opening(
    title: str, note: str, across: str, up: str, *, size: tuple[int, int], middle: float, top: float
) -> list[str]:
    """The beginning of a picture of this size with two axes: title, note, and the names of the axes.

    Parameters
    ----------
    middle : of the axis from left to right
    top : of the other axis
    """
    width, height = size
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
        f'<text class="title" x="16" y="24">{escape(title)}</text><text x="16" y="43">{escape(note)}</text>',
        f'<text x="{middle:g}" y="{height - 12}" text-anchor="middle">{escape(across)}</text>',
        f'<text x="16" y="{top - 4}">{escape(up)}</text>',
    ]
