"""Rows of every kind for tests of streaming, and a training on them."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

N, N_IN = 53, 6
BATCH = 5  # 11 batches per epoch, the last of 3 rows


def features(kind: str, rng: np.random.Generator) -> np.ndarray:
    X = rng.normal(size=(N, N_IN)) * 50 + 100
    return (X > 100) if kind == "bool" else X.clip(0, 255).astype(kind)


def targets(loss: str, X: np.ndarray) -> np.ndarray:
    score = X[:, :3].astype(np.float64) / 100
    if loss == "softmax_cross_entropy":
        return score.argmax(axis=1)
    return score > 1 if loss.startswith("sigmoid") else score**2


def train(
    backend: cr.Backend,
    stream: bool,
    *,
    kind: str = "float64",
    loss: str = "softmax_cross_entropy",
    standardized: Any = False,
    weighted: bool = False,
    validation: Any = None,
    dtype: str = "float32",
    layout: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Everything that a fit leaves behind except the seconds."""
    rng = np.random.default_rng(6)
    X = features(kind, rng)
    y, weights = targets(loss, X), rng.uniform(0, 2, N) if weighted else None
    net = cr.MLP([N_IN, 7, 3], loss=loss, backend=backend, seed=2, dtype=dtype)
    if standardized:
        net.preparation = cr.Preparation(
            features=cr.Standardization.fit(X.astype(np.float64), limit=standardized),
            targets=cr.Standardization.fit(y) if loss.startswith("squared") else None,
        )
    X = X if layout is None else layout(X)
    before = X.tobytes()
    options = {"batch_size": BATCH, "epochs": 3, "seed": 4} | options
    if validation == "rows":
        validation = (X[:9], y[:9])
    trainer = cr.Trainer(net, cr.Adam(lr=0.01), stream=stream, **options)
    run = trainer.fit(X, y, sample_weight=weights, validation=validation)
    assert X.tobytes() == before
    history = {name: values for name, values in run.history.items() if name != "seconds"}
    arrays = {name: value.tolist() for name, value in net.parameter_arena.download().items()}
    return {"history": history, "stopped": run.stopped, "best": run.best_epoch, "steps": run.steps} | arrays


class Tiny(cr.GuardedBackend):
    """A device with this much free memory."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def free_memory(self) -> int:
        return self.free
