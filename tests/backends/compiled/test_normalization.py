"""Compiled loops of dropout, layer and batch normalisation have the bits of NumPy's passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend

SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10), (2, 1000), (1, 2301), (2, 1200), (1000, 9)]


def results(backend: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> list[bytes]:
    """All bits that the methods leave behind."""
    x = (3 + 2 * rng.normal(size=shape)).astype(dtype)
    gain, bias, dy = (rng.normal(size=size).astype(dtype) for size in (shape[1], shape[1], shape))
    by_row, by_column = ([np.empty(length, dtype) for _ in range(2)] for length in shape)
    running, back = [gain.copy(), np.abs(bias)], [np.empty(shape[1], dtype) for _ in range(2)]
    y, dx, state, seen = x.copy(), dy.copy(), np.array([3, 1, RUNNING]), []
    options = {"eps": 1e-5, "y": y}

    def see(*arrays: np.ndarray) -> None:
        seen.extend(array.tobytes() for array in arrays)

    with backend.running():
        backend.dropout(x, state, key=(5, 2**32 - 3), counter=(7, 3), rate=0.3, out=y)
        see(y)
        backend.layer_norm(x, gain, bias, mean=by_row[0], inverse_std=by_row[1], **options)
        see(y, *by_row)
        backend.batch_norm(
            x,
            gain,
            bias,
            state,
            momentum=0.1,
            mean=by_column[0],
            inverse_std=by_column[1],
            running_mean=running[0],
            running_var=running[1],
            **options,
        )
        see(y, *by_column, *running)
        backend.batch_norm_inference(x, gain, bias, *running, **options)
        see(y)
        for kind, statistics_ in (("layer", by_row), ("batch", by_column)):
            for out in (None, y, dx):
                given = dx if out is dx else dy
                dgain, dbias = back
                getattr(backend, f"{kind}_norm_backward")(
                    given, x, gain, *statistics_, dx=out, dgain=dgain, dbias=dbias
                )
                see(y, dx, *back)
    return seen


def test_dropout_and_normalization_have_the_bits_of_numpy(dtype):
    pytest.importorskip("numba", reason="numba is not installed")
    for shape in [*SHAPES, (40, 128), (40, 129), (3, 4099), (1, 64)]:
        one, other = (results(be, np.random.default_rng(4), shape, dtype) for be in (NumPyBackend(), compiled.loaded()))
        assert one == other, shape
