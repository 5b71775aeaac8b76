"""Curves over the epochs as SVG: a panel per quantity, for light and dark mode, without a plotting library."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chainrule.plots.svg import Axis, colours, document, escaped, is_drawn, round_ticks, value_axis

WIDTH, HEIGHT = 460, 320  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 48
PANELS_PER_ROW = 3
PER_PIXEL = 4  # points of a curve in one column of pixels
CHARACTER, LINE, LONGEST_TEXT = 7, 16, 50  # pixels of a character and a line of text, and its characters at most
LEGEND_WIDTH = 110  # beside a panel with more labels than fit above it


class Curve(NamedTuple):
    """One line: its label, one value per epoch, and its name if it may be the one by which an epoch was chosen."""

    label: str
    values: Sequence[float]
    name: str = ""


class Mark(NamedTuple):
    """An epoch that is marked in all panels; 0 for none.

    Parameters
    ----------
    epoch : from 1
    text : beside the mark
    reason : why it was chosen, said in the panel whose axis shows it, and nowhere else
    curve : the name of the curve by which it was chosen, on which its point is drawn
    """

    epoch: int
    text: str
    reason: str = ""
    curve: str = ""


NO_MARK = Mark(0, "")


def draw_curves(
    panels: Sequence[tuple[str, Sequence[Curve]]],
    *,
    mark: Mark = NO_MARK,
    title: str = "training curves",
    first_epoch: int = 1,
) -> str:
    """The SVG: a panel for each (title, curves), with epochs from ``first_epoch`` along the x axis."""
    columns = max(1, min(PANELS_PER_ROW, len(panels)))
    has_legend = any(_is_beside(curves) for _, curves in panels)
    width, height = WIDTH * columns + LEGEND_WIDTH * has_legend, HEIGHT * max(1, -(-len(panels) // columns))
    body = [
        _panel(name, curves, (WIDTH * (i % columns), HEIGHT * (i // columns)), mark, first_epoch)
        for i, (name, curves) in enumerate(panels)
    ]
    return document(body, width, height, title)


def _is_beside(curves: Sequence[Curve]) -> bool:
    """Whether the labels of the curves are beside the (last) panel, for lack of room above it."""
    return len(curves) > 2


class _Frame(NamedTuple):
    """The axes of a panel, and the corner of its drawing area."""

    x_axis: Axis
    y_axis: Axis
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    def x(self, epoch: float) -> float:
        return round(LEFT + self.x_axis.fraction(epoch) * (self.right - LEFT), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - self.y_axis.fraction(value) * (self.bottom - TOP), 1)


def _panel(title: str, curves: Sequence[Curve], offset: tuple[int, int], mark: Mark, first: int) -> str:
    epochs = max((len(c.values) for c in curves), default=0) + first - 1
    last = max(first + 1, epochs)
    ticks = tuple(t for t in round_ticks(first, last, 6) if t == int(t) and t >= first)
    frame = _Frame(Axis(first, last, ticks), value_axis([v for c in curves for v in c.values]))
    return "\n".join(
        [
            f'<g transform="translate({offset[0]} {offset[1]})">',
            f'<text class="title" x="{LEFT}" y="24">{escaped(title)}</text>',
            *_axes(frame),
            *(_mark_line(frame, mark, curves) if 1 <= mark.epoch <= epochs else []),
            *_lines(frame, curves, first),
            *_mark_points(frame, mark, curves, first),
            "</g>",
        ]
    )


def _axes(frame: _Frame) -> Iterator[str]:
    right, bottom = frame.right, frame.bottom
    for tick in frame.y_axis.ticks:
        y = frame.y(tick)
        yield f'<path class="grid" d="M{LEFT} {y}H{right}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:.4g}</text>'
    for tick in frame.x_axis.ticks:
        yield f'<path class="axis" d="M{frame.x(tick)} {bottom}v4"/>'
        yield f'<text x="{frame.x(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:.0f}</text>'
    yield f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">epoch</text>'


def _thinned(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Of the points in a column of pixels the first, the highest, the lowest and the last, which cover the same pixels.

    A column of up to four keeps all. Source: Jugel et al. 2014 (M4).
    """
    for _, of_column in itertools.groupby(points, lambda point: int(point[0])):
        column = list(of_column)
        if len(column) > PER_PIXEL:
            heights = [y for _, y in column]
            kept = {0, heights.index(min(heights)), heights.index(max(heights)), len(column) - 1}
            column = [column[i] for i in sorted(kept)]
        yield from column


def _mark_line(frame: _Frame, mark: Mark, curves: Sequence[Curve]) -> Iterator[str]:
    """A line at the epoch, and its text; with the reason if one of the curves is the one by which it was chosen."""
    x, lines = frame.x(mark.epoch), [mark.text]
    if mark.reason and any(curve.name == mark.curve for curve in curves):
        lines = [f"{mark.text}:", mark.reason]
    yield f'<path class="best" d="M{x} {TOP}V{frame.bottom}"/>'
    is_right = x > (LEFT + frame.right) / 2
    for above, text in enumerate(reversed(lines)):
        width = CHARACTER * min(len(text), LONGEST_TEXT)  # at most; the text must stay within the panel
        at = max(x - 5, LEFT + 5 + width) if is_right else min(x + 5, frame.right - 5 - width)
        anchor, y = "end" if is_right else "start", frame.bottom - 8 - LINE * above
        yield f'<text x="{at}" y="{y}" text-anchor="{anchor}">{escaped(text, LONGEST_TEXT)}</text>'


def _mark_points(frame: _Frame, mark: Mark, curves: Sequence[Curve], first: int) -> Iterator[str]:
    """The value by which the epoch was chosen."""
    for curve in curves:
        values = curve.values[mark.epoch - first :] if mark.curve == curve.name and mark.epoch >= first else []
        if mark.curve and len(values) and is_drawn(values[0]):
            yield f'<circle class="kept" cx="{frame.x(mark.epoch)}" cy="{frame.y(values[0])}" r="4"/>'


def _lines(frame: _Frame, curves: Sequence[Curve], first: int) -> Iterator[str]:
    """Each curve and its label."""
    spacing = min(20, (frame.bottom - TOP) // max(1, len(curves) - 1))  # of the labels beside the panel
    for i, (curve, colour) in enumerate(zip(curves, colours(len(curves)), strict=True)):
        points = [(frame.x(e), frame.y(v)) for e, v in enumerate(curve.values, first) if is_drawn(v)]
        if len(points) == 1:
            yield f'<circle cx="{points[0][0]}" cy="{points[0][1]}" r="3" fill="{colour}"/>'
        line = "L".join(f"{x} {y}" for x, y in _thinned(points))
        if line:
            yield f'<path fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" d="M{line}"/>'
        x, y = (WIDTH - 8, TOP + spacing * i) if _is_beside(curves) else (frame.right - 70 * (len(curves) - i), 20)
        yield f'<path stroke="{colour}" stroke-width="3" d="M{x} {y}h16"/>'
        yield f'<text x="{x + 22}" y="{y + 4}">{escaped(curve.label)}</text>'
