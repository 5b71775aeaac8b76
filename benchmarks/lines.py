"""Curves of seconds over sizes, SVG text: both axes logarithmic, a line per curve, light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from bars import FASTER, SLOWER, opening

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 64, 290, 62, 52  # on the right the labels
LINE = 15  # height of a label


class Line(NamedTuple):
    """A curve: its label, (size, seconds) from small to large, and whether it is drawn as the one that matters."""

    label: str
    points: Sequence[tuple[float, float]]
    ours: bool = True


def draw_lines(title: str, note: str, across: str, up: str, lines: Sequence[Line]) -> str:
    """The picture: a line of slope 1 is growth in proportion."""
    x_of, xs = _axis([x for line in lines for x, _ in line.points], LEFT, WIDTH - RIGHT)
    y_of, ys = _axis([y for line in lines for _, y in line.points], HEIGHT - BOTTOM, TOP)
    parts = opening(title, note, across, up, size=(WIDTH, HEIGHT), middle=(LEFT + WIDTH - RIGHT) / 2, top=TOP)
    for tick in xs:
        parts.append(f'<path class="grid" d="M{x_of(tick)} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x_of(tick)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in ys:
        parts.append(f'<path class="grid" d="M{LEFT} {y_of(tick)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y_of(tick) + 4}" text-anchor="end">{tick:g}</text>')
    level = float(HEIGHT)
    for line in sorted(lines, key=lambda line: -line.points[-1][1]):
        places = [(x_of(x), y_of(y)) for x, y in line.points]
        colour = FASTER if line.ours else SLOWER
        parts.append(
            f'<path d="M{" L".join(f"{x},{y}" for x, y in places)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        level = places[-1][1] if level == HEIGHT else max(places[-1][1], level + LINE)
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{level + 4:g}">{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _axis(values: Sequence[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """From a value to a place, and the powers of ten that lie on the axis."""
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    ticks = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    return lambda value: round(start + (end - start) * (math.log10(value) - low) / (high - low), 1), ticks
