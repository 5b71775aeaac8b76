"""Curves over the epochs as SVG text: a panel a quantity, light and dark, no dependency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.plots.svg import Axis, colours, document, is_drawn, round_ticks, shown, value_axis

WIDTH, HEIGHT = 460, 320  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 48
PANELS_A_ROW = 3
KEY_WIDTH = 110  # of the names beside a panel with more curves than fit over it


class Curve(NamedTuple):
    """One line: its label, and one value an epoch."""

    label: str
    values: Sequence[float]


def draw_curves(
    panels: Sequence[tuple[str, Sequence[Curve]]],
    *,
    best_epoch: int | None = None,
    title: str = "training curves",
    first_epoch: int = 1,
) -> str:
    """The picture: a panel for each (title, curves), epochs to the right, the first value that of ``first_epoch``."""
    columns = max(1, min(PANELS_A_ROW, len(panels)))
    has_key = any(_is_beside(curves) for _, curves in panels)
    width, height = WIDTH * columns + KEY_WIDTH * has_key, HEIGHT * max(1, -(-len(panels) // columns))
    body = [
        _panel(name, curves, (WIDTH * (i % columns), HEIGHT * (i // columns)), best_epoch, first_epoch)
        for i, (name, curves) in enumerate(panels)
    ]
    return document(body, width, height, title)


def _is_beside(curves: Sequence[Curve]) -> bool:
    """Whether the names of the curves stand beside the (last) panel, for want of room over it."""
    return len(curves) > 2


def _panel(title: str, curves: Sequence[Curve], offset: tuple[int, int], best_epoch: int | None, first: int) -> str:
    epochs = max((len(c.values) for c in curves), default=0) + first - 1
    y_axis = value_axis([v for c in curves for v in c.values])
    last = max(first + 1, epochs)
    x_axis = Axis(first, last, tuple(t for t in round_ticks(first, last, 6) if t == int(t) and t >= first))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x_of(epoch: float) -> float:
        return round(LEFT + x_axis.fraction(epoch) * (right - LEFT), 1)

    def y_of(value: float) -> float:
        return round(bottom - y_axis.fraction(value) * (bottom - TOP), 1)

    parts = [
        f'<g transform="translate({offset[0]} {offset[1]})">',
        f'<text class="title" x="{LEFT}" y="24">{shown(title)}</text>',
    ]
    for tick in y_axis.ticks:
        y = y_of(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:.4g}</text>')
    for tick in x_axis.ticks:
        parts.append(f'<path class="axis" d="M{x_of(tick)} {bottom}v4"/>')
        parts.append(f'<text x="{x_of(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:.0f}</text>')
    parts.append(f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">epoch</text>')
    if best_epoch is not None and 1 <= best_epoch <= epochs:
        x = x_of(best_epoch)
        anchor, dx = ("end", -5) if x > (LEFT + right) / 2 else ("start", 5)
        parts.append(f'<path class="best" d="M{x} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x + dx}" y="{bottom - 8}" text-anchor="{anchor}">best: epoch {best_epoch}</text>')
    spacing = min(20, (bottom - TOP) // max(1, len(curves) - 1))  # of the names beside the panel
    for i, (curve, colour) in enumerate(zip(curves, colours(len(curves)), strict=True)):
        points = [(x_of(e), y_of(v)) for e, v in enumerate(curve.values, first) if is_drawn(v)]
        if len(points) == 1:
            parts.append(f'<circle cx="{points[0][0]}" cy="{points[0][1]}" r="3" fill="{colour}"/>')
        line = "L".join(f"{x} {y}" for x, y in points)
        if line:
            parts.append(f'<path fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" d="M{line}"/>')
        x, y = (WIDTH - 8, TOP + spacing * i) if _is_beside(curves) else (right - 70 * (len(curves) - i), 20)
        parts.append(f'<path stroke="{colour}" stroke-width="3" d="M{x} {y}h16"/>')
        parts.append(f'<text x="{x + 22}" y="{y + 4}">{shown(curve.label)}</text>')
    return "\n".join([*parts, "</g>"])
