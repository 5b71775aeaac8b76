"""Parts of all plots, as SVG: colours for light and dark mode, axes with round ticks, escaped names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from chainrule.plain_text import printable

BLUE, ORANGE = (0x2F, 0x6F, 0xB5), (0xC8, 0x64, 0x1E)  # also distinct to colour-blind readers
MAX_VALUE = 1e300
DECADES = 1.5  # a loss that spans more than this many powers of ten is drawn on a logarithmic axis

STYLE = (
    "svg{font:13px system-ui,sans-serif;background:#fff;color:#222}text{fill:currentColor}"
    ".axis{stroke:currentColor;stroke-opacity:.55}.grid{stroke:currentColor;stroke-opacity:.12}"
    ".best{stroke:currentColor;stroke-opacity:.5;stroke-dasharray:3 3}.dots{stroke-width:5;stroke-linecap:round}"
    ".kept{fill:none;stroke:currentColor;stroke-width:2}"
    ".title{font-weight:600;font-size:15px}"
    "@media(prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}}"
)


def document(body: Sequence[str], width: int, height: int, title: str) -> str:
    """The SVG document around ``body``."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escaped(title)}</title><style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"
    )


def escaped(text: str, longest: int | None = None) -> str:
    """``text`` escaped for XML, without control characters, and cut to ``longest`` characters."""
    text = text if longest is None or len(text) <= longest else f"{text[: longest - 1]}\u2026"
    return escape(printable(text))


class Axis(NamedTuple):
    """A range of values, the ticks on it, and whether it is logarithmic."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def fraction(self, value: float) -> float:
        """The position of ``value`` between ``low`` (0) and ``high`` (1)."""
        if self.logarithmic:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def colours(count: int) -> list[str]:
    """From blue to orange, so that colours show the order of the curves."""
    shares = [i / max(1, count - 1) for i in range(count)]
    mixed = [[round(a + (b - a) * share) for a, b in zip(BLUE, ORANGE, strict=True)] for share in shares]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in mixed]


def is_drawn(value: float) -> bool:
    """Whether a value is finite, and small enough that differences are finite too."""
    return abs(value) < MAX_VALUE


def value_axis(values: Sequence[float]) -> Axis:
    """An axis around the finite values: logarithmic if they are positive and span decades."""
    finite = [v for v in values if is_drawn(v)] or [0.0]
    low, high = min(finite), max(finite)
    if low > 0 and math.log10(high / low) > DECADES:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Axis(low, high, tuple(t for e in range(first, last + 1) if low <= (t := 10.0**e) <= high), True)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    return Axis(low, high, round_ticks(low, high, 5))


def round_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten within the range."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return tuple(k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))
