"""Print the coefficients in ``backends/reference/normal_tail.py``
and how far the polynomials are from what they approximate.

    python benchmarks/golden/make_normal_tail.py        # needs mpmath

With a = 4 (1 + t) / (1 - t), the function (a + 4) Q(a) exp(a^2 / 2) of t is smooth on the whole of [-1, 1], a = 0 to
infinity. So its expansion in Chebyshev polynomials, cut off, is within a hair of the best polynomial there is. Powers
of t are as good, since none of its coefficients is large.
Source: Shepherd, Laframboise 1981, Mathematics of Computation 36, page 249.
"""

from __future__ import annotations

import mpmath as mp

SHIFT = 4
DEGREES = {"float32": 11, "float64": 25}
POINTS = 400

mp.mp.dps = 60


def scaled_tail(t: mp.mpf) -> mp.mpf:
    """(a + 4) Q(a) exp(a^2 / 2)."""
    a = SHIFT * (1 + t) / (1 - t)
    if a < 1000:
        return (a + SHIFT) * mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2
    series = mp.mpf(1)
    term = mp.mpf(1)
    for k in range(1, 20):
        term *= -(2 * k - 1) / (a * a)
        series += term
    return (a + SHIFT) / a * series / mp.sqrt(2 * mp.pi)


def expansion(degree: int) -> list[mp.mpf]:
    """The coefficients of the Chebyshev polynomials up to ``degree``."""
    angles = [mp.pi * (k + mp.mpf(1) / 2) / POINTS for k in range(POINTS)]
    values = [scaled_tail(mp.cos(angle)) for angle in angles]
    sums = [
        sum(v * mp.cos(j * angle) for v, angle in zip(values, angles, strict=True)) * 2 / POINTS
        for j in range(degree + 1)
    ]
    return [sums[0] / 2, *sums[1:]]


def powers(chebyshev: list[mp.mpf]) -> list[mp.mpf]:
    """The same polynomial in powers of t, that of t^0 first."""
    before, polynomial = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]
    total = [mp.mpf(0)] * len(chebyshev)
    for coefficient in chebyshev:
        for i, c in enumerate(before):
            total[i] += coefficient * c
        following = [mp.mpf(0), *(2 * c for c in polynomial)]
        for i, c in enumerate(before):
            following[i] -= c
        before, polynomial = polynomial, following
    return total


def main() -> None:
    for dtype, degree in DEGREES.items():
        found = powers(expansion(degree))
        print(f"{dtype}:")
        for parity in (1, 0):
            print("odd" if parity else "even", ", ".join(f"{float(c)!r}" for c in reversed(found[parity::2])))
        points = [mp.mpf(k) / 1000 for k in range(-1000, 1000)]
        error = max(abs(mp.polyval(list(reversed(found)), t) / scaled_tail(t) - 1) for t in points)
        print("largest relative error", float(error))


if __name__ == "__main__":
    main()
