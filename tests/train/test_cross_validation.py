"""`cross_validate`: each net sees its training rows alone, and each row is scored once."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.scores import score


def line(rng, n=60):
    X = rng.normal(size=(n, 2))
    return X, 3 * X[:, 0] - X[:, 1]


def test_each_fold_is_scored_by_a_net_that_never_saw_it(rng):
    X, y = line(rng)
    nets, told, folds = {}, [], cr.make_folds(60, 4)

    def train(rows):  # by several threads at once
        net = cr.MLP([2, 1], loss="squared_error", dtype="float64", seed=int(rows.sum()))
        assert nets.setdefault(tuple(rows), net) is net
        return net

    found = cr.cross_validate(train, X, y, folds, on_fold=lambda number, scores: told.append((number, scores)))
    assert nets.keys() == {tuple(fold.training) for fold in folds}
    assert found.rows == (15, 15, 15, 15)
    expected = [score(nets[tuple(fold.training)], X[fold.held_out], y[fold.held_out]) for fold in folds]
    assert list(found.scores) == expected
    assert told == list(enumerate(expected, 1))
    r2 = [score["r2"] for score in expected]
    assert found.mean["r2"] == pytest.approx(sum(r2) / 4)
    assert found.std["r2"] == pytest.approx(np.sqrt(sum((v - sum(r2) / 4) ** 2 for v in r2) / 3))


def test_a_table_is_encoded_by_each_net(rng):
    color = np.array(["red", "blue"])[rng.integers(0, 2, 40)]
    size = rng.normal(size=40)
    import pandas as pd

    table = cr.read_table(pd.DataFrame({"size": size, "color": color, "y": size + (color == "red")}), target="y")

    def train(rows):
        encoder = cr.TableEncoder.fit(table.columns, rows=rows)
        X = encoder.encode(table.columns, rows=rows)
        net = cr.MLP([X.shape[1], 1], loss="squared_error", dtype="float64")
        net.preparation = cr.Preparation(encoder=encoder)
        cr.Trainer(net, cr.Adam(lr=0.1), epochs=150, batch_size=32).fit(X, table.target[rows])
        return net

    found = cr.cross_validate(train, table, table.target, cr.make_folds(40, 3))
    assert found.mean["r2"] > 0.95


def test_a_metric_that_is_undefined_in_a_fold_is_left_out():
    found = cr.CrossValidation(({"accuracy": 0.5, "roc_auc": 0.7}, {"accuracy": 0.7}), (3, 4))
    assert found.names == ("accuracy", "roc_auc")
    assert found.mean == {"accuracy": pytest.approx(0.6), "roc_auc": 0.7}
    assert set(found.std) == {"accuracy"}


def test_wrong_folds_are_refused(rng):
    X, y = line(rng, 10)
    with pytest.raises(cr.OptionError, match="fold 1 has rows on both sides"):
        cr.cross_validate(lambda rows: None, X, y, [(np.arange(6), np.arange(5, 10))])
    with pytest.raises(cr.ShapeError, match="same number of rows, got 10 and 9"):
        cr.cross_validate(lambda rows: None, X, y[:9], cr.make_folds(9, 2))


def test_folds_of_bool_labels():
    X = np.random.default_rng(0).normal(size=(30, 2))
    y, net = X[:, 0] > 0, cr.MLP([2, 4, 2], seed=0)
    folds = cr.make_folds(30, 3, classes=y)
    assert cr.cross_validate(lambda rows: net, X, y, folds) == cr.cross_validate(lambda rows: net, X, y * 1, folds)


@pytest.mark.filterwarnings("error")
def test_the_spread_of_folds_of_the_largest_numbers():
    X = np.random.default_rng(0).normal(size=(30, 2))
    net, folds = cr.MLP([2, 4, 1], loss="squared_error", seed=0), cr.make_folds(30, 3)
    of_ones, of_large = (cr.cross_validate(lambda rows: net, X * 0, X[:, 0] * size, folds) for size in (1.0, 2.0**1000))
    assert of_large.std["rmse"] == pytest.approx(of_ones.std["rmse"] * 2.0**1000, rel=1e-12)
