"""Within a step nothing is allocated, nothing is looked at, and what varies lies in device memory.

A guarded backend replays steps from a record and refuses the rest: a trainer that broke the law would fail on it, or
train something else than on NumPy. On the CPU the same law is speed, measured in new memory a step.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.optim.base import Optimizer
from chainrule.train.fit import Fit
from chainrule.train.settings import TrainingSettings

N, N_IN = 53, 6
NEW_MEMORY = 64 * 1024  # bytes a step may ask for


class Looks(cr.Callback):
    every = 3


@dataclass
class Setting:
    """One way to train; the defaults shuffle, and leave a ragged last batch of 5 rows."""

    loss: str = "softmax_cross_entropy"
    optimizer: Optimizer = field(default_factory=lambda: cr.Adam(lr=0.01))
    hidden: tuple[int, ...] = (9, 8)
    n_out: int = 3
    activation: str = "relu"
    weighted: bool = False
    validation: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)  # beside the dense ones, as MLP takes them

    def rows(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
        X = rng.normal(size=(n, N_IN))
        if self.loss == "softmax_cross_entropy":
            y = rng.integers(0, self.n_out, n)
        else:
            y = rng.integers(0, 2, (n, self.n_out)) if self.loss == "sigmoid_cross_entropy" else X[:, : self.n_out] ** 2
        return (X, y, rng.uniform(0, 2, n)) if self.weighted else (X, y)

    def train(self, backend: cr.Backend, dtype: str, *, epochs: int = 3) -> tuple[cr.MLP, cr.Run]:
        rng = np.random.default_rng(5)
        X, y, *weights = self.rows(rng, N)
        net = cr.MLP(
            [N_IN, *self.hidden, self.n_out],
            activation=self.activation,
            loss=self.loss,
            backend=backend,
            dtype=dtype,
            seed=7,
            **self.layers,
        )
        options = {"batch_size": 12, "epochs": epochs, "seed": 3} | self.options
        validation = self.rows(rng, 17) if self.validation == "rows" else self.validation
        run = cr.Trainer(net, self.optimizer, **options).fit(
            X, y, sample_weight=(*weights, None)[0], validation=validation
        )
        return net, run


SETTINGS = {
    "softmax, adam": Setting(),
    "sigmoid, momentum": Setting("sigmoid_cross_entropy", cr.SGD(lr=0.1, momentum=0.9), activation="tanh"),
    "squared error, sgd": Setting("squared_error", cr.SGD(lr=0.01)),
    "summed squared error, nesterov": Setting(
        "squared_error_sum", cr.SGD(lr=1e-3, momentum=0.8, nesterov=True, weight_decay=0.01), activation="sigmoid"
    ),
    "adamw, clipped": Setting(optimizer=cr.AdamW(lr=0.01, clip_norm=0.1), activation="tanh"),
    "gelu, adamw": Setting(optimizer=cr.AdamW(lr=0.01), activation="gelu"),
    "adam, decay, groups": Setting(
        optimizer=cr.Adam(
            lr=0.01, weight_decay=0.1, groups=[cr.ParameterGroup("dense0.*", lr_factor=0.1, decay_factor=2.0)]
        )
    ),
    "weights": Setting(weighted=True),
    "weights, summed loss": Setting("squared_error_sum", cr.SGD(lr=1e-3, clip_norm=5.0), weighted=True),
    "no shuffle": Setting(options={"shuffle": False}),
    "ragged batch dropped": Setting(options={"drop_last": True}),
    "no ragged batch": Setting(options={"batch_size": N}),
    "batches of one row": Setting(options={"batch_size": 1}),
    "a fraction held out": Setting(validation=0.3, options={"early_stopping": cr.EarlyStopping(patience=1)}),
    "validation rows": Setting("squared_error", validation="rows", weighted=True),
    "cosine with warm-up": Setting(optimizer=cr.SGD(lr=cr.Cosine(0.1, warmup=0.3, final=0.01), momentum=0.5)),
    "constant with warm-up": Setting(optimizer=cr.AdamW(lr=cr.Constant(0.01, warmup=0.5))),
    "averages, accumulated": Setting(
        "sigmoid_cross_entropy",
        cr.AdamW(lr=cr.OneCycle(0.02), clip_norm=0.1),
        weighted=True,
        validation=0.3,
        options={"accumulate": 3, "ema": 0.9},
    ),
    "accumulated, summed loss": Setting(
        "squared_error_sum",
        cr.SGD(lr=cr.Plateau(1e-3, patience=1, factor=0.5), momentum=0.5),
        options={"accumulate": 2, "drop_last": True},
    ),
    "no hidden layer, one output": Setting("sigmoid_cross_entropy", hidden=(), n_out=1),
    "loss alone": Setting(options={"metrics": False}),
    "steps looked at, further metrics": Setting(
        validation=0.3, options={"callbacks": [Looks()], "metrics": ["log_loss"], "monitor": "valid_log_loss"}
    ),
    "dropout": Setting(layers={"dropout": 0.3}),
    "layer norm, residual, weights": Setting(
        hidden=(9, 9), layers={"normalization": "layer", "residual": True}, weighted=True
    ),
    # Not Adam: a batch's mean takes a bias away, of its gradient only roundings are left, and it makes steps of them.
    "batch norm, validation": Setting(
        optimizer=cr.SGD(0.05, momentum=0.5), layers={"normalization": "batch"}, validation="rows"
    ),
    "all layers": Setting(
        "squared_error",
        cr.SGD(0.01),
        hidden=(9, 9, 8),
        activation="tanh",
        weighted=True,
        layers={"normalization": "batch", "residual": True, "dropout": 0.2},
    ),
}


def outcome(net: cr.MLP, run: cr.Run) -> dict[str, Any]:
    """All that training left behind, but for the time that it took."""
    history = {name: values for name, values in run.history.items() if name != "seconds"}
    weights = {name: value.tolist() for name, value in net.parameter_arena.download().items()}
    return {"history": history, "stopped": run.stopped, "best": run.best_epoch, "steps": run.steps} | weights


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SETTINGS)
def test_guarded_training_has_the_bits_of_numpy(name, dtype):
    setting = SETTINGS[name]
    plain, guarded = (outcome(*setting.train(be, dtype)) for be in (cr.backend("cpu"), cr.GuardedBackend()))
    assert guarded == plain


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_backends_agree_after_100_steps(backend, name, dtype, tolerance, request):
    """A simulated device makes 20: the campaign of agreement makes 1,000 on it."""
    setting = SETTINGS[name]
    epochs = 2 if setting.options.get("batch_size") == 1 else 100 if "no ragged batch" in name else 20
    if setting.layers:
        epochs = 5  # more launches a step, and in each of them blocks of 256 threads
    if "simulated" in request.node.name:
        epochs = min(epochs, 4)
    plain, plain_run = setting.train(cr.backend("cpu"), dtype, epochs=epochs)
    net, run = setting.train(backend, dtype, epochs=epochs)
    assert run.steps == plain_run.steps
    for name_, value in net.parameter_arena.download().items():
        expected = plain.parameter_arena.download()[name_]
        assert np.abs(value - expected).max() <= tolerance * max(1.0, np.abs(expected).max()), name_


OPTIMIZERS = {"sgd": cr.SGD(), "nesterov": cr.SGD(momentum=0.9, nesterov=True), "adamw": cr.AdamW(clip_norm=1.0)}
LOSSES = ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"]
DIGITS, PIXELS = ([64, 100, 10], 200), ([784, 512, 512, 10], 128)
WORKLOADS = [
    *((DIGITS, loss, optimizer) for loss in LOSSES for optimizer in OPTIMIZERS),
    (PIXELS, "softmax_cross_entropy", "adamw"),
    (PIXELS, "squared_error", "nesterov"),
]
CASES = [(*workload, "relu") for workload in WORKLOADS]
CASES += [(DIGITS, LOSSES[0], "sgd", activation) for activation in ACTIVATIONS if activation != "relu"]


def backend_named(name: str) -> cr.Backend:
    if name == "compiled":
        pytest.importorskip("numba", reason="numba is not installed")
        return compiled.loaded()
    return NumPyBackend() if name == "numpy" else cr.backend("cpu")


OTHER_LAYERS: dict[str, dict[str, Any]] = {
    "dense": {},
    "dropout": {"dropout": 0.1},
    "layer norm": {"normalization": "layer", "residual": True},
    "batch norm": {"normalization": "batch"},
    "embedding": {"embedding": cr.Embedding([0, 5], [500, 20])},
}


@pytest.mark.parametrize(
    ("workload", "loss", "optimizer", "activation", "layers", "implementation"),
    [
        *((*case, "dense", "as it comes") for case in CASES),
        *(
            (([64, 300, 300, 10], 200), "softmax_cross_entropy", "adamw", "relu", layers, implementation)
            for layers in list(OTHER_LAYERS)[1:]
            for implementation in ("numpy", "compiled")
        ),
    ],
)
def test_a_step_allocates_no_memory(workload, loss, optimizer, activation, layers, implementation):
    widths, batch_size = workload
    rng = np.random.default_rng(0)
    n, k = 2 * batch_size + 7, widths[-1]
    y = rng.integers(0, k, n) if loss == "softmax_cross_entropy" else rng.uniform(size=(n, k))
    net = cr.MLP(
        widths, loss=loss, activation=activation, backend=backend_named(implementation), **OTHER_LAYERS[layers]
    )
    be = net.backend
    X = rng.normal(size=(n, widths[0]))
    for column, count in net.codes(training=True).items():
        X[:, column] = rng.integers(0, count, n)
    rows = net.upload_rows(X, y, rng.uniform(size=n))
    with be.running():
        fit = Fit(net, TrainingSettings(optimizer=OPTIMIZERS[optimizer], batch_size=batch_size), rows)
        fit.steps.batches.begin_epoch(0)
        be.assign(np.full(fit.steps.batches.count, 1e-3), out=fit.steps.lr)

        def epoch() -> None:
            be.assign([0, 0, RUNNING], out=fit.steps.state)
            fit.steps.batches.load(0)
            fit.steps.replay_full(fit.steps.batches.full)
            fit.steps.replay_ragged(1)

        epoch()  # buffers that are used again every step are made in the first
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            epoch()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < NEW_MEMORY
    assert after - before < 4096, "memory was kept from step to step"
