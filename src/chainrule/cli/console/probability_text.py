"""Probabilities as text of six digits, a hundred thousand at a time: ``f"{p:.6g}"``, to the last character.

Python formats one number in about 0.3 us, so that 40,000 rows of 1,000 classes would take 12 s. Here a probability is
scaled to a whole number of six digits, p = n 10^(e - 5), whose two halves are looked up in tables of characters. The
product with a power of ten is wrong by less than 1e-9 of a unit of the last digit: numbers nearer than that to the
middle between two texts, and those that no probability is, are left to Python.
"""

from __future__ import annotations

import numpy as np

CELL = 20  # bytes: the separator, "0.000", three digits with a point, three digits, "e-10"; what is not used is 0
SMALLEST, MOST = 1e-98, 99  # smaller ones have three digits of exponent
NEAR_MIDDLE = 1e-6  # of a unit of the last digit
WORD, PAIR = np.dtype("u4"), np.dtype("u8")


def _words(texts: list[str], dtype: np.dtype) -> np.ndarray:
    """Texts of up to 4 or 8 characters as numbers with these bytes, filled with zeros."""
    return np.array([text.encode() for text in texts], f"S{dtype.itemsize}").view(dtype)


def _triples(*, point: bool, strip: bool) -> list[str]:
    """The texts of 0 to 999: three digits, with a ``point`` behind the first, without zeros at the end (``strip``)."""
    texts = []
    for n in range(1000):
        first, others = f"{n:03}"[0], f"{n:03}"[1:].rstrip("0" if strip else "")
        texts.append(f"{first}.{others}" if point and (others or not strip) else first + others)
    texts[0] = "" if strip and not point else texts[0]
    return texts


# By -e: what stands before the digits; a probability of 0 comes last, as ",0" without digits.
BEFORE = _words([",", *(f",0.{'0' * j}" for j in range(4)), *[","] * (MOST - 4), ",0"], PAIR)
AFTER = _words([*[""] * 5, *(f"e-{j:02}" for j in range(5, MOST + 1)), ""], WORD)
FIRST = _words(
    [text for strip in (False, True) for point in (False, True) for text in _triples(point=point, strip=strip)], WORD
)
LAST = _words(_triples(point=False, strip=True), WORD)
ZERO = MOST + 1


def probability_cells(values: np.ndarray) -> np.ndarray:
    """(n, k) probabilities as (n, k, 20) uint8: of each ``,`` and its text, among bytes of 0 that are to be deleted."""
    p = np.asarray(values, np.float64)
    zero = (p == 0) & ~np.signbit(p)
    usual = (p >= SMALLEST) & (p <= 1)
    exponent = np.floor(np.log10(np.where(usual, p, 1.0)))
    scaled = np.where(usual, p, 1.0) * 10.0 ** (5 - exponent)
    rounded = np.rint(scaled)
    for_python = ~(usual | zero) | (np.abs(np.abs(scaled - rounded) - 0.5) < NEAR_MIDDLE)
    carried = rounded >= 1e6  # also if log10 was too low beside a power of ten
    n = np.where(carried, 100_000, rounded).astype(np.int32)
    small = np.where(zero, ZERO, (-exponent).astype(np.int32) - carried)
    high = n // 1000
    low = n - 1000 * high
    # A zero has the digits of 0 without a point, of which nothing is left.
    variant = np.where(zero, 2000, 1000 * (small > 4) + 2000 * (low == 0))
    high, low = np.where(zero, 0, high), np.where(zero, 0, low)
    out = np.empty((*p.shape, CELL // WORD.itemsize), WORD)
    out[..., :2] = BEFORE[small].view(WORD).reshape(*p.shape, 2)
    out[..., 2], out[..., 3], out[..., 4] = FIRST[variant + high], LAST[low], AFTER[small]
    cells = out.view(np.uint8).reshape(*p.shape, CELL)
    for at in zip(*np.nonzero(for_python), strict=True):
        cells[at] = np.frombuffer(f",{p[at]:.6g}".encode().ljust(CELL, b"\0"), np.uint8)
    return cells


def text_of(cells: np.ndarray) -> str:
    """The characters of cells, without the bytes of 0."""
    return cells.tobytes().translate(None, b"\0").decode("ascii")
