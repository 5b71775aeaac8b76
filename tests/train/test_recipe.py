"""Settings that nobody set, and who takes them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.recipe import RECIPES, recipe_for, weight_decay_for


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
    reg = cr.MLPRegressor(device="cpu", max_iter=1, shrink=False, **options).fit(X, X[:, 0])
    assert [len(b) for b in reg.intercepts_[:-1]] == sizes
    rates = {layer.rate for layer in reg.network_.layers if isinstance(layer, cr.Dropout)}
    assert rates == ({dropout} if dropout else set())
