"""How well a net predicts, as SVG: a confusion matrix, and predicted against true numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.plots.svg import BLUE, Axis, document, escaped, is_drawn, round_ticks

COLOUR = "#" + "".join(f"{part:02x}" for part in BLUE)
MAX_CELL, MIN_CELL, MAX_SIDE = 48, 16, 560  # of a confusion matrix, in pixels
LETTER_WIDTH = 7.2  # mean, in pixels
MAX_NAME = 24  # characters
MOST_CLASSES = 40  # of a confusion matrix; more would leave no room for counts
DARK = 0.55  # share of a row, above which the count is written in white
PANEL, LEFT, RIGHT, TOP, BOTTOM = 440, 76, 20, 44, 56  # of predictions; the panel is square
PANELS_PER_ROW, MOST_PANELS = 3, 9
MOST_POINTS = 2000  # more are binned
BINS = 64  # along an axis


def draw_confusion(counts: np.ndarray, names: Sequence[str], *, title: str = "confusion matrix") -> str:
    """A heat map: a row per true class, a column per predicted class, shaded by the share of the row.

    Parameters
    ----------
    counts : (k, k) counts of examples, by true class (rows) and predicted class (columns)
    names : of the classes, at most :data:`MOST_CLASSES`
    """
    k = len(names)
    cell = max(MIN_CELL, min(MAX_CELL, MAX_SIDE // k))
    longest = max(min(len(name), MAX_NAME) for name in names) * LETTER_WIDTH
    left, top = int(40 + longest), int(76 + longest * 0.75)
    body = [
        f'<text class="title" x="16" y="26">{escaped(title)}</text>',
        f'<text x="{left + cell * k / 2}" y="48" text-anchor="middle">predicted</text>',
        f'<text text-anchor="middle" transform="translate(18 {top + cell * k / 2}) rotate(-90)">true</text>',
    ]
    body += [*_class_names(names, cell, left, top), *_cells(counts, names, cell, left, top)]
    lines = "".join(f"M{left} {top + cell * i}h{cell * k}M{left + cell * i} {top}v{cell * k}" for i in range(k + 1))
    body.append(f'<path class="grid" fill="none" d="{lines}"/>')
    return document(body, int(left + cell * k + max(24, longest * 0.75)), top + cell * k + 24, title)


def _class_names(names: Sequence[str], cell: int, left: int, top: int) -> Iterator[str]:
    """Each name beside its row and above its column."""
    small = f' style="font-size:{min(13, cell // 2 + 2)}px"' if cell < 26 else ""
    for i, name in enumerate(names):
        middle = cell * i + cell / 2
        text = escaped(name, MAX_NAME)
        yield f'<text{small} x="{left - 8}" y="{top + middle + 4}" text-anchor="end">{text}</text>'
        yield f'<text{small} transform="translate({left + middle + 3} {top - 8}) rotate(-45)">{text}</text>'


def _cells(counts: np.ndarray, names: Sequence[str], cell: int, left: int, top: int) -> Iterator[str]:
    """Each count above 0 on its shade, with the names as a tooltip."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i, j in np.argwhere(counts).tolist():
        x, y, share, number = left + cell * j, top + cell * i, float(shares[i, j]), f"{int(counts[i, j]):,}"
        yield (
            f'<path fill="{COLOUR}" fill-opacity="{0.06 + 0.9 * share:.3f}" d="M{x} {y}h{cell}v{cell}h{-cell}z">'
            f"<title>{escaped(names[i])} as {escaped(names[j])}: {number} ({share:.1%} of its rows)</title></path>"
        )
        size = min(13.0, 1.6 * cell / max(3, len(number)))
        light = ";fill:#fff" if share > DARK else ""
        yield (
            f'<text x="{x + cell / 2}" y="{y + cell / 2 + size / 3:.1f}" text-anchor="middle"'
            f' style="font-size:{size:.1f}px{light}">{number}</text>'
        )


