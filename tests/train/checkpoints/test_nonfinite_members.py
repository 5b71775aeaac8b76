"""No checkpoint holds what a step with a loss or a gradient that is not finite has made, whichever member had it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.train.checkpoints.fits import trainer

import chainrule as cr
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST

K, BAD_STEP = 3, 4
FITS: dict[str, dict[str, Any]] = {
    "adam": {},
    "momentum": {"optimizer": cr.SGD(0.01, momentum=0.9)},
    "clip_norm": {"optimizer": cr.AdamW(0.01, clip_norm=0.5)},
    "ema": {"ema": 0.9},
    "l2": {"l2": 0.1},
}


class BadGradient(NumPyBackend):
    """From a step on the gradient of member 1 has a nan, or its loss is infinite."""

    what = "gradient"
    counter = STEP  # of updates; BATCH: of batches

    def softmax_cross_entropy(self, batch: Any, **options: Any) -> None:
        super().softmax_cross_entropy(batch, **options)
        if batch.logits.ndim == 3 and batch.state[self.counter] >= BAD_STEP:
            if self.what == "gradient":
                batch.dlogits[1, 0, 0] = np.nan
            else:
                batch.totals[1, batch.state[BATCH], 0] = np.inf
                batch.state[2] = batch.state[STEP] if batch.state[2] == -1 else batch.state[2]


class BadLoss(BadGradient):
    what = "loss"


class BadGradientWithinAGroup(BadGradient):
    counter = BATCH


def diverged(classes: Any, backend: cr.Backend, folder: Any, **options: Any) -> tuple[cr.DivergenceError, Checkpoint]:
    """The error of the fit, and its checkpoint, in which every number is finite."""
    net = cr.MLP(classes.widths, loss=classes.loss, members=K, seed=2, backend=backend)
    with pytest.raises(cr.DivergenceError) as caught:
        trainer(net, checkpoints=cr.Checkpoints(folder, steps=1), **options).fit(classes.X, classes.y)
    checkpoint = Checkpoint.read(folder / LAST)
    for name, array in checkpoint.arrays.items():
        assert np.isfinite(array).all(), name
    return caught.value, checkpoint


@pytest.mark.parametrize("backend", [BadGradient(), BadLoss()], ids=lambda be: be.what)
@pytest.mark.parametrize("fit", FITS)
def test_the_checkpoint_is_the_last_before_a_member_had_a_loss_or_gradient_that_is_not_finite(
    classes, tmp_path, backend, fit
):
    error, checkpoint = diverged(classes, backend, tmp_path, **FITS[fit])
    assert checkpoint.steps == BAD_STEP
    assert error.where.endswith("of member 1")
    assert "of member 1" in error.message
    assert error.checkpoint == tmp_path / LAST


def test_no_checkpoint_holds_an_accumulated_gradient_that_is_not_finite(classes, tmp_path):
    error, checkpoint = diverged(classes, BadGradientWithinAGroup(), tmp_path, accumulate=3)
    assert (checkpoint.epochs, checkpoint.batches) == (0, BAD_STEP)
    assert error.where.endswith("of member 1")


def test_divergence_names_the_member_whose_layer_overflows_first(classes, tmp_path):
    net = cr.MLP(classes.widths, loss=classes.loss, members=K, seed=2)
    W = net.parameter_arena.download()["dense0.W"]
    W[2] = 3e38
    net.assign_parameters({"dense0.W": W})
    with pytest.raises(cr.DivergenceError, match="the output of dense0 of member 2"):
        trainer(net, checkpoints=cr.Checkpoints(tmp_path, steps=1)).fit(classes.X, classes.y)
    assert not (tmp_path / LAST).exists()


def test_an_update_that_overflows_last_names_the_member(classes, tmp_path):
    net = cr.MLP(classes.widths, loss=classes.loss, members=K, seed=2)
    fast = cr.ParameterGroup("dense0.*", lr_factor=1e39, members=(2, 3))
    with pytest.raises(cr.DivergenceError, match=r"the parameter dense0\.\w of member 2"):
        trainer(net, optimizer=cr.SGD(1.0, groups=[fast]), epochs=1, batch_size=40).fit(classes.X, classes.y)
