"""One row to predict: in order at a glance or not, answers and errors are those of scikit-learn's checks."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr
from chainrule.estimators import ready_rows

pd = pytest.importorskip("pandas", reason="pandas is not installed")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")


@pytest.fixture(scope="module")
def of_arrays() -> cr.MLPClassifier:
    return cr.MLPClassifier((4,), max_iter=2, shrink=False, random_state=0).fit(X, LABELS)


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 0, "u", "v")})


@pytest.fixture(scope="module")
def of_frames() -> cr.MLPClassifier:
    return cr.MLPClassifier((4,), max_iter=2, shrink=False, random_state=0).fit(frame(), LABELS)


@pytest.fixture
def long_way(monkeypatch):
    """Every X takes the long way from now on."""
    return lambda: monkeypatch.setattr("chainrule.estimators.validation.ready_rows", lambda *_: None)


@pytest.mark.parametrize("rows", [1, 2, 60])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_plain_array_has_the_answers_of_the_long_way(of_arrays, long_way, rows, dtype, order):
    given = np.asarray(X[:rows], dtype, order=order)
    assert ready_rows.ready_rows(of_arrays, given, None) is given
    answers = of_arrays.predict_proba(given), of_arrays.predict(given)
    long_way()
    np.testing.assert_array_equal(answers[0], of_arrays.predict_proba(given))
    np.testing.assert_array_equal(answers[1], of_arrays.predict(given))


@pytest.mark.parametrize("rows", [1, 8, 9])
def test_rows_of_a_frame_have_the_answers_of_the_long_way(of_frames, long_way, rows):
    given = frame()[:rows]
    answers = of_frames.predict_proba(given)
    long_way()
    np.testing.assert_array_equal(answers, of_frames.predict_proba(given))


REFUSED = {
    "columns": X[:1, :2],
    "one axis": X[0],
    "three axes": X[None],
    "no row": X[:0],
    "nan": np.array([[0.0, np.nan, 0.0]]),
    "inf": np.array([[0.0, np.inf, 0.0]]),
    "text": np.array([["a", "b", "c"]]),
    "complex": X[:1] + 0j,
    "masked": np.ma.masked_array(X[:1], mask=True),
    "dates": np.array([["2020-01-01"] * 3], "M8[D]"),
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_an_array_out_of_order_has_the_error_of_the_long_way(of_arrays, long_way, given):
    with pytest.raises((ValueError, TypeError)) as soon:
        of_arrays.predict_proba(given)
    long_way()
    with pytest.raises(type(soon.value)) as late:
        of_arrays.predict_proba(given)
    assert str(soon.value) == str(late.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row[["b", "a", "c"]],
        lambda row: row.rename(columns={"a": "z"}),
        lambda row: row.drop(columns="a"),
        lambda row: row.assign(d=1.0),
        lambda row: row.assign(a="text"),
        lambda row: row.assign(a=np.inf),
        lambda row: row.assign(a=pd.Timestamp(0)),
        lambda row: row[:0],
    ],
    ids=["order", "name", "lacking", "more", "text", "inf", "date", "no row"],
)
def test_a_frame_out_of_order_has_the_error_of_the_long_way(of_frames, long_way, change):
    given = change(frame()[:1])
    with pytest.raises((ValueError, TypeError)) as soon:
        of_frames.predict_proba(given)
    long_way()
    with pytest.raises(type(soon.value)) as late:
        of_frames.predict_proba(given)
    assert str(soon.value) == str(late.value)


def test_an_array_for_a_net_of_named_columns_is_warned_of():
    reg = cr.MLPRegressor((4,), max_iter=2, shrink=False).fit(pd.DataFrame(X, columns=list("abc")), X[:, 0])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        reg.predict(X[:1])


def test_a_prediction_before_the_fit_is_refused():
    with pytest.raises(Exception, match="not fitted yet"):
        cr.MLPRegressor().predict(X[:1])


def test_predictions_leave_nothing_in_a_pickle_that_changes_answers(of_frames):
    before = of_frames.predict_proba(frame()[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pickle.loads(pickle.dumps(of_frames))
    np.testing.assert_array_equal(again.predict_proba(frame()[:1]), before)
