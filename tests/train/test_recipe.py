"""Settings that nobody set, and who takes them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.recipe import RECIPES, Choices, recipe_for, resolve, weight_decay_for


def test_a_recipe_begins_at_its_number_of_rows():
    for before, recipe in itertools.pairwise(RECIPES):
        assert recipe_for(recipe.rows) == recipe
        assert recipe_for(recipe.rows - 1) == before
    assert recipe_for(10**9) == RECIPES[-1]


def test_the_decay_shrinks_weights_as_much_however_long_the_run():
    """By exp(-5 / 2) with a cosine, whose mean is half its peak; of few steps by less."""
    for steps in (5_000, 50_000):
        rates = cr.Cosine(0.002).rates(0, steps, steps)
        assert np.prod(1 - rates * weight_decay_for(0.002, steps)) == pytest.approx(np.exp(-2.5), rel=0.01)
    assert weight_decay_for(0.002, 100) == 1


@pytest.mark.parametrize("rows", [recipe.rows or 1 for recipe in RECIPES])
def test_resolve_takes_what_was_left_open_from_the_recipe(rows):
    settings, recipe = resolve(Choices(), rows, lr=0.002), recipe_for(rows)
    assert settings.hidden == recipe.hidden
    assert (settings.dropout, settings.epochs) == (recipe.dropout, recipe.epochs)
    assert (settings.batch_size, settings.alpha) == (recipe.batch_size, recipe.alpha)
    assert settings.weight_decay == weight_decay_for(0.002, recipe.epochs * -(-rows // recipe.batch_size))


def test_resolve_keeps_what_was_chosen():
    chosen = {"hidden": [7], "dropout": 0.5, "epochs": 3, "batch_size": 10, "alpha": 0.1, "weight_decay": 0.2}
    plain_net = {"members": 1, "table": None, "lr": None, "early_stopping": None}
    assert vars(resolve(Choices(**chosen), 5000, lr=0.1)) == chosen | plain_net
    assert resolve(Choices(hidden=[7]), 5000, lr=0.1).dropout == 0  # the recipe's dropout is for the recipe's layers
    assert resolve(Choices(), 5000, lr=0.1, recipe=RECIPES[0]).hidden == (100,)


def test_resolve_gives_only_adamw_a_weight_decay_by_its_updates():
    for optimizer in ("adam", "sgd", "lbfgs"):
        assert resolve(Choices(), 640, optimizer=optimizer, lr=0.1).weight_decay == 0
    once, four = (resolve(Choices(), 640, lr=0.1, accumulate=m).weight_decay for m in (1, 4))
    assert once == weight_decay_for(0.1, 200 * 10)
    assert four == weight_decay_for(0.1, 200 * 3)  # the last update of an epoch has two batches
    assert resolve(Choices(), 640, lr=0.0).weight_decay == 0  # a schedule refuses such a rate


@pytest.mark.parametrize(
    ("rows", "options", "sizes", "dropout"),
    [
        (999, {}, [100], 0),
        (1000, {}, [256], 0.2),
        (1000, {"dropout": 0.5}, [256], 0.5),
        (1000, {"hidden_layer_sizes": (16, 8)}, [16, 8], 0),
        (4096, {}, [256, 128], 0.2),
    ],
)
def test_an_estimator_takes_what_was_not_set(rng, rows, options, sizes, dropout):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X = rng.normal(size=(rows, 2)).astype("float32")
    reg = cr.MLPRegressor(device="cpu", max_iter=1, shrink=False, preset=None, **options).fit(X, X[:, 0])
    assert [len(b) for b in reg.intercepts_[:-1]] == sizes
    rates = {layer.rate for layer in reg.network_.layers if isinstance(layer, cr.Dropout)}
    assert rates == ({dropout} if dropout else set())
