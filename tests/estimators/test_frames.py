"""DataFrames with text and holes, straight into the estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")

import pandas
from sklearn.model_selection import cross_val_score

import chainrule as cr

QUICK = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (16,), "learning_rate_init": 0.02}


@pytest.fixture
def houses(rng):
    """The price is a matter of the place and of the size; a size is missing where the house is new."""
    size, place = rng.uniform(50, 150, 160), rng.choice(["coast", "hills", "town"], 160)
    price = size + np.select([place == "coast", place == "hills"], [200.0, 100.0], 0.0)
    new = rng.random(160) < 0.2
    return pandas.DataFrame({"place": place, "size": np.where(new, np.nan, size), "rooms": 3}), price + 300 * new


def test_text_and_holes_count(houses):
    X, y = houses
    reg = cr.MLPRegressor(**QUICK).fit(X[:120], y[:120], eval_set=(X[120:], y[120:]))
    assert reg.score(X[120:], y[120:]) > 0.8
    assert reg.n_features_in_ == 3
    assert reg.feature_names_in_.tolist() == ["place", "size", "rooms"]
    assert reg.network_.preparation.feature_names[:3] == ("place = coast", "place = hills", "place = town")
    clf = cr.MLPClassifier(**QUICK).fit(X, y > 250)
    assert clf.score(X, y > 250) > 0.8
    assert clf.predict_proba(X).dtype == "float32", "no more is needed, and it is sooner"
    assert cr.MLPClassifier(**QUICK, dtype="float64").fit(X, y > 250).predict_proba(X).dtype == "float64"


def test_what_a_fit_learnt_of_the_columns_is_kept(houses):
    X, y = houses
    reg = cr.MLPRegressor(**QUICK).fit(X, y)
    again = pickle.loads(pickle.dumps(reg))
    whole = X[X["size"].notna()]  # neither a hole nor all places: the columns are still those of the fit
    np.testing.assert_allclose(reg.predict(X)[X["size"].notna()], again.predict(whole), rtol=1e-5)
    np.testing.assert_allclose(
        reg.network_.predict_table(cr.read_table(X, like=reg.network_)), reg.predict(X), rtol=1e-5
    )
    assert np.isfinite(reg.predict(X.assign(place="the moon", size=np.nan))).all()
    assert cross_val_score(cr.MLPRegressor(**QUICK), X, y, cv=2).mean() > 0.7


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_tables_that_do_not_fit(houses):
    X, y = houses
    reg = cr.MLPRegressor(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        reg.predict(X[["size", "place", "rooms"]])
    with pytest.raises(ValueError, match="features"):
        reg.predict(X.to_numpy()[:, :2])
    with pytest.raises(cr.DataError, match="ndarray came, a DataFrame"):
        reg.predict(X.to_numpy())
    with pytest.raises(cr.DataError, match=r"'when', row 0 .from 0.: .* no date"):
        reg.fit(X.assign(when=pandas.Timestamp("2026-01-01")), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        reg.fit(X, y[:10])
    with pytest.raises(ValueError, match="could not convert string"):
        cr.MLPRegressor(**QUICK).fit(X[["rooms"]], y).predict(X[["rooms"]].assign(rooms="many"))
