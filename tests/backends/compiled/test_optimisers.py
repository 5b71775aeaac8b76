"""Compiled loops of optimisers work through members one by one, with the bits of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend

pytest.importorskip("numba", reason="numba is not installed")

ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}


def updated(backend: Any, dtype: str, kind: str) -> list[bytes]:
    """Parameters and moments after three updates of a part of the arena of three members."""
    rng = np.random.default_rng(3)
    arenas = [np.abs(rng.normal(size=(3, 40))).astype(dtype) for _ in range(4)]
    params, grads, m, v = (arena[:, 8:33] for arena in arenas)
    lr, state = np.full(3, 0.1), np.array([2, 1, RUNNING])
    for _ in range(3):
        if kind == "adam":
            backend.adam(params, grads, m, v, lr, state, lr_factor=0.5, **ADAM)
        else:
            backend.sgd(params, grads, m if kind == "momentum" else None, lr, state, lr_factor=0.5, **SGD)
    return [arena.tobytes() for arena in arenas]


@pytest.mark.parametrize("kind", ["adam", "momentum", "sgd"])
def test_optimisers_of_members_have_the_bits_of_numpy_and_do_not_fall_back_to_it(monkeypatch, dtype, kind):
    if kind == "sgd":
        monkeypatch.setitem(SGD, "momentum", 0.0)
    want, backend = updated(NumPyBackend(), dtype, kind), compiled.loaded()
    for name in ("adam", "sgd"):
        monkeypatch.setattr(NumPyBackend, name, lambda *_, **__: pytest.fail("NumPy's passes did it"))
    assert updated(backend, dtype, kind) == want
