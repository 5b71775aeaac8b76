"""Lesson 2: the gradient of a matrix product.

D = W X, with W (5, 10), X (10, 3) and so D (5, 3). A loss L follows, and the backward pass has computed dD, which is
dL/dD and has the shape of D. What are dW and dX? By indices::

    D_ij  = sum_k W_ik X_kj
    dW_ik = sum_j dD_ij X_kj        so    dW = dD X^T
    dX_kj = sum_i W_ik dD_ij        so    dX = W^T dD

W_ik affects row i of D only, once in each column j, with the factor X_kj. The chain rule adds these up.

Run it with ``python examples/lesson2_matrix_product.py [device]``.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np

import chainrule as cr

CPU = cr.backend("cpu")
Shape = tuple[int, int]
SHAPES: dict[str, Shape] = {"W": (5, 10), "X": (10, 3), "dD": (5, 3)}


def forward(W: np.ndarray, X: np.ndarray, be: cr.Backend = CPU) -> np.ndarray:
    """D = W X, computed on the backend."""
    D = be.empty((W.shape[0], X.shape[1]), W.dtype)
    with be.running():
        be.matmul(be.upload(W), be.upload(X), out=D)
    return be.download(D)


def backward(dD: np.ndarray, W: np.ndarray, X: np.ndarray, be: cr.Backend = CPU) -> tuple[np.ndarray, np.ndarray]:
    """dW = dD X^T and dX = W^T dD.   dW has the shape of W, dX that of X, always."""
    dW, dX = be.empty(W.shape, W.dtype), be.empty(X.shape, X.dtype)
    with be.running():
        dD, W, X = be.upload(dD), be.upload(W), be.upload(X)
        be.matmul(dD, X.T, out=dW)
        be.matmul(W.T, dD, out=dX)
    return be.download(dW), be.download(dX)


def numeric(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """dL/dA for every entry of the matrix A = ``at``, by central differences.

    D is linear in W and linear in X. A difference quotient of a straight line is exact for every step, so the step is 1
    and the only error is rounding.
    """
    gradient = np.empty_like(at)
    for entry in np.ndindex(at.shape):
        nudge = np.zeros_like(at)
        nudge[entry] = 1.0
        gradient[entry] = (loss(at + nudge) - loss(at - nudge)) / 2
    return gradient


def largest_errors(be: cr.Backend = CPU, seed: int = 0) -> dict[str, float]:
    """{"dW": ..., "dX": ...}: the largest difference between the two formulas and the numeric gradients.

    With L = sum_ij (dD_ij D_ij) for a random dD, dL/dD is that dD: a gradient as it could come from any loss.
    """
    rng = np.random.default_rng(seed)
    W, X, dD = (rng.standard_normal(SHAPES[name]) for name in ("W", "X", "dD"))
    dW, dX = backward(dD, W, X, be)
    numeric_dW = numeric(lambda moved: float((dD * forward(moved, X, be)).sum()), W)
    numeric_dX = numeric(lambda moved: float((dD * forward(W, moved, be)).sum()), X)
    return {"dW": float(abs(dW - numeric_dW).max()), "dX": float(abs(dX - numeric_dX).max())}


def products_of_shape(wanted: Shape, factors: dict[str, Shape]) -> list[str]:
    """Every product of two of the ``factors``, each as it is or transposed, whose shape is ``wanted``.

    >>> products_of_shape((5, 10), {"dD": (5, 3), "X": (10, 3)})
    ['dD X^T']
    """
    forms = [(name, name, shape) for name, shape in factors.items()]
    forms += [(name, f"{name}^T", shape[::-1]) for name, shape in factors.items()]
    return [
        f"{left} {right}"
        for (left_name, left, a), (right_name, right, b) in itertools.permutations(forms, 2)
        if left_name != right_name and a[1] == b[0] and (a[0], b[1]) == wanted
    ]


def main(be: cr.Backend = CPU) -> None:
    W, X, dD = SHAPES["W"], SHAPES["X"], SHAPES["dD"]
    print(f"forward    D  = W X      {dD} = {W} {X}")
    print(f"backward   dW = dD X^T   {W} = {dD} {X[::-1]}")
    print(f"           dX = W^T dD   {X} = {W[::-1]} {dD}\n")
    print("rule of thumb: the shapes leave no other choice")
    print(f"products of dD and X of shape {W}: {', '.join(products_of_shape(W, {'dD': dD, 'X': X}))}")
    print(f"products of dD and W of shape {X}: {', '.join(products_of_shape(X, {'dD': dD, 'W': W}))}\n")
    square = products_of_shape((4, 4), {"dD": (4, 4), "X": (4, 4)})
    print("and its limit: square matrices fit in every order")
    print(f"products of dD and X of shape (4, 4): {', '.join(square)}\n")
    print("so it is checked: largest difference from the numeric gradient, for a random dD")
    print("   ".join(f"{name} {error:.0e}" for name, error in largest_errors(be).items()))


if __name__ == "__main__":
    main(cr.backend(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
