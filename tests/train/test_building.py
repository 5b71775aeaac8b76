"""The one road from settings to a net, an optimiser and a trainer."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.building import Architecture, TrainingRows, Updates, build_net, build_optimizer, build_trainer
from chainrule.train.recipe import FEATURE_LIMIT, Choices, resolve

SETTINGS = resolve(Choices(hidden=[5, 3], dropout=0.25, epochs=4, batch_size=8, alpha=0.5, weight_decay=0.01), 20)


def architecture(**options):
    usual = {
        "activation": "tanh",
        "normalization": None,
        "loss": cr.SquaredError(),
        "n_out": 1,
        "scaling": "standard",
        "backend": cr.backend("cpu"),
        "dtype": "float64",
        "seed": 1,
    }
    return Architecture(**{**usual, **options})


def test_build_net_has_the_settings_and_is_prepared_for_its_rows(rng):
    X, y, weights = rng.normal(2, 3, (20, 4)), rng.normal(5, 2, 20), rng.random(20)
    rows = TrainingRows(X=X, y=y, weights=weights, feature_names=("a", "b", "c", "d"), target_name="t")
    net = build_net(architecture(), SETTINGS, rows)
    assert net.widths == (4, 5, 3, 1)
    assert [layer.rate for layer in net.layers if isinstance(layer, cr.Dropout)] == [0.25, 0.25]
    features = cr.Standardization.fit(X, limit=FEATURE_LIMIT, sample_weight=weights)
    np.testing.assert_array_equal(net.preparation.features.mean, features.mean)
    assert net.preparation.features.limit == FEATURE_LIMIT
    np.testing.assert_allclose(net.preparation.targets.mean, np.average(y, weights=weights))
    assert (net.preparation.feature_names, net.preparation.target_name) == (("a", "b", "c", "d"), "t")


def test_build_net_scales_robustly_by_sample_weight(rng):
    rows = TrainingRows(X=rng.normal(size=(20, 4)), y=rng.normal(size=20), weights=rng.random(20))
    found = build_net(architecture(scaling="robust"), SETTINGS, rows).preparation.features
    want = cr.Standardization.fit_robust(rows.X, limit=FEATURE_LIMIT, sample_weight=rows.weights)
    np.testing.assert_array_equal(found.mean, want.mean)
    assert not np.array_equal(found.mean, cr.Standardization.fit_robust(rows.X).mean)


@pytest.mark.parametrize(
    ("options", "features", "targets"),
    [
        ({"scaling": None}, False, False),
        ({"scaling": "robust"}, True, True),
        ({"loss": cr.Poisson()}, True, False),
        ({"loss": cr.SigmoidCrossEntropy()}, True, False),
    ],
)
def test_build_net_standardizes_what_scaling_and_loss_allow(rng, options, features, targets):
    rows = TrainingRows(X=rng.normal(size=(20, 4)), y=rng.integers(0, 2, 20).astype(float))
    preparation = build_net(architecture(**options), SETTINGS, rows).preparation
    assert (preparation.features is not None, preparation.targets is not None) == (features, targets)


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", cr.AdamW), ("adam", cr.Adam), ("sgd", cr.SGD), ("lbfgs", cr.LBFGS)]
)
def test_build_trainer_completes_an_optimizer_that_was_built_before_the_rows(name, kind):
    schedule = None if name == "lbfgs" else cr.Constant(0.1)
    optimizer = build_optimizer(Updates(optimizer=name, schedule=schedule))
    net = build_net(architecture(), SETTINGS, TrainingRows(X=np.eye(4), y=np.arange(4.0)))
    trainer = build_trainer(net, optimizer, SETTINGS, seed=3)
    assert type(optimizer) is type(trainer.optimizer) is kind
    assert (optimizer.weight_decay, trainer.optimizer.weight_decay) == (0.0, 0.01)
    assert trainer.epochs == 4
    assert name == "lbfgs" or trainer.batch_size == 8


def test_build_optimizer_refuses_a_wrong_option_before_there_is_a_net():
    with pytest.raises(cr.OptionError, match="momentum"):
        build_optimizer(Updates(optimizer="sgd", schedule=cr.Constant(0.1), momentum=2.0))
