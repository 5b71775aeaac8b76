"""The loss of a large ensemble, as a pair of its members tells it."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.losses.names import find_loss
from chainrule.train.out_of_fold import ensemble_loss
from chainrule.train.out_of_fold.ensemble_loss import deviance_of_ensemble
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.shrinkage import deviance

ROWS, MEMBERS = 2_000, 8


@pytest.mark.parametrize(
    "loss", [cr.SoftmaxCrossEntropy(), *(cr.Focal(gamma=g) for g in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0))]
)
def test_a_pair_tells_the_loss_of_the_whole_ensemble(loss, rng):
    """The gain that a pair lacks is known to a fifth of it; a wrong sign or a missing term is half of it and more."""
    logits = 1.2 * rng.normal(size=(1, ROWS, 3)) + 0.5 * rng.normal(size=(MEMBERS, ROWS, 3))
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > rng.random((ROWS, 1))).argmax(axis=1).astype(np.int32)
    whole = OutOfFoldPart(tuple(range(MEMBERS)), np.arange(ROWS), logits, labels, None)
    pairs = [whole._replace(members=(j, j + 1), logits=logits[j : j + 2]) for j in range(0, MEMBERS, 2)]

    def of(part, members):
        return deviance_of_ensemble(loss.bind(3), [part], np.zeros(3), members, 1.0)

    pair, found = np.mean([of(p, 2) for p in pairs]), np.mean([of(p, MEMBERS) for p in pairs])
    gain = pair - of(whole, MEMBERS)
    assert gain > 0
    assert pair - found == pytest.approx(gain, rel=0.2)


def test_a_row_that_is_surely_right_has_a_finite_focal_loss():
    logits = np.array([[[900.0, 0.0]], [[800.0, 0.0]]])
    part = OutOfFoldPart((0, 1), np.arange(1), logits, np.zeros(1, np.int32), None)
    for gamma in (0.0, 0.5, 2.0):
        found = deviance_of_ensemble(cr.Focal(gamma=gamma).bind(2), [part], np.zeros(2), 8, 1.0)
        assert found == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "loss", ["softmax_cross_entropy", "focal", "sigmoid_cross_entropy", "poisson", "absolute_error"]
)
def test_the_loss_of_rows_in_pieces_is_that_of_all(loss, rng, monkeypatch):
    loss = find_loss(loss, 3)
    classify = loss.task == "classify"
    targets = rng.integers(0, 3, 50).astype(np.int32) if classify else rng.integers(0, 2, (50, 3)).astype(float)
    weights = np.where(np.arange(50) < 20, 0, rng.random(50))
    part = OutOfFoldPart((1, 3), np.arange(50), rng.normal(size=(2, 50, 3)), targets, weights)
    whole = deviance_of_ensemble(loss, [part], np.ones(3), 8, 0.7)
    monkeypatch.setattr(deviance, "LOGITS_AT_ONCE", 2 * 3 * 7)
    assert deviance_of_ensemble(loss, [part], np.ones(3), 8, 0.7) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("members", [1, 2, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_softmax_of_many_classes_is_judged_by_the_classes_of_the_rows(members, weighted, rng, monkeypatch):
    loss, m, k = cr.SoftmaxCrossEntropy().bind(6), 40, 6
    weights = rng.random(m) if weighted else None
    for c in (1, 2):
        logits = 3 * rng.normal(size=(c, m, k))
        part = OutOfFoldPart(tuple(range(c)), np.arange(m), logits, rng.integers(0, k, m).astype(np.int32), weights)
        kept = logits.copy()
        for f in (0.0, 0.3, 1.0, 3.2):
            expected = deviance_of_ensemble(loss, [part], np.arange(6.0), members, f)
            with monkeypatch.context() as patch:
                patch.setattr(ensemble_loss, "MANY_LOGITS", 0)
                found = deviance_of_ensemble(loss, [part], np.arange(6.0), members, f)
            assert found == pytest.approx(expected, rel=1e-12)
        np.testing.assert_array_equal(logits, kept)
