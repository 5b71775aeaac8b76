"""Piecewise-linear encodings as compiled loops: NumPy's bits, called and recorded, of one net and of several."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.numpy.backend import NumPyBackend
from replays import Arguments, Draw, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.compiled import encoded_in_numpy

EDGES: dict[str, tuple[int, list[tuple[float, ...]]]] = {  # columns of x, and edges of the first of them
    "one column": (1, [(-1.0, 0.0, 0.5)]),
    "columns without edges": (5, [(-1.0, -0.25, 0.5, 2.0), (), (0.0, 1.0, 3.0)]),
    "no edges at all": (3, []),
    "many pieces": (4, [tuple(np.linspace(-2, 2, 65)), (), tuple(np.geomspace(0.01, 2, 18)), (0.0, 1.0)]),
}
ROWS = [1, 2, 7, 130]
MEMBERS = pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])
CASES = pytest.mark.parametrize("case", EDGES)


def pieces_of(of: Draw, case: str) -> Pieces:
    n_in, edges = EDGES[case]
    made = cr.PiecewiseLinear(edges).pieces(n_in, of.dtype)
    return Pieces(*(values if values.dtype.kind == "i" else values.astype(of.dtype) for values in made))


def numbers(of: Draw, n: int, case: str, x_of: str) -> np.ndarray:
    """Numbers on both sides of the edges, and some that are not finite."""
    x = of.shared(n, EDGES[case][0]) if x_of == "all" else of(n, EDGES[case][0])
    x[..., n // 2, 0] = [np.nan, np.inf, -np.inf][n % 3]
    return x


def encode(of: Draw, n: int, case: str, x_of: str) -> Arguments:
    pieces = pieces_of(of, case)
    return {"x": numbers(of, n, case, x_of), "pieces": pieces, "y": of(n, pieces.width.size)}


def encode_gradient(of: Draw, n: int, case: str) -> Arguments:
    pieces = pieces_of(of, case)
    m = pieces.width.size
    return {"dy": of(n, m), "y": of(n, m), "pieces": pieces, "dx": of(n, EDGES[case][0])}


@MEMBERS
@CASES
def test_encodings(members, dtype, case):
    for n in ROWS:
        for x_of in ("each", "all"):
            check_kernel("piecewise_linear", encode, members, dtype, n, case, x_of)
        check_kernel("piecewise_linear_backward", encode_gradient, members, dtype, n, case)


# ---- below a dense layer --------------------------------------------------------------------------------------------


def weights(of: Draw, pieces: Pieces, n_out: int) -> np.ndarray:
    """All of the last column's fractions are 0."""
    W = of(pieces.width.size, n_out)
    W[..., pieces.first[np.flatnonzero(np.diff(pieces.first))[-1:]].sum() or len(pieces.width) :, :] = 0
    return W


def encoded(of: Draw, n: int, n_out: int, case: str, x_of: str, flag: bool) -> Arguments:
    pieces = pieces_of(of, case)
    q, y = int((np.diff(pieces.first) > 0).sum()), of(n, n_out)
    return {
        "x": numbers(of, n, case, x_of), "pieces": pieces, "scale": of(pieces.width.size),
        "W": weights(of, pieces, n_out), "b": of(n_out), "activation": "selu" if flag else "identity",
        "z": y if flag else of(n, n_out), "y": y,
        "piece": np.zeros((*of.members, n, q), np.int32), "fraction": of(n, q), "keeps": flag,
    }  # fmt: skip


def encoded_gradients(of: Draw, n: int, n_out: int, case: str, x_of: str, frozen: bool, wants_dx: bool) -> Arguments:
    given = encoded(of, n, n_out, case, x_of, True)
    with NumPyBackend().running():  # some kernels of OpenBLAS warn of infinite numbers
        encoded_in_numpy.encoded_dense(NumPyBackend(), **given)
    kept = {name: given[name] for name in ("x", "pieces", "scale", "W", "piece", "fraction")}
    m, dx = given["W"].shape[-2], of(n, EDGES[case][0]) if wants_dx else None
    return {**kept, "dz": of(n, n_out), "dW": of(m, n_out), "dscale": of(m), "dx": dx, "frozen": frozen}


@MEMBERS
@CASES
@pytest.mark.parametrize("n_out", [1, 37])
def test_encodings_below_a_dense_layer(members, dtype, case, n_out):
    forward, backward = encoded_in_numpy.encoded_dense, encoded_in_numpy.encoded_dense_backward
    for n in ROWS:
        for x_of in ("each", "all"):
            for flag in (False, True):
                options = members, dtype, n, n_out, case, x_of, flag
                check_kernel("encoded_dense", encoded, *options, in_numpy=forward)
                for wants_dx in (False, True):
                    check_kernel("encoded_dense_backward", encoded_gradients, *options, wants_dx, in_numpy=backward)
