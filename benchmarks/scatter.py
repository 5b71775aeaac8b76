"""Two ratios of several models as points, SVG text: both logarithmic, lines at 1, light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from bars import FASTER, SLOWER, opening

WIDTH, HEIGHT = 660, 430
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 62, 52
LABEL, LINE = 150, 13  # width and height of a label
ACROSS = (0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000)
UP = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 2, 3)


class Point(NamedTuple):
    """A model."""

    label: str
    x: float
    y: float
    ours: bool


def draw_scatter(title: str, note: str, across: str, up: str, points: Sequence[Point]) -> str:
    """The picture: to the left and below is better."""
    x_of = _axis([point.x for point in points], LEFT, WIDTH - RIGHT)
    y_of = _axis([point.y for point in points], HEIGHT - BOTTOM, TOP)
    parts = opening(title, note, across, up, size=(WIDTH, HEIGHT), middle=(LEFT + WIDTH - RIGHT) / 2, top=TOP)
    for tick in ACROSS:
        x = x_of(tick)
        if LEFT <= x <= WIDTH - RIGHT:
            parts.append(f'<path class="{_style(tick)}" d="M{x} {TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in UP:
        y = y_of(tick)
        if TOP <= y <= HEIGHT - BOTTOM:
            parts.append(f'<path class="{_style(tick)}" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    dots = sorted((x_of(point.x), y_of(point.y), point) for point in points)
    labels: list[tuple[float, float]] = []
    for x, y, point in dots:
        colour, level = FASTER if point.ours else SLOWER, _free(x, y, labels, [dot[:2] for dot in dots])
        labels.append((x, level))
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
        if abs(level - y) > LINE:  # another dot may be nearer to the label
            parts.append(f'<path class="one" d="M{x:.1f},{y:.1f}L{x + 7:.1f},{level:.1f}"/>')
        parts.append(f'<text x="{x + 9:g}" y="{level + 4:g}">{escape(point.label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _axis(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """From a ratio to a place, with 1 on the axis and room at both ends."""
    logs = [math.log(value) for value in (*values, 1.0)]
    room = 0.08 * (max(logs) - min(logs)) + 0.01
    low, high = min(logs) - room, max(logs) + room
    return lambda value: round(start + (end - start) * (math.log(value) - low) / (high - low), 1)


def _free(x: float, y: float, labels: Sequence[tuple[float, float]], dots: Sequence[tuple[float, float]]) -> float:
    """The height nearest to y at which a label beside x covers neither a label nor a dot."""
    near = [height for left, height in labels if abs(left - x) < LABEL]
    near += [height for left, height in dots if 0 < left - x < LABEL]
    heights = [y + step for distance in range(0, HEIGHT, 3) for step in (distance, -distance)]
    return next(height for height in heights if all(abs(height - other) >= LINE for other in near))


def _style(tick: float) -> str:
    return "one" if tick == 1 else "grid"
