"""Steps of a fit are recorded on the CPU, whatever the settings, and replayed have the bits of NumPy's passes.

A case says how a net is built, trained and fed. It fails if a kernel that a step calls has no compiled loop for its
arguments: then all steps of such a fit would be started from Python, operation by operation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.capture.captured_step import CapturedStep
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES, Loss
from chainrule.verify.explain import random_rows

pytest.importorskip("numba", reason="numba is not installed")

N, N_IN = 75, 5


class Case(NamedTuple):
    """Options of MLP (of Network if there are ``layers``), of Trainer and of fit; and what the rows are like."""

    net: dict[str, Any] = {}  # noqa: RUF012 - never written to
    trainer: dict[str, Any] = {}  # noqa: RUF012
    fit: dict[str, Any] = {}  # noqa: RUF012
    outputs: int = 2
    kind: str = "float32"
    standardized: bool = False
    weighted: bool = False


ALL_AT_ONCE = {"optimizer": cr.Adam(0.01, clip_norm=0.1), "ema": 0.9, "l2": 0.1}
CLASSES = {"loss": "softmax_cross_entropy"}

EDGES = [(-1.0, 0.0, 1.0)] * N_IN
CODES = cr.Embedding([1], [4])

CASES: dict[str, Case] = {
    "adam": Case(),
    "adam, coupled decay": Case(trainer={"optimizer": cr.Adam(0.01, weight_decay=0.1)}),
    "adamw": Case(trainer={"optimizer": cr.AdamW(0.01, weight_decay=0.1)}),
    "sgd": Case(trainer={"optimizer": cr.SGD(0.01)}),
    "momentum": Case(trainer={"optimizer": cr.SGD(0.01, momentum=0.9)}),
    "nesterov": Case(trainer={"optimizer": cr.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.1)}),
    "a rate for each update": Case(trainer={"optimizer": cr.Adam(cr.OneCycle(0.01))}),
    "groups": Case(trainer={"optimizer": cr.SGD(0.01, groups=[cr.ParameterGroup("*.W", lr_factor=0.1)])}),
    "clip_norm": Case(trainer={"optimizer": cr.Adam(0.01, clip_norm=0.1)}),
    "ema": Case(trainer={"ema": 0.9}),
    "accumulate": Case(trainer={"accumulate": 2}),
    "accumulate, clip_norm, ema": Case(
        trainer={"optimizer": cr.Adam(0.01, clip_norm=0.1), "accumulate": 3, "ema": 0.9}
    ),
    "l2": Case(trainer={"l2": 0.1}),
    "drop_last": Case(trainer={"drop_last": True}),
    "in order": Case(trainer={"shuffle": False}),
    "one batch": Case(trainer={"batch_size": 500}),
    "float64": Case(net={"dtype": "float64"}, trainer={"l2": 0.1, "ema": 0.9}, kind="float64"),
    "dropout": Case(net={"dropout": 0.3}),
    "residual": Case(net={"residual": True}),
    "tanh": Case(net={"activation": "tanh"}),
    "one column": Case(outputs=1),
    "no hidden layer": Case(net={"hidden": ()}),
    "pixels": Case(kind="uint8"),
    "pixels, converted in each batch": Case(kind="uint8"),
    "pixels, standardised in each batch": Case(kind="uint8", standardized=True),
    "standardised once": Case(kind="float64", standardized=True),
    "validation": Case(fit={"validation": 0.2}),
    "validation of several columns, standardised in each batch": Case(
        fit={"validation": 0.2}, outputs=3, kind="int16", standardized=True
    ),
    "streamed": Case(trainer={"stream": True}, kind="int16", standardized=True),
    "members": Case(net={"members": 3}),
    "members, all at once": Case(net={"members": 3, "dropout": 0.3}, trainer=ALL_AT_ONCE),
    "members, accumulate": Case(net={"members": 3}, trainer={"accumulate": 2}),
    "members, standardised in each batch": Case(net={"members": 3}, kind="uint8", standardized=True),
    "classes, without accuracy": Case(net=CLASSES, trainer={"metrics": False}, outputs=3),
    "label smoothing": Case(net={"loss": cr.SoftmaxCrossEntropy(0.1)}, outputs=3),
    "class weights": Case(net=CLASSES, fit={"class_weight": "balanced", "validation": 0.2}, outputs=3, weighted=True),
    "left_out": Case(net={"members": 3}, fit={"left_out": np.arange(3)[:, None] == np.arange(N) % 3}),
    **{f"loss {name}": Case(net={"loss": name}, outputs=3, fit={"validation": 0.2}) for name in LOSSES},
    **{f"loss {name}, weights": Case(net={"loss": name}, outputs=3, weighted=True) for name in LOSSES},
    **{f"loss {name}, members": Case(net={"loss": name, "members": 3}, outputs=3, weighted=True) for name in LOSSES},
    **{f"activation {name}": Case(net={"activation": name}) for name in ACTIVATIONS},
    "factors": Case(net={"layers": [cr.Scale(), cr.Dense(8, "relu")]}),
    "factors, members": Case(net={"layers": [cr.Scale(), cr.Dense(8, "relu")], "members": 3}),
    "columns beside columns": Case(net={"layers": [cr.Concatenate([cr.Dense(4, "tanh")]), cr.Dense(8, "relu")]}),
    **{
        f"loss {name}, members, validation": Case(
            net={"loss": name, "members": 3}, outputs=3, weighted=True, fit={"validation": 0.2}
        )
        for name in LOSSES
    },
    "members, all at once, validation": Case(
        net={"members": 3, "dropout": 0.3}, trainer=ALL_AT_ONCE, fit={"validation": 0.2}
    ),
    "layer_norm": Case(net={"normalization": "layer"}),
    "layer_norm, members": Case(net={"normalization": "layer", "members": 3}),
    "batch_norm": Case(net={"normalization": "batch"}, fit={"validation": 0.2}),
    "residual, batch_norm, members": Case(
        net={"normalization": "batch", "residual": True, "members": 3, "activation": "gelu"}
    ),
    "embedding": Case(net={"embedding": CODES}),
    "embedding, members": Case(net={"embedding": CODES, "members": 3}),
    "pieces": Case(net={"layers": [cr.PiecewiseLinear(EDGES), cr.Dense(8, "relu")]}),
    "pieces, factors": Case(net={"layers": [cr.PiecewiseLinear(EDGES), cr.Scale(), cr.Dense(8, "relu")]}),
    "pieces, factors, members": Case(
        net={"layers": [cr.PiecewiseLinear(EDGES), cr.Scale(), cr.Dense(8, "relu")], "members": 3}
    ),
}


def loss_of(loss: str | Loss) -> Loss:
    return LOSSES[loss] if isinstance(loss, str) else loss


def trained(backend: cr.Backend, case: Case) -> tuple[dict[str, bytes], dict[str, list[float]]]:
    """The weights after three epochs, and the history."""
    rng = np.random.default_rng(7)
    options = {"loss": "squared_error", "seed": 3} | ({} if "layers" in case.net else {"hidden": (8, 8)}) | case.net
    n_out = loss_of(options["loss"]).outputs_for(case.outputs)
    if "layers" in options:
        net = cr.Network([*options.pop("layers"), cr.Dense(n_out)], N_IN, backend=backend, **options)
    else:
        net = cr.MLP((N_IN, *options.pop("hidden"), n_out), backend=backend, **options)
    X, y = random_rows(net, N, rng)
    if case.kind not in {"float32", "float64"}:
        X = 100 + 20 * X
    X = X.astype(case.kind)
    if case.standardized:
        net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
    trainer = cr.Trainer(net, **{"batch_size": 16, "epochs": 3, "seed": 5} | case.trainer)
    weights = {"sample_weight": rng.uniform(0, 2, N)} if case.weighted else {}
    history = trainer.fit(X, y, **weights, **case.fit).history
    found = {name: value.tobytes() for name, value in net.parameter_arena.download().items()}
    return found, {name: column for name, column in history.items() if name != "seconds"}


def assert_recorded_with_the_bits_of_numpy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.loaded()
    made: list[CapturedStep] = []
    original = CapturedStep.__init__

    def keep(self: CapturedStep, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(CapturedStep, "__init__", keep)
    got = trained(CompiledBackend(), case)
    assert [step.problem for step in made] == [""] * len(made)
    assert any(step._run is not None for step in made)
    assert got == trained(NumPyBackend(), case)


@pytest.mark.parametrize("name", CASES)
def test_steps_are_recorded_and_have_the_bits_of_numpy(name, monkeypatch):
    assert_recorded_with_the_bits_of_numpy(CASES[name], monkeypatch)
