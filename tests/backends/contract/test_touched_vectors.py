"""Optimisers that update some vectors of a table alone: those have the bits of the whole update, the others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.memory import CHUNK

SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.2}
ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
OPTIMISERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "sgd": ("sgd", 0, SGD),
    "nesterov": ("sgd", 1, SGD | {"momentum": 0.8, "nesterov": True}),
    "adam": ("adam", 2, ADAM),
    "adam, decay": ("adam", 2, ADAM | {"weight_decay": 0.2}),
    "adamw": ("adam", 2, ADAM | {"weight_decay": 0.2, "decoupled": True}),
}
MARKS = {
    "none": lambda rng, r: np.zeros(r),
    "all": lambda rng, r: np.ones(r),
    "some": lambda rng, r: rng.integers(0, 2, r),
    "the last": lambda rng, r: np.arange(r) == r - 1,
}


def arrays_of(rng: np.random.Generator, n_moments: int, size: int, dtype: str) -> list[np.ndarray]:
    """Parameters, gradients, moments."""
    return [np.abs(rng.normal(size=size)).astype(dtype) for _ in range(2 + n_moments)]


def updated(
    backend: Any, memory: Any, name: str, arrays: list[np.ndarray], touched: Any, halted: int, **more: Any
) -> list[Any]:
    kernel, n_moments, options = OPTIMISERS[name]
    given = [memory.array(array) for array in arrays]
    velocity = [] if n_moments else [None]
    state = memory.state(step=3, halted=halted)
    marks = {} if touched is None else {"touched": memory.array(touched, "float32")}
    lr = memory.array([0.1])
    getattr(backend, kernel)(*given, *velocity, lr, state, lr_factor=0.5, **options, **marks, **more)
    return [memory.read(array) for array in given]


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_touched_vectors_are_updated_and_no_others(backend, memory, rng, dtype, name, marks):
    for vectors, width in ((1, 1), (5, 3), (70, 33), (3, CHUNK + 1)):
        arrays = arrays_of(rng, OPTIMISERS[name][1], vectors * width, dtype)
        touched = np.asarray(MARKS[marks](rng, vectors), np.float32)
        whole = updated(backend, memory, name, arrays, None, RUNNING)
        found = updated(backend, memory, name, arrays, touched, RUNNING)
        for before, all_updated, after in zip(arrays, whole, found, strict=True):
            of_vectors = [a.reshape(vectors, width) for a in (all_updated, before)]
            want = np.where(touched[:, None] != 0, *of_vectors)
            np.testing.assert_array_equal(after, want.reshape(-1), f"{vectors} vectors of {width}")


@pytest.mark.parametrize("name", OPTIMISERS)
def test_factors_of_touched_vectors_are_kept_those_of_the_parameters(backend, memory, rng, dtype, name):
    for vectors, width in ((5, 3), (70, 33)):
        arrays = arrays_of(rng, OPTIMISERS[name][1], vectors * width, dtype)
        factors = memory.array(arrays[0], backend.storage(dtype))
        found = updated(backend, memory, name, arrays, np.arange(vectors) % 2, RUNNING, factors=factors)
        np.testing.assert_array_equal(memory.read(factors), found[0])
        assert (found[0] != arrays[0]).any()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_touched_vectors_of_a_run_that_has_halted_stay(backend, memory, rng, dtype, name):
    params, grads, *moments = arrays_of(rng, OPTIMISERS[name][1], 12, dtype)
    grads[4] = np.nan
    found = updated(backend, memory, name, [params, grads, *moments], np.ones(3), halted=2)
    np.testing.assert_array_equal(found[0], params)
