"""Layer and batch normalisation as compiled loops: NumPy's bits, called and recorded, of one net and of several."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.contract.backend import HALTED, RUNNING
from replays import Arguments, Draw, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

SHAPES = [
    (1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10), (2, 1000), (1, 2301), (2, 1200), (1000, 9), (1001, 1),
    (40, 127), (40, 128), (40, 129), (3, 4099), (1, 64), (9, 8),
]  # fmt: skip # a list
MEMBERS = pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])


def rows(of: Draw, n: int, k: int, value: float = 0) -> np.ndarray:
    """Far from 0; one number is ``value``, unless that is 0."""
    x = of(n, k)
    x[...] = 3 + 2 * x
    x[..., n // 2, k // 2] = value or x[..., n // 2, k // 2]
    return x


def layer(of: Draw, n: int, k: int, value: float) -> Arguments:
    given = {"x": rows(of, n, k, value), "gain": of(k), "bias": of(k), "eps": 1e-5}
    return {**given, "mean": of(n), "inverse_std": of(n), "y": of(n, k)}


def batch(of: Draw, n: int, k: int, value: float, halted: int = RUNNING) -> Arguments:
    state = np.array([3, 1, RUNNING])
    state[HALTED] = halted
    given = {"x": rows(of, n, k, value), "gain": of(k), "bias": of(k), "state": state, "eps": 1e-5, "momentum": 0.1}
    return {**given, **{name: of(k) for name in ("mean", "inverse_std", "running_mean", "running_var")}, "y": of(n, k)}


def inference(of: Draw, n: int, k: int, value: float, in_place: bool) -> Arguments:
    x, var = rows(of, n, k, value), of(k)
    var[...] = abs(var)
    given = {"x": x, "gain": of(k), "bias": of(k), "mean": of(k), "var": var, "eps": 1e-3}
    return {**given, "y": x if in_place else of(n, k)}


def gradients(of: Draw, n: int, k: int, statistics: int, value: float, dx: str) -> Arguments:
    given = {"dy": of(n, k), "x": rows(of, n, k, value), "gain": of(k), "mean": of(statistics)}
    out = {"": None, "dy": given["dy"], "dx": of(n, k)}[dx]
    return {**given, "inverse_std": of(statistics), "dx": out, "dgain": of(k), "dbias": of(k)}


@MEMBERS
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_normalization_has_the_bits_of_numpy(members, dtype, n, k):
    for value in (0, np.nan, np.inf):
        check_kernel("layer_norm", layer, members, dtype, n, k, value)
        for halted in (RUNNING, 2):
            check_kernel("batch_norm", batch, members, dtype, n, k, value, halted)
        for in_place in (False, True):
            check_kernel("batch_norm_inference", inference, members, dtype, n, k, value, in_place)
        for dx in ("", "dy", "dx"):
            check_kernel("layer_norm_backward", gradients, members, dtype, n, k, n, value, dx)
            check_kernel("batch_norm_backward", gradients, members, dtype, n, k, k, value, dx)
