"""Pictures of how well a net predicts, as SVG text: a confusion matrix, and predicted against true numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.plots.svg import BLUE, Axis, document, is_drawn, round_ticks, shown

COLOUR = "#" + "".join(f"{part:02x}" for part in BLUE)
LARGEST_CELL, SMALLEST_CELL, ROOM = 48, 16, 560  # of a confusion matrix, in pixels
LETTER = 7.2  # its mean width
LONGEST_NAME = 24  # characters
MOST_CLASSES = 40  # more would leave no room for counts
DARK = 0.55  # of a cell from which on its count is white
PANEL, LEFT, RIGHT, TOP, BOTTOM = 440, 76, 20, 44, 56  # of predictions; the panel is square
PANELS_A_ROW, MOST_PANELS = 3, 9
MOST_POINTS = 2000  # more are counted in squares
SQUARES = 64  # along an axis


def draw_confusion(counts: np.ndarray, names: Sequence[str], *, title: str = "confusion matrix") -> str:
    """A heat map: a row for each true class, a column for each predicted one, shaded by the share of its row.

    Parameters
    ----------
    counts : (k, k) numbers of rows, true classes down and predicted ones across
    names : of the classes; where there are more than 40, the 39 with most rows are shown and the others as one
    """
    counts, names = merge_rare(np.asarray(counts), names, MOST_CLASSES)
    k = len(names)
    cell = max(SMALLEST_CELL, min(LARGEST_CELL, ROOM // k))
    longest = max(min(len(name), LONGEST_NAME) for name in names) * LETTER
    left, top = int(40 + longest), int(76 + longest * 0.75)
    body = [
        f'<text class="title" x="16" y="26">{shown(title)}</text>',
        f'<text x="{left + cell * k / 2}" y="48" text-anchor="middle">predicted</text>',
        f'<text text-anchor="middle" transform="translate(18 {top + cell * k / 2}) rotate(-90)">true</text>',
    ]
    small = f' style="font-size:{min(13, cell // 2 + 2)}px"' if cell < 26 else ""
    for i, name in enumerate(names):
        middle = cell * i + cell / 2
        text = shown(name, LONGEST_NAME)
        body.append(f'<text{small} x="{left - 8}" y="{top + middle + 4}" text-anchor="end">{text}</text>')
        body.append(f'<text{small} transform="translate({left + middle + 3} {top - 8}) rotate(-45)">{text}</text>')
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i, j in np.argwhere(counts).tolist():
        x, y, share, number = left + cell * j, top + cell * i, float(shares[i, j]), f"{int(counts[i, j]):,}"
        body.append(
            f'<path fill="{COLOUR}" fill-opacity="{0.06 + 0.9 * share:.3f}" d="M{x} {y}h{cell}v{cell}h{-cell}z">'
            f"<title>{shown(names[i])} as {shown(names[j])}: {number} ({share:.1%} of its rows)</title></path>"
        )
        size = min(13.0, 1.6 * cell / max(3, len(number)))
        light = ";fill:#fff" if share > DARK else ""
        body.append(
            f'<text x="{x + cell / 2}" y="{y + cell / 2 + size / 3:.1f}" text-anchor="middle"'
            f' style="font-size:{size:.1f}px{light}">{number}</text>'
        )
    lines = "".join(f"M{left} {top + cell * i}h{cell * k}M{left + cell * i} {top}v{cell * k}" for i in range(k + 1))
    body.append(f'<path class="grid" fill="none" d="{lines}"/>')
    return document(body, int(left + cell * k + max(24, longest * 0.75)), top + cell * k + 24, title)


def merge_rare(counts: np.ndarray, names: Sequence[str], most: int) -> tuple[np.ndarray, list[str]]:
    """At most so many classes: those with most rows in their order, then all others as one."""
    k = len(names)
    if k <= most:
        return counts, list(names)
    kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[: most - 1])
    to = np.full(k, most - 1)
    to[kept] = np.arange(most - 1)
    merged = np.zeros((most, most), counts.dtype)
    np.add.at(merged, (to[:, None], to[None, :]), counts)
    return merged, [*(names[i] for i in kept), f"{k - most + 1} others"]


def draw_predictions(
    y: np.ndarray, predicted: np.ndarray, names: Sequence[str] = (), *, title: str = "predicted against true"
) -> str:
    """A panel a target column: true numbers across, predicted ones upwards, and the line where both are the same.

    More than 2,000 rows are counted in squares, darker where there are more (by the logarithm of the count).

    Parameters
    ----------
    y, predicted : (n,) or (n, k); the first 9 columns are drawn
    names : of the columns, for their titles
    """
    y, predicted = (np.asarray(a, np.float64).reshape(len(y), -1) for a in (y, predicted))
    k = min(y.shape[1], MOST_PANELS)
    columns = min(k, PANELS_A_ROW)
    body = []
    for j in range(k):
        name = names[j] if j < len(names) else title
        if j == k - 1 and y.shape[1] > k:
            name += f" (and {y.shape[1] - k} more)"
        body += [
            f'<g transform="translate({PANEL * (j % columns)} {PANEL * (j // columns)})">',
            *_panel(y[:, j], predicted[:, j], name), "</g>",
        ]  # fmt: skip
    return document(body, PANEL * columns, PANEL * -(-k // columns), title)


def _panel(y: np.ndarray, predicted: np.ndarray, title: str) -> list[str]:
    there = np.array([is_drawn(a) and is_drawn(b) for a, b in zip(y.tolist(), predicted.tolist(), strict=True)], bool)
    n_left_out = int((~there).sum())
    y, predicted = y[there], predicted[there]
    axis = _common_axis(np.concatenate([y, predicted]) if len(y) else np.zeros(1))
    right, bottom = PANEL - RIGHT, PANEL - BOTTOM
    side = right - LEFT
    height = bottom - TOP

    def across(value: float) -> float:
        return round(LEFT + axis.fraction(value) * side, 1)

    def up(value: float) -> float:
        return round(bottom - axis.fraction(value) * height, 1)

    parts = [f'<text class="title" x="{LEFT}" y="24">{shown(title, 40)}</text>']
    for tick in axis.ticks:
        parts += [
            f'<path class="grid" d="M{LEFT} {up(tick)}H{right}M{across(tick)} {TOP}V{bottom}"/>',
            f'<text x="{LEFT - 8}" y="{up(tick) + 4}" text-anchor="end">{tick:,.6g}</text>',
            f'<text x="{across(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:,.6g}</text>',
        ]
    what = f"{len(y):,} rows" + (f", {n_left_out:,} beyond the picture left out" if n_left_out else "")
    if len(y) > MOST_POINTS:
        what += ", counted in squares: darker is more"
        parts += _squares(y, predicted, axis, side / SQUARES, height / SQUARES, bottom)
    else:
        dots = "".join(f"M{across(a)} {up(b)}h0" for a, b in zip(y.tolist(), predicted.tolist(), strict=True))
        parts.append(f'<path class="dots" stroke="{COLOUR}" stroke-opacity=".5" d="{dots}"/>')
    return [
        *parts,
        f'<path class="best" d="M{LEFT} {bottom}L{right} {TOP}"/>',
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>',
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 36}" text-anchor="middle">true</text>',
        f'<text transform="translate(16 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">predicted</text>',
        f'<text x="{right}" y="{bottom + 50}" text-anchor="end" style="font-size:11px">{what}</text>',
    ]


def _common_axis(values: np.ndarray) -> Axis:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    margin = 0.03 * (high - low)
    return Axis(low - margin, high + margin, round_ticks(low, high, 5))


def _squares(y: np.ndarray, predicted: np.ndarray, axis: Axis, width: float, height: float, bottom: int) -> list[str]:
    range_ = (axis.low, axis.high)
    counts, _, _ = np.histogram2d(y, predicted, bins=SQUARES, range=[range_, range_])
    scale = np.log1p(counts.max())
    return [
        f'<path fill="{COLOUR}" fill-opacity="{0.12 + 0.83 * np.log1p(counts[i, j]) / scale:.2f}" '
        f'd="M{LEFT + width * i:.1f} {bottom - height * (j + 1):.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"/>'
        for i, j in np.argwhere(counts).tolist()
    ]
