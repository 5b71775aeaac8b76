"""Layers and columns as compiled loops: NumPy's bits, called and recorded, of one net and of several."""

from __future__ import annotations

import numpy as np
import pytest

from replays import Arguments, Draw, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.reference.activations import ACTIVATE

SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (129, 8), (1000, 9), (1001, 1), (2, 1025)]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -100.0, 100.0]
MEMBERS = pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])


# ---- columns --------------------------------------------------------------------------------------------------------


def join(of: Draw, n: int, k: int, shared: str) -> Arguments:
    left = of.shared(n, k) if shared == "left" else of(n, k)
    right = of.shared(n, 3) if shared == "right" else of(n, 3)
    return {"left": left, "right": right, "out": of(n, k + 3)}


def cut(of: Draw, n: int, k: int, first: int) -> Arguments:
    return {"source": of(n, k + 3), "first": first, "out": of(n, k)}


def scale(of: Draw, n: int, k: int, x_of: str) -> Arguments:
    x = of.shared(n, k) if x_of == "all" else of(n, k)
    return {"x": x, "scale": of(k), "out": x if x_of == "out" else of(n, k)}


def scale_gradient(of: Draw, n: int, k: int, x_of: str, dx: str) -> Arguments:
    x = of.shared(n, k) if x_of == "all" else of(n, k)
    dy = of(n, k)
    return {"dy": dy, "x": x, "scale": of(k), "dx": {"": None, "dy": dy, "dx": of(n, k)}[dx], "dscale": of(k)}


@MEMBERS
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_columns(members, dtype, n, k):
    for shared in ("left", "right", ""):
        check_kernel("join_columns", join, members, dtype, n, k, shared)
    for first in (0, 1, 3):
        check_kernel("take_columns", cut, members, dtype, n, k, first)
        check_kernel("add_columns", cut, members, dtype, n, k, first)
    for x_of in ("each", "all", "out"):
        check_kernel("scale_columns", scale, members, dtype, n, k, x_of)
    for x_of in ("each", "all"):
        for dx in ("", "dy", "dx"):
            check_kernel("scale_columns_backward", scale_gradient, members, dtype, n, k, x_of, dx)


# ---- factors below a dense layer ------------------------------------------------------------------------------------


def scaled_dense(of: Draw, n: int, k: int, m: int, x_of: str, in_place: bool) -> Arguments:
    x = of.shared(n, k) if x_of == "all" else of(n, k)
    y = of(n, m)
    z = y if in_place else of(n, m)
    return {"x": x, "scale": of(k), "W": of(k, m), "b": of(m), "activation": "selu", "z": z, "y": y}


def scaled_dense_gradients(of: Draw, n: int, k: int, m: int, x_of: str, wants_dx: bool) -> Arguments:
    x = of.shared(n, k) if x_of == "all" else of(n, k)
    dx = of(n, k) if wants_dx else None
    return {"x": x, "scale": of(k), "W": of(k, m), "dz": of(n, m), "dW": of(k, m), "dscale": of(k), "dx": dx}


@MEMBERS
@pytest.mark.parametrize("m", [1, 5, 40, 300])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_scaled_dense(members, dtype, n, k, m):
    for x_of in ("each", "all"):
        for flag in (False, True):
            check_kernel("scaled_dense", scaled_dense, members, dtype, n, k, m, x_of, flag)
            check_kernel("scaled_dense_backward", scaled_dense_gradients, members, dtype, n, k, m, x_of, flag)


# ---- activations ----------------------------------------------------------------------------------------------------


def with_special_values(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)  # a copy, if members lie apart
    flat[: len(SPECIAL)] = SPECIAL[: flat.size]
    values[...] = flat.reshape(values.shape)
    return values


def activate(of: Draw, n: int, k: int, activation: str, in_place: bool) -> Arguments:
    z = with_special_values(of(n, k))
    return {"activation": activation, "z": z, "out": z if in_place else of(n, k)}


def dense(of: Draw, n: int, k: int, activation: str, in_place: bool) -> Arguments:
    y = of(n, k)
    z, b = y if in_place else of(n, k), with_special_values(of(k))
    return {"x": of(n, 4), "W": of(4, k), "b": b, "activation": activation, "z": z, "y": y}


def activation_gradient(of: Draw, n: int, k: int, activation: str, in_place: bool) -> Arguments:
    saved, dy = with_special_values(of(n, k)), of(n, k)
    return {"activation": activation, "saved": saved, "dy": dy, "dz": dy if in_place else of(n, k), "db": of(k)}


@MEMBERS
@pytest.mark.parametrize("activation", ACTIVATE)
@pytest.mark.parametrize("in_place", [False, True])
def test_activations(members, dtype, activation, in_place):
    for n, k in SHAPES:
        check_kernel("activate", activate, members, dtype, n, k, activation, in_place)
        check_kernel("dense", dense, members, dtype, n, k, activation, in_place)
        check_kernel("activation_backward", activation_gradient, members, dtype, n, k, activation, in_place)
