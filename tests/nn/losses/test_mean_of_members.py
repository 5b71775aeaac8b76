"""Every loss: an ensemble predicts the mean of what its members predict."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.losses.names import KINDS, Loss

BACKEND = NumPyBackend()
CUSTOM = cr.CustomLoss(
    "square", lambda xp, z, t: ((z - t) ** 2).sum(axis=-1), lambda xp, z, t: 2 * (z - t), task="regress"
)
LOSSES = [kind() for kind in KINDS.values()] + [CUSTOM]


def predicted(loss: Loss, z: np.ndarray) -> np.ndarray:
    """What one net predicts: probabilities of classes, numbers of a regression."""
    z = z.copy()
    if loss.task == "classify":
        BACKEND.softmax(z, out=z)
    elif loss.task == "multilabel":
        z = 1 / (1 + np.exp(-z))
    else:
        loss.to_predictions(BACKEND, z)
    return z


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_an_ensemble_predicts_the_mean_of_its_members_predictions(loss, rng):
    loss = loss.bind(12)
    z = rng.normal(size=(4, 7, 12))
    out = np.empty((7, 12))
    loss.mean_of_members(BACKEND, z, out)
    members = np.stack([predicted(loss, one) for one in z])
    want = members.mean(axis=0)
    if isinstance(loss, cr.GaussianNLL):  # of the mixture, which is wider if the members' means differ
        want[:, 6:] += members[:, :, :6].var(axis=0)
    np.testing.assert_allclose(predicted(loss, out), want, rtol=1e-12)


def test_a_custom_loss_has_the_mean_of_its_task():
    same = lambda task: cr.CustomLoss("same", CUSTOM.value_of_rows, CUSTOM.gradient_of_rows, task=task)
    assert [same(task).mean_kind for task in ("classify", "multilabel", "regress")] == [
        "softmax",
        "sigmoid",
        "identity",
    ]