def draw_predictions(
    y: np.ndarray, predicted: np.ndarray, names: Sequence[str] = (), *, title: str = "predicted against true"
) -> str:
    """A panel per target column: true numbers along x, predicted ones along y, and the line where they are equal.

    More than 2,000 rows are binned into squares, which are darker with the logarithm of their count.

    Parameters
    ----------
    y, predicted : (n,) or (n, k); the first 9 columns are drawn
    names : of the columns, as titles
    """
    y, predicted = (np.asarray(a, np.float64).reshape(len(y), -1) for a in (y, predicted))
    k = min(y.shape[1], MOST_PANELS)
    columns = min(k, PANELS_PER_ROW)
    body = []
    for j in range(k):
        name = names[j] if j < len(names) else title
        if j == k - 1 and y.shape[1] > k:
            name += f" (and {y.shape[1] - k} more)"
        body += [
            f'<g transform="translate({PANEL * (j % columns)} {PANEL * (j // columns)})">',
            *_panel(y[:, j], predicted[:, j], name),
            "</g>",
        ]
    return document(body, PANEL * columns, PANEL * -(-k // columns), title)


def _panel(y: np.ndarray, predicted: np.ndarray, title: str) -> list[str]:
    drawn = np.array([is_drawn(a) and is_drawn(b) for a, b in zip(y.tolist(), predicted.tolist(), strict=True)], bool)
    n_left_out = int((~drawn).sum())
    y, predicted = y[drawn], predicted[drawn]
    axis = _common_axis(np.concatenate([y, predicted]) if len(y) else np.zeros(1))
    note = f"{len(y):,} rows" + (f", {n_left_out:,} beyond the picture left out" if n_left_out else "")
    if len(y) > MOST_POINTS:
        note += ", counted in squares: darker is more"
        points = _squares(y, predicted, axis)
    else:
        points = [_dots(y, predicted, axis)]
    right, bottom = PANEL - RIGHT, PANEL - BOTTOM
    return [
        f'<text class="title" x="{LEFT}" y="24">{escaped(title, 40)}</text>',
        *_grid(axis),
        *points,
        f'<path class="best" d="M{LEFT} {bottom}L{right} {TOP}"/>',
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>',
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 36}" text-anchor="middle">true</text>',
        f'<text transform="translate(16 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">predicted</text>',
        f'<text x="{right}" y="{bottom + 50}" text-anchor="end" style="font-size:11px">{note}</text>',
    ]


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.fraction(value) * (PANEL - RIGHT - LEFT), 1)


def _y(axis: Axis, value: float) -> float:
    bottom = PANEL - BOTTOM
    return round(bottom - axis.fraction(value) * (bottom - TOP), 1)


def _grid(axis: Axis) -> Iterator[str]:
    right, bottom = PANEL - RIGHT, PANEL - BOTTOM
    for tick in axis.ticks:
        x, y = _x(axis, tick), _y(axis, tick)
        yield f'<path class="grid" d="M{LEFT} {y}H{right}M{x} {TOP}V{bottom}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:,.6g}</text>'
        yield f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:,.6g}</text>'


def _dots(y: np.ndarray, predicted: np.ndarray, axis: Axis) -> str:
    dots = "".join(f"M{_x(axis, a)} {_y(axis, b)}h0" for a, b in zip(y.tolist(), predicted.tolist(), strict=True))
    return f'<path class="dots" stroke="{COLOUR}" stroke-opacity=".5" d="{dots}"/>'


def _common_axis(values: np.ndarray) -> Axis:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    margin = 0.03 * (high - low)
    return Axis(low - margin, high + margin, round_ticks(low, high, 5))


def _squares(y: np.ndarray, predicted: np.ndarray, axis: Axis) -> list[str]:
    bottom, range_ = PANEL - BOTTOM, (axis.low, axis.high)
    width, height = (PANEL - RIGHT - LEFT) / BINS, (bottom - TOP) / BINS
    counts, _, _ = np.histogram2d(y, predicted, bins=BINS, range=[range_, range_])
    scale = np.log1p(counts.max())
    return [
        f'<path fill="{COLOUR}" fill-opacity="{0.12 + 0.83 * np.log1p(counts[i, j]) / scale:.2f}" '
        f'd="M{LEFT + width * i:.1f} {bottom - height * (j + 1):.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"/>'
        for i, j in np.argwhere(counts).tolist()
    ]
