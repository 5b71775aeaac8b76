"""Lesson 1: the chain rule on scalars.

f(x, y, z) = (x + y)(x + z), with a name for every intermediate result::

    y ---(+)--- p ---.
          |           \
    x ----+           (*)--- f
          |           /
    z ---(+)--- q ---'

Forward, from left to right, computes p, q and f and *keeps* p and q. Backward, from right to left, computes for every
name v the number dv, which stands for df/dv: what a small change of v does to f. A node knows only its own formula;
it multiplies the gradient from the right by its local derivative and passes it on to the left.

Run it with ``python examples/lesson1_scalars.py [device]``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import chainrule as cr

CPU = cr.backend("cpu")
POINT = {"x": -3.0, "y": 2.0, "z": 5.0}


def forward(x: Any, y: Any, z: Any) -> tuple[Any, tuple[Any, Any]]:
    """f = p q with p = x + y and q = x + z; and what the backward pass needs, which is (p, q)."""
    p = x + y
    q = x + z
    return p * q, (p, q)


def backward(df: Any, kept: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """(dx, dy, dz) from df = df/df = 1.

    f = p q     df/dp = q    df/dq = p
    p = x + y   dp/dx = 1    dp/dy = 1
    q = x + z   dq/dx = 1    dq/dz = 1
    """
    p, q = kept
    dp = df * q
    dq = df * p
    dx = dp * 1 + dq * 1  # x reaches f by two paths: their gradients are added
    dy = dp * 1
    dz = dq * 1
    return dx, dy, dz


def gradient(point: dict[str, float], be: cr.Backend = CPU) -> dict[str, float]:
    """f, p and q at ``point``, and df/dx, df/dy, df/dz by the chain rule.

    Every number is an array of one element on the backend's device, and is downloaded once all are computed.
    """
    with be.running():
        x, y, z, df = (be.upload([value], np.float64) for value in (*point.values(), 1.0))
        f, (p, q) = forward(x, y, z)
        dx, dy, dz = backward(df, (p, q))
    named = {"p": p, "q": q, "f": f, "dx": dx, "dy": dy, "dz": dz}
    return {name: float(be.download(array)[0]) for name, array in named.items()}


def complex_step(point: dict[str, float], be: cr.Backend = CPU, h: float = 1e-30) -> dict[str, float]:
    """The same three derivatives from the forward pass alone: df/dx = Im f(x + i h, y, z) / h.

    f(x + i h) = f(x) + i h f'(x) - h^2 f''(x) / 2 - ...: the derivative is alone in the imaginary part. Nothing is
    subtracted, so h can be so small that the neglected terms are smaller than any rounding error.
    """
    derivatives = {}
    for name, value in point.items():
        moved = {**point, name: value + 1j * h}
        with be.running():
            f, _ = forward(*(be.upload([v], np.complex128) for v in moved.values()))
        derivatives[f"d{name}"] = float(be.download(f)[0].imag / h)
    return derivatives


def step_sizes(t: float = 0.5) -> list[tuple[float, float, float]]:
    """(h, error of the central difference, error of the complex step), relative, for the derivative of tanh at t.

    central difference   (tanh(t + h) - tanh(t - h)) / (2 h)     curvature if h is large, cancellation if it is small
    complex step         Im tanh(t + i h) / h                    the smaller the better

    The function above is too simple to show the first error: its third derivatives are 0.
    """
    exact = 1 - np.tanh(t) ** 2
    rows = []
    for h in (1e-1, 1e-3, 1e-5, 1e-8, 1e-11, 1e-14, 1e-30):
        central = (np.tanh(t + h) - np.tanh(t - h)) / (2 * h)
        by_complex_step = np.tanh(t + 1j * h).imag / h
        rows.append((h, abs(central - exact) / exact, abs(by_complex_step - exact) / exact))
    return rows


def main(be: cr.Backend = CPU) -> None:
    found, numeric = gradient(POINT, be), complex_step(POINT, be)
    x, y, z = POINT.values()
    print(f"f(x, y, z) = (x + y)(x + z) at x = {x:g}, y = {y:g}, z = {z:g}\n")
    print("forward ", _listed({name: found[name] for name in ("p", "q", "f")}))
    print("backward", _listed({name: found[name] for name in ("dx", "dy", "dz")}), "  by the chain rule")
    print("        ", _listed(numeric), "  by complex step\n")
    print("derivative of tanh at 0.5, relative error:\n")
    print("h         central difference   complex step")
    for h, central, by_complex_step in step_sizes():
        print(f"{h:<9.0e} {central:<20.0e} {by_complex_step:.0e}")


def _listed(numbers: dict[str, float]) -> str:
    return "   ".join(f"{name} = {number:g}" for name, number in numbers.items())


if __name__ == "__main__":
    main(cr.backend(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
