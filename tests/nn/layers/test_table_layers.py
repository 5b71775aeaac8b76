"""Layers for tables: PyTorch's numbers, edges from rows, and what a concatenating block gives to a net."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.inputs import edges as edges_of_rows
from chainrule.nn.inputs.quantiles import sample_of_rows, weighted_quantiles
from comparisons import numbers

GOLDEN = numbers(json.loads((Path(__file__).parent / "torch_table_layers.json").read_text(encoding="utf-8")))


def test_training_and_prediction_of_table_layers_are_those_of_pytorch(backend):
    """Batches of 6 and 4 rows; written once by ``benchmarks/golden/make_torch_table_layers.py``."""
    layers = [
        cr.Dense(3, "tanh"),
        cr.PiecewiseLinear(GOLDEN["edges"]),
        cr.Scale(),
        cr.Concatenate([cr.Dense(6, "selu"), cr.Dense(5, "tanh")]),
        cr.Dense(3),
    ]
    net = cr.Network(layers, 4, backend=backend, dtype="float64")
    net.parameter_arena.assign(GOLDEN["start"])
    epochs = len(GOLDEN["losses"]) // 2
    trainer = cr.Trainer(net, cr.SGD(0.05, momentum=0.9), batch_size=GOLDEN["batch_size"], epochs=epochs, shuffle=False)
    run = trainer.fit(np.array(GOLDEN["X"]), np.array(GOLDEN["y"], int))
    want = np.average(np.reshape(GOLDEN["losses"], (epochs, 2)), axis=1, weights=[6, 4])
    np.testing.assert_allclose(run.history["loss"], want, rtol=1e-10)
    found = net.parameter_arena.download()
    assert set(found) == set(GOLDEN["end"])
    for key, value in found.items():
        end = np.array(GOLDEN["end"][key])
        np.testing.assert_allclose(value, end, rtol=0, atol=1e-10 * max(1, np.abs(end).max()), err_msg=key)
    np.testing.assert_allclose(net.predict_proba(np.array(GOLDEN["rows"])), GOLDEN["probabilities"], rtol=1e-10)


# ---- ensembles ----------------------------------------------------------------------------------------


def recipe(n_in: int, n_out: int) -> list[cr.Layer]:
    """What a default net for tables is made of."""
    return [
        cr.PiecewiseLinear([(-1.0, 0.0, 0.5, 1.0), (), (-0.25, 0.25)]),
        cr.Scale(),
        cr.Concatenate(
            [cr.Dense(6, "selu", start=cr.Start("lecun", bias_std=1.0, rows=n_in)), cr.Scale(), cr.Dense(5, "selu")]
        ),
        cr.Dense(n_out, start=cr.Start("zero")),
    ]


def trained(X: np.ndarray, y: np.ndarray, **options: int) -> cr.Network:
    net = cr.Network(recipe(4, 3), 4, dtype="float64", seed=3, **options)
    groups = [cr.ParameterGroup("*.W", by_fan_in=True), cr.ParameterGroup("*.b", 0.1), cr.ParameterGroup("*.s", 6.0)]
    cr.Trainer(net, cr.Adam(0.04, beta2=0.95, groups=groups), epochs=3, batch_size=8, seed=5).fit(X, y)
    return net


def test_members_with_table_layers_are_the_nets_trained_alone(backend, rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    ensemble = trained(X, y, members=3, backend=backend)
    found = ensemble.parameter_arena.download()
    for j in range(3):
        alone = trained(X, y, member=j, backend=backend)
        for name, value in alone.parameter_arena.download().items():
            np.testing.assert_allclose(found[name][j], value, rtol=0, atol=1e-12, err_msg=name)
            if backend.name in {"numpy", "guarded"}:
                assert np.array_equal(found[name][j], value), name
        np.testing.assert_allclose(ensemble.predict_proba_members(X)[j], alone.predict_proba(X), atol=1e-12)
    assert not np.allclose(found["scale0.s"][0], found["scale0.s"][1])


# ---- concatenate ------------------------------------------------------------------------------------


def test_a_concatenating_block_around_all_hidden_layers_learns_a_straight_line(rng):
    """With the hidden layers frozen, what is trained is a linear model; it is that of least squares."""
    X = rng.normal(size=(80, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=80)
    net = cr.Network([cr.Concatenate([cr.Dense(4, "selu")]), cr.Dense(1)], 3, loss="squared_error", dtype="float64")
    net.assign_parameters({"dense0.W": np.zeros((3, 4))})
    frozen = cr.ParameterGroup("dense0.*", lr_factor=0)
    cr.Trainer(net, cr.Adam(cr.Cosine(0.1), groups=[frozen]), epochs=300, batch_size=80).fit(X, y)
    best = np.linalg.lstsq(np.column_stack([X, np.ones(80)]), y, rcond=None)[0]
    found = net.parameter_arena.download()
    np.testing.assert_allclose([*found["dense1.W"][:3, 0], *found["dense1.b"]], best, atol=1e-3)


# ---- edges from rows --------------------------------------------------------------------------------


def test_edges_are_the_quantiles_of_each_column_each_once(rng):
    X = np.column_stack([rng.permutation(np.arange(161.0)), rng.integers(0, 4, 161), rng.normal(size=161)])
    first, second, third = cr.PiecewiseLinear.fit(X).edges
    assert first == tuple(np.arange(0.0, 161, 10))
    assert set(second) <= {0.0, 1.0, 2.0, 3.0}
    assert len(third) == 17
    assert (third[0], third[-1]) == pytest.approx((X[:, 2].min(), X[:, 2].max()))
    assert len(cr.PiecewiseLinear.fit(X, bins=4).edges[0]) == 5


@pytest.mark.parametrize(
    "values",
    [np.full(90, 7.0), np.arange(90.0) % 2, np.r_[np.zeros(89), 5.0], np.r_[np.zeros(45), np.full(45, 1e-45)]],
    ids=["constant", "two values", "almost always the same", "closer than float32 tells apart"],
)
def test_columns_whose_fractions_would_say_nothing_have_no_edges(values):
    assert cr.PiecewiseLinear.fit(values[:, None]).edges == ((),)


def test_a_row_of_sample_weight_2_counts_as_two_for_edges(rng):
    X, weights = rng.normal(size=(101, 2)), rng.integers(0, 4, 101)
    weighted = cr.PiecewiseLinear.fit(X, bins=7, sample_weight=weights)
    copied = np.repeat(X, weights, axis=0)
    ones = cr.PiecewiseLinear.fit(copied, bins=7, sample_weight=np.ones(len(copied)))
    assert weighted == ones


def test_weighted_quantiles_of_equal_weights_are_a_median_and_the_ends():
    values = np.array([3.0, 1.0, 4.0, 2.0])
    found = weighted_quantiles(values, np.array([0, 0.25, 0.5, 1]), np.full(4, 0.1))
    assert found.tolist() == [1.0, 1.5, 2.5, 4.0]


def test_edges_of_very_many_rows_are_those_of_a_sample(rng, monkeypatch):
    monkeypatch.setattr(edges_of_rows, "SAMPLE", 2000)
    X = rng.permutation(np.arange(20_000.0))[:, None]
    first, again = cr.PiecewiseLinear.fit(X), cr.PiecewiseLinear.fit(X, sample_weight=np.ones(20_000))
    (edges,) = first.edges
    np.testing.assert_allclose(edges, np.linspace(0, 20_000, 17), atol=800)
    np.testing.assert_allclose(again.edges[0], edges, atol=30)
    rows = sample_of_rows(20_000, 2000)
    assert len(np.unique(rows)) == 2000
    assert set(edges) <= set(X[rows, 0])


def test_edges_of_raw_rows_are_those_of_standardised_ones(rng):
    """Quantiles go through the standardisation, which is monotone, limit and all; and back into the column's units."""
    X = np.exp(rng.normal(3, 2, (400, 3)))
    s = cr.Standardization.fit_robust(X, limit=3.0)
    z = np.empty_like(X)
    cr.backend("cpu").standardize(X, s.mean, s.scale, limit=3.0, out=z)
    found = cr.PiecewiseLinear.fit(X, standardization=s)
    assert found == cr.PiecewiseLinear.fit(z)
    raw = cr.PiecewiseLinear.fit(X)
    for j in range(3):
        np.testing.assert_allclose(
            edges_of_rows.from_standardized(np.array(found.edges[j][:-3]), s, j), raw.edges[j][:-3], rtol=1e-3
        )
    assert cr.PiecewiseLinear.fit(X, columns=[1], standardization=s).edges == ((), found.edges[1], ())


@pytest.mark.parametrize(
    ("X", "options", "error", "words"),
    [
        (np.array([[1.0], [np.nan]]), {}, DataError, "expected finite numbers"),
        (np.array([["a"]]), {}, DataError, "rows of numbers"),
        (np.ones((3, 1)), {"bins": 1}, OptionError, "bins"),
        (np.ones((3, 1)), {"sample_weight": np.ones(2)}, ShapeError, r"shape \(3,\), got \(2,\)"),
        (np.ones((3, 1)), {"sample_weight": np.zeros(3)}, DataError, "not all 0"),
    ],
    ids=["nan", "text", "one bin", "too few sample weights", "sample weights of 0"],
)
def test_rows_without_edges_are_refused(X, options, error, words):
    with pytest.raises(error, match=words):
        cr.PiecewiseLinear.fit(X, **options)


def test_edges_in_a_model_file_are_short_and_exact_in_float32(tmp_path, rng):
    layer = cr.PiecewiseLinear.fit(rng.normal(size=(500, 3)))
    assert all(float(np.float32(b)) == pytest.approx(b, rel=1e-7) and len(repr(b)) < 17 for e in layer.edges for b in e)
    net = cr.Network([layer, cr.Dense(2)], 3)
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").layers[0] == layer
