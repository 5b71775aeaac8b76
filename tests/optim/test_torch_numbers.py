"""Ten steps of every optimiser, every loss, and ten steps of a whole net, against PyTorch's numbers in float64.

The numbers were written once by ``benchmarks/golden/make_torch_optimisers.py``; PyTorch is not needed here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arena import Arena, Layout
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.losses.names import find_loss
from chainrule.nn.passes import new_state
from chainrule.optim.base import Optimizer
from comparisons import numbers

TOLERANCE = 1e-12  # relative to the largest number of an array


GOLDEN = numbers(json.loads((Path(__file__).parent / "torch_optimisers.json").read_text(encoding="utf-8")))
FUNCTION, NETS = GOLDEN["function"], GOLDEN["nets"]


def describe(case: dict[str, Any]) -> str:
    return " ".join([case["kind"], *(f"{name}={value}" for name, value in case["options"].items())])


def assert_close(got: Any, want: Any, what: object = "") -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max(), what


def optimizer_of(case: dict[str, Any]) -> Optimizer:
    return {"SGD": cr.SGD, "Adam": cr.Adam, "AdamW": cr.AdamW}[case["kind"]](**case["options"])


@pytest.mark.parametrize("case", FUNCTION["runs"], ids=describe)
def test_optimiser(backend, case):
    a, c, start = (np.array(FUNCTION[name]) for name in ("a", "c", "start"))
    layout = Layout({"x.W": start.shape}, np.float64)  # decayed by default
    parameters, gradients = Arena(backend, layout), Arena(backend, layout)
    parameters.assign({"x.W": start})
    lr, state = backend.upload(np.array([case["options"]["lr"]])), new_state(backend)
    optimizer = optimizer_of(case).bind(parameters, gradients)
    for step, want in enumerate(case["path"]):
        x = parameters.download()["x.W"]
        gradients.assign({"x.W": a * x + c * x**3})
        with backend.running():
            optimizer.step(lr, state)
            backend.tick(state)
        assert_close(parameters.download()["x.W"], want, f"after step {step}")


@pytest.mark.parametrize("case", GOLDEN["losses"], ids=lambda c: f"{c['name']} {'weighted' if c['weights'] else ''}")
def test_loss(backend, case):
    logits, targets = np.array(case["logits"]), np.array(case["targets"])
    loss = find_loss(case["name"], logits.shape[1])
    z, totals = backend.upload(logits), backend.empty((1, 3), np.float64)
    dlogits = backend.empty(logits.shape, np.float64)
    weights = None if case["weights"] is None else backend.upload(np.array(case["weights"]))
    if targets.ndim == 1:
        targets = targets.astype(np.int32)
    with backend.running():
        loss(backend, LossBatch(z, backend.upload(targets), weights, new_state(backend), totals, dlogits))
    assert_close(loss.value(backend.download(totals)), case["loss"])
    assert_close(backend.download(dlogits), case["gradient"])


@pytest.mark.parametrize("case", NETS["runs"], ids=lambda c: f"{c['loss']} {c['activation']} {describe(c)}")
def test_training_a_net(backend, case):
    """Five epochs of a batch of 4 and a ragged one of 3: the losses, and the final parameters."""
    options = {"loss": case["loss"], "activation": case["activation"], "dtype": "float64"}
    net = cr.MLP(NETS["widths"], backend=backend, **options)
    net.parameter_arena.assign(NETS["start"])
    epochs, sizes = len(case["losses"]) // 2, [4, 3]
    trainer = cr.Trainer(net, optimizer_of(case), batch_size=NETS["batch_size"], epochs=epochs, shuffle=False)
    run = trainer.fit(np.array(NETS["X"]), np.array(case["y"]))
    assert_close(run.history["loss"], np.average(np.reshape(case["losses"], (epochs, 2)), axis=1, weights=sizes))
    for name, value in net.parameter_arena.download().items():
        assert_close(value, case["end"][name], name)
