"""Areas under ROC curves by ranks: exactly those of counted pairs, block by block."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import class_ranks, metrics, scores
from chainrule.nn.class_ranks import ClassRanks


def counted(positive: np.ndarray, values: np.ndarray) -> float:
    """By its definition: wins and half of the ties among all pairs."""
    ones, zeros = values[positive][:, None], values[~positive][None, :]
    return float(((ones > zeros) + 0.5 * (ones == zeros)).mean()) if ones.size and zeros.size else np.nan


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("blocks", [1, 4])
def test_areas_are_those_of_counted_pairs(rng, dtype, blocks, monkeypatch):
    monkeypatch.setattr(class_ranks, "CELLS", 40)
    labels, values = rng.integers(0, 12, 60) * 2, rng.normal(size=(60, 30)).round(1).astype(dtype)
    values[3, 4], values[:, 6] = np.nan, -0.0
    values[::2, 6] = 0.0
    ranks = ClassRanks.of_labels(labels, values[np.arange(60), labels])
    for block in np.array_split(values, blocks):
        ranks.add(block)
    expected = [np.nan if j == 4 else counted(labels == j, values[:, j]) for j in np.unique(labels)]
    assert ranks.areas().tolist() == pytest.approx(expected, rel=1e-15, nan_ok=True)
    assert metrics.roc_auc(labels, values) == np.mean([area for area in expected if not np.isnan(area)])


def test_areas_of_several_answers_per_row(rng):
    y, values = rng.integers(0, 2, (50, 4)), rng.normal(size=(50, 4)).round(1)
    y[:, 2] = 1
    assert metrics.roc_auc(y, values) == pytest.approx(
        np.mean([counted(y[:, j] == 1, values[:, j]) for j in (0, 1, 3)])
    )
    assert metrics.roc_auc(y[:, 0], values[:, 0]) == counted(y[:, 0] == 1, values[:, 0])
    assert np.isnan(metrics.roc_auc(y[:, 2], values[:, 2]))


def test_equal_weights_give_the_area_without_weights(rng):
    labels, values = rng.integers(0, 5, 80), rng.normal(size=(80, 5)).round(1)
    assert metrics.roc_auc(labels, values, np.full(80, 2.0)) == pytest.approx(
        metrics.roc_auc(labels, values), rel=1e-14
    )


def test_scores_do_not_depend_on_how_many_probabilities_are_held(rng, monkeypatch):
    net, X, y = cr.MLP([5, 7], seed=1), rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 6, 300)
    at_once, predicted = scores.score_labels(net, X, y)
    p = net.predict_proba(X)
    assert at_once == {
        "accuracy": metrics.accuracy(y, net.predict(X)),
        "balanced_accuracy": metrics.balanced_accuracy(y, net.predict(X)),
        "log_loss": metrics.log_loss(y, p),
        "roc_auc": metrics.roc_auc(y, p),
    }
    np.testing.assert_array_equal(predicted, net.predict(X))
    monkeypatch.setattr(type(net.backend), "working_set", 1)
    for held in (7 * 70, 7 * 64, 1):
        monkeypatch.setattr(scores, "PROBABILITIES_HELD", held)
        assert scores.score_labels(net, X, y)[0] == pytest.approx(at_once, rel=1e-6)
