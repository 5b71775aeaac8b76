"""The net for tables: its layers, its rates, and the ridge regression that its line begins with."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.linear_start import start_from_ridge
from chainrule.train.table_net import TableNet, bins_per_column

N, N_IN = 160, 4


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N, N_IN)) * [1, 10, 1, 1] + [0, 50, 0, 0]
    return X, X @ [1.0, 0.1, 0, -2] + rng.normal(size=N)


def make(X, y, backend=None, **options):
    layers = TableNet(hidden=(8, 5), dropout=0.1).layers(
        N_IN, 1, fan_in=3.0, encoding=cr.PiecewiseLinear([(), (-1.0, 0.0, 1.0)])
    )
    net = cr.Network(layers, N_IN, loss="squared_error", dtype="float64", backend=backend, **options)
    net.preparation = cr.Preparation(
        features=cr.Standardization.fit_robust(X, limit=3.0), targets=cr.Standardization.fit(y)
    )
    return net


def test_it_begins_as_the_ridge_regression(backend, rows):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = rows
    net = make(X, y, backend)
    start_from_ridge(net, X, y)
    z = (X - net.preparation.features.mean) / net.preparation.features.scale
    z /= np.sqrt(1 + (z / 3) ** 2)
    expected = linear_model.RidgeCV(np.logspace(-2, 4, 13)).fit(z, y).predict(z)
    np.testing.assert_allclose(net.predict(X), expected, atol=0.02 * y.std())


def test_each_member_begins_without_the_rows_that_it_leaves_out(rows):
    X, y = rows
    left_out = np.zeros((4, N), bool)
    left_out[0, :40] = left_out[2, :40] = left_out[1, 40:80] = left_out[3, 40:80] = True
    net = make(X, y, members=4)
    start_from_ridge(net, X, y, left_out=left_out)
    for j in (0, 1):
        alone = make(X, y, member=j)
        start_from_ridge(alone, X[~left_out[j]], y[~left_out[j]])
        for member in (j, j + 2):
            np.testing.assert_allclose(
                net.member(member).parameter_arena["dense2.W"][:N_IN], alone.parameter_arena["dense2.W"][:N_IN],
                rtol=1e-6, atol=1e-9,
            )  # fmt: skip


def test_every_parameter_has_the_rate_of_its_layer(rows):
    net, design = make(*rows), TableNet(hidden=(8, 5))
    optimizer = cr.Adam(0.04, groups=design.groups(N_IN, fan_in=3.0))
    from chainrule.optim.parameter_groups import segments

    rates = {round(s.lr_factor, 4) for s in segments(net.parameter_arena.layout, optimizer.groups, 0.0)}
    expected = {1 / np.sqrt(3), 1 / np.sqrt(8), 0.1 / np.sqrt(3), 1 / np.sqrt(5), 6.0, 0.1}
    assert rates == {round(float(rate), 4) for rate in expected}


def test_without_a_line_the_hidden_layers_stand_alone():
    layers = TableNet(hidden=(8,), has_line=False).layers(N_IN, 3, fan_in=4.0)
    assert [layer.kind for layer in layers] == ["scale", "dense", "dense"]


@pytest.mark.parametrize(
    ("bins", "numbers", "expected"),
    [
        (48, 1, 48),
        (48, 10, 48),
        (48, 20, 25),
        (48, 64, 16),
        (16, 128, 16),
        (16, 512, 4),
        (16, 513, 0),
        (8, 300, 6),
        (0, 5, 0),
    ],
)
def test_many_columns_have_fewer_fractions_each_and_very_many_none(bins, numbers, expected):
    assert bins_per_column(bins, numbers) == expected
