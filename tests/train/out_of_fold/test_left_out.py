"""Rows that members of an ensemble are not trained on, and what these predict for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.out_of_fold.left_out import LeftOut

N, K = 61, 4


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(N, 5)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    block = rng.integers(0, 8, N)
    return X, y, np.stack([block == j % 2 for j in range(K)])


def fit(net: cr.Network, X: Any, y: Any, mask: Any, **options: Any) -> cr.Run:
    weights = {name: options.pop(name) for name in ("sample_weight", "class_weight") if name in options}
    trainer = cr.Trainer(net, cr.Adam(lr=0.02), **({"batch_size": 16, "epochs": 3} | options))
    return trainer.fit(X, y, left_out=mask, **weights)


def make(backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP([5, 9, 3], members=K, seed=1, backend=backend, **options)


def test_rows_are_in_parts_by_the_members_that_did_not_see_them(rows):
    left_out = LeftOut(rows[2], K, N)
    assert [part.members for part in left_out.parts] == [(1, 3), (0, 2)]
    np.testing.assert_array_equal(np.sort(left_out.rows), np.flatnonzero(rows[2].any(axis=0)))
    for j in range(K):
        np.testing.assert_array_equal(np.sort(left_out.rows_of(j)), np.flatnonzero(rows[2][j]))


def test_a_row_that_is_left_out_does_not_matter_to_its_member(rows):
    X, y, mask = rows
    other = X.copy()
    row = int(np.flatnonzero(mask[0])[0])
    other[row] += 5
    one, two = make(), make()
    fit(one, X, y, mask)
    fit(two, other, y, mask)
    W, V = one.parameter_arena["dense0.W"], two.parameter_arena["dense0.W"]
    assert [np.array_equal(W[j], V[j]) for j in range(K)] == [True, False, True, False]


@pytest.mark.parametrize("stream", [False, True])
def test_out_of_fold_predictions_are_those_of_the_members(backend, rows, stream):
    X, y, mask = rows
    net = make(backend)
    run = fit(net, X, y, mask, stream=stream)
    proba = np.asarray(net.predict_proba_members(X))
    for part in run.out_of_fold:
        z = np.exp(part.logits - part.logits.max(axis=-1, keepdims=True))
        own = proba[np.ix_(part.members, part.rows)]
        np.testing.assert_allclose(z / z.sum(axis=-1, keepdims=True), own, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(part.targets, y[part.rows])


def test_left_out_loss_is_that_of_the_mean_prediction_if_no_member_saw_the_rows(rows):
    X, y, mask = rows
    weights, unseen = np.random.default_rng(0).uniform(0.5, 2, N), mask[0]
    net = make()
    run = fit(net, X, y, np.stack([unseen] * K), sample_weight=weights)
    nll = -np.log(net.predict_proba(X)[unseen, y[unseen]])
    assert run.history["left_out_loss"][-1] == pytest.approx(np.average(nll, weights=weights[unseen]), rel=1e-4)


def test_left_out_loss_allows_for_members_that_saw_the_rows(rows):
    """Less than that of the pair's mean prediction, by how far the pair differ."""
    X, y, mask = rows
    net = make()
    run = fit(net, X, y, mask)
    proba, of_pairs, spread = net.predict_proba_members(X), 0.0, 0.0
    for pair in ([0, 2], [1, 3]):
        unseen = np.flatnonzero(mask[pair[0]])
        p = proba[pair][:, unseen, y[unseen]]
        of_pairs -= np.log(p.mean(axis=0)).sum()
        spread += (p.var(axis=0, ddof=1) / (2 * p.mean(axis=0) ** 2)).sum()
    expected = (of_pairs - (1 / 2 - 1 / K) * spread) / mask.any(axis=0).sum()
    assert run.history["left_out_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_the_epoch_with_the_lowest_left_out_loss_is_kept(rows):
    X, y, mask = rows
    run = fit(make(), X, y, mask, monitor="left_out_loss", epochs=30)
    losses = run.history["left_out_loss"]
    assert run.best_epoch == int(np.argmin(losses)) + 1


def test_left_out_loss_of_a_weight_average_is_that_of_the_average(rows):
    X, y, mask = rows
    net, unseen = make(), mask[0]
    run = fit(net, X, y, np.stack([unseen] * K), ema=0.9)
    nll = -np.log(net.predict_proba(X)[unseen, y[unseen]]).mean()
    assert run.history["left_out_loss"][-1] == pytest.approx(nll, rel=1e-4)


def test_labels_of_left_out_rows_are_not_smoothed(rows):
    X, y, mask = rows
    net = cr.MLP([5, 9, 3], members=K, loss=cr.SoftmaxCrossEntropy(label_smoothing=0.3))
    run = fit(net, X, y, np.stack([mask[0]] * K))
    nll = -np.log(net.predict_proba(X)[mask[0], y[mask[0]]]).mean()
    assert run.history["left_out_loss"][-1] == pytest.approx(nll, rel=1e-4)


@pytest.mark.parametrize("stream", [False, True])
def test_class_weights_and_left_out_rows_multiply(rows, stream):
    X, y, mask = rows
    weights = {0: 3.0, 1: 0.5}
    net, same = make(), make()
    fit(net, X, y, mask, class_weight=weights, stream=stream)
    own = np.where(mask, 0, np.array([3.0, 0.5, 1.0])[y])
    cr.Trainer(same, cr.Adam(lr=0.02), batch_size=16, epochs=3).fit(X, y, sample_weight=own)
    np.testing.assert_allclose(net.parameter_arena.flat, same.parameter_arena.flat, rtol=1e-3, atol=1e-5)


def test_a_fit_with_rows_left_out_resumes(rows, tmp_path):
    X, y, mask = rows
    whole, again = make(), make()
    fit(whole, X, y, mask, epochs=4, monitor="left_out_loss")
    stops = [lambda record: record.stop() if record.epoch == 2 else None]
    fit(make(), X, y, mask, epochs=4, monitor="left_out_loss", checkpoints=tmp_path, callbacks=stops)
    trainer = cr.Trainer(again, cr.Adam(lr=0.02), batch_size=16, epochs=4, monitor="left_out_loss")
    with pytest.raises(cr.DataError, match="other rows"):
        trainer.fit(X, y, left_out=~mask, resume=tmp_path)
    trainer.fit(X, y, left_out=mask, resume=tmp_path)
    np.testing.assert_array_equal(whole.parameter_arena.flat, again.parameter_arena.flat)


@pytest.mark.parametrize(
    ("mask", "error", "text"),
    [
        (np.zeros((3, N), bool), cr.ShapeError, "left_out: expected shape"),
        (np.zeros((K, N)), cr.DataError, "True and False"),
        (np.ones((K, N), bool), cr.DataError, "rows to train on"),
    ],
)
def test_bad_masks_are_refused(rows, mask, error, text):
    with pytest.raises(error, match=text):
        fit(make(), *rows[:2], mask)


def test_a_single_net_leaves_nothing_out(rows):
    X, y, mask = rows
    with pytest.raises(cr.OptionError, match="members=8"):
        cr.Trainer(cr.MLP([5, 9, 3])).fit(X, y, left_out=mask)


def test_left_out_rows_and_a_fraction_to_validate_on_exclude_each_other(rows):
    X, y, mask = rows
    with pytest.raises(cr.OptionError, match="left_out"):
        cr.Trainer(make()).fit(X, y, left_out=mask, validation=0.2)
