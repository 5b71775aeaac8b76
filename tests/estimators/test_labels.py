"""Labels of any type in the classifier: exact, with their names; rare, sparse, weighted, and when a fit continues."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import scipy.sparse as sp
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier as Theirs

import chainrule as cr
from chainrule.estimators.early_stopping import split_by_class

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

QUICK = {"max_iter": 2, "random_state": 0, "shrink": False, "device": "cpu", "hidden_layer_sizes": (4,)}
X = np.random.default_rng(0).normal(size=(60, 3))
B = (X[:, 0] > 0).astype(int)
LARGE, TEXT = np.array([2**60, 2**60 + 1])[B], np.array(["1", "1.0"])[B]
LARGE_NAMES = (str(2**60), str(2**60 + 1))
Y = (np.random.default_rng(1).random((60, 4)) > 0.5).astype(int)


def arrow_backed(kind):
    return pd.ArrowDtype(kind)


LABELS = {
    "uint64": (LARGE.astype(np.uint64), LARGE_NAMES),
    "a list": (LARGE.tolist(), LARGE_NAMES),
    "a list beyond int64": ([2**63 + i for i in B.tolist()], (str(2**63), str(2**63 + 1))),
    "objects": (np.array(LARGE.tolist(), object), LARGE_NAMES),
    "Int64": (pd.Series(LARGE, dtype="Int64"), LARGE_NAMES),
    "UInt64": (pd.Series(LARGE, dtype="UInt64"), LARGE_NAMES),
    "a frame of Int64": (pd.DataFrame({"y": LARGE}, dtype="Int64"), LARGE_NAMES),
    "int64 of Arrow": (pd.Series(LARGE, dtype=arrow_backed(pa.int64())), LARGE_NAMES),
    "uint64 of Arrow": (pd.Series(LARGE, dtype=arrow_backed(pa.uint64())), LARGE_NAMES),
    "Int128": (pl.Series(LARGE.tolist(), dtype=pl.Int128), LARGE_NAMES),
    "UInt64 of Polars": (pl.Series(LARGE.tolist(), dtype=pl.UInt64), LARGE_NAMES),
    "bool": (B > 0, ("False", "True")),
    "objects of bool": (np.array((B > 0).tolist(), object), ("False", "True")),
    "boolean": (pd.Series(B > 0, dtype="boolean"), ("False", "True")),
    "bool of Arrow": (pd.Series(B > 0, dtype=arrow_backed(pa.bool_())), ("False", "True")),
    "Boolean": (pl.Series((B > 0).tolist()), ("False", "True")),
    "text": (TEXT, ("1", "1.0")),
    "text of pandas": (pd.Series(TEXT), ("1", "1.0")),
    "string": (pd.Series(TEXT, dtype="string"), ("1", "1.0")),
    "String": (pl.Series(TEXT.tolist()), ("1", "1.0")),
    "text of NumPy": (TEXT.astype(np.dtypes.StringDType()), ("1", "1.0")),
    "categories": (pd.Series(pd.Categorical(TEXT, categories=["never", "1.0", "1"])), ("1", "1.0")),
    "Categorical": (pl.Series(TEXT.tolist(), dtype=pl.Categorical), ("1", "1.0")),
    "real": (np.array([3.0, 4.0])[B], ("3", "4")),
    "Float64": (pd.Series(np.array([3.0, 4.0])[B], dtype="Float64"), ("3", "4")),
    "int8": (B.astype(np.int8), ("0", "1")),
    "a list on both sides of int64": ([[3, 2**63][i] for i in B.tolist()], ("3", str(2**63))),
    "objects on both sides of int64": (np.array([3, 2**64 - 1], object)[B], ("3", str(2**64 - 1))),
    "an array of Arrow": (pa.array(TEXT.tolist()), ("1", "1.0")),
    "categories of Arrow": (pa.array(TEXT.tolist()).dictionary_encode(), ("1", "1.0")),
    "runs of Arrow": (pa.chunked_array([pa.array(TEXT.tolist())]), ("1", "1.0")),
    "an array of bool of Arrow": (pa.array((B > 0).tolist()), ("False", "True")),
}


@pytest.mark.parametrize(("y", "names"), LABELS.values(), ids=LABELS.keys())
def test_labels_stay_what_they_are(y, names):
    clf = cr.MLPClassifier(**QUICK).fit(X, y, eval_set=(X, y))
    assert clf.network_.preparation.classes == names
    assert clf.score(X, y) == (clf.predict(X) == clf.classes_[B]).mean() == clf.score(X, clf.classes_[B])
    assert len(clf.classes_) == 2
    by_parts = cr.MLPClassifier(**QUICK).partial_fit(X, y, classes=clf.classes_).partial_fit(X, y)
    np.testing.assert_array_equal(by_parts.classes_, clf.classes_)
    warm = cr.MLPClassifier(**QUICK, warm_start=True).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(warm.classes_, clf.classes_)


def test_labels_of_two_types_that_are_equal():
    """uint64 with int64 is float64 to NumPy, in which large neighbours are equal."""
    clf = cr.MLPClassifier(**QUICK).fit(X, LARGE.astype(np.uint64), eval_set=(X, LARGE))
    assert clf.score(X, LARGE) == clf.score(X, pd.Series(LARGE, dtype="Int64")) == clf.score(X, LARGE.astype(np.uint64))
    clf.partial_fit(X, LARGE)
    for other in (np.array(LARGE_NAMES)[B], LARGE + 1, LARGE.astype(float)[B > 0] + 512):
        with pytest.raises(cr.DataError, match="has classes not in"):
            clf.partial_fit(X[: len(other)], other)


BAD = {
    "beyond 64 bits": (np.array([2**70, 2**70 + 1], object)[B], "at most 64 bits, got 1180591620717411303.* at row"),
    "of both signs beyond 63 bits": ([[2**63, -1][i] for i in B], "at most 64 bits, got 9223372036854775808 at row"),
    "a null of pandas": (pd.Series([None, *(B > 0)[1:].tolist()], dtype="boolean"), "the first is at row 0"),
    "a null of Int64": (pd.Series([*LARGE[:-1].tolist(), None], dtype="Int64"), "the first is at row 59"),
    "a null of Polars": (pl.Series([None, *(B > 0)[1:].tolist()]), "the first is at row 0"),
    "a null of Int128": (pl.Series([None, *LARGE[1:].tolist()], dtype=pl.Int128), "the first is at row 0"),
    "a null of Arrow": (pa.array([None, *TEXT.tolist()[1:]]), "the first is at row 0"),
    "nan in a list of text": (["a", float("nan"), *["b"] * 58], "the first is at row 1"),
    "a number in a list of text": (["1", 1, *["2"] * 58], "one type, got '1' at row 0 and 1 at row 1"),
    "objects of text and numbers": (np.array([1, "1", *["2"] * 58], object), "one type, got 1 at row 0 and '1' at row"),
    "decimals": (pa.array([Decimal(i) for i in B.tolist()]), "got Decimal at row 0"),
    "lists": (pa.array([[1]] * 60), "bool, got ndarray at row 0"),
    "half a surrogate pair": (np.array(["\ud800", "b"])[B], "half a surrogate pair at row"),
    "dates of Polars": (pl.Series(pd.date_range("2020", periods=60)), "got y of dtype datetime64"),
    "dates of Arrow": (pa.array(range(60), pa.date32()), "got y of dtype datetime64"),
    "dates as categories": (pd.Series(pd.Categorical(pd.date_range("2020", periods=60))), "got y of dtype datetime64"),
    "a null among text": (np.array(["a", None, *["b"] * 58], object), "the first is at row 1"),
}


@pytest.mark.parametrize(("y", "words"), BAD.values(), ids=BAD.keys())
def test_labels_that_are_none(y, words):
    with pytest.raises(cr.DataError, match=words):
        cr.MLPClassifier(**QUICK).fit(X, y)


def test_labels_of_two_types_in_every_place():
    clf = cr.MLPClassifier(**QUICK).fit(X, TEXT)
    for asked in (
        lambda: clf.score(X, ["1", 2] * 30),
        lambda: clf.fit(X, TEXT, eval_set=(X, ["1", 2] * 30)),
        lambda: cr.MLPClassifier(**QUICK).partial_fit(X, TEXT, classes=["1", "1.0", 1]),
        lambda: cr.MLPClassifier(**QUICK).partial_fit(X, ["1", 2] * 30, classes=["1", "1.0"]),
    ):
        with pytest.raises(cr.DataError, match=r"expected labels of one type, got '1' at row 0 and [12] at row"):
            asked()


def test_targets_of_a_regression_of_arrow():
    y = X[:, 0].round(2)
    as_numpy = cr.MLPRegressor(**QUICK).fit(X, y)
    for same in (pa.array([Decimal(f"{v:.2f}") for v in y]), pa.chunked_array([y.tolist()])):
        np.testing.assert_array_equal(cr.MLPRegressor(**QUICK).fit(X, same).predict(X), as_numpy.predict(X))
    with pytest.raises(cr.DataError, match="the first is at row 0"):
        cr.MLPRegressor(**QUICK).fit(X, pa.array([None, *y.tolist()[1:]]))
    with pytest.raises(cr.DataError, match="write dates as numbers"):
        cr.MLPRegressor(**QUICK).fit(X, pl.Series(pd.date_range("2020", periods=60)))


def test_a_regression_on_numbers_that_float64_cannot_tell_apart():
    for y in (LARGE, pl.Series(LARGE.tolist(), dtype=pl.Int128)):
        reg = cr.MLPRegressor(**QUICK).fit(X, y)
        np.testing.assert_allclose(reg.predict(X), 2.0**60)
        assert reg.score(X, y) <= 1


# ---- sparse indicators --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array, sp.coo_array, sp.lil_matrix, sp.dok_array])
@pytest.mark.parametrize("dtype", [int, bool, float])
def test_a_sparse_indicator_is_a_multilabel_target(kind, dtype):
    sparse = kind(Y.astype(dtype))
    dense, clf = (cr.MLPClassifier(**QUICK).fit(X, y, eval_set=(X, y)) for y in (Y.astype(dtype), sparse))
    np.testing.assert_array_equal(clf.predict_proba(X), dense.predict_proba(X))
    assert isinstance(clf.predict(X), np.ndarray)
    assert clf.predict(X).shape == (60, 4)
    assert clf.score(X, sparse) == dense.score(X, Y)
    assert clf.validation_scores_ == dense.validation_scores_
    parts = cr.MLPClassifier(**QUICK).partial_fit(X, sparse).partial_fit(X, sparse)
    assert parts.n_outputs_ == 4


def test_sparse_indicators_in_a_search_and_what_is_refused():
    sparse = sp.csr_matrix(Y)
    found = GridSearchCV(cr.MLPClassifier(**QUICK), {"alpha": [0.0, 1.0]}, cv=2).fit(X, sparse)
    assert found.predict(X).shape == (60, 4)
    stopped = cr.MLPClassifier(**QUICK, early_stopping=True).fit(X, sparse)
    assert stopped.n_outputs_ == 4
    with pytest.raises(TypeError, match="Sparse data was passed"):
        cr.MLPClassifier(**QUICK).fit(sp.csr_matrix(X), sparse)
    with pytest.raises(TypeError, match="Sparse data was passed for y"):
        cr.MLPRegressor(**QUICK).fit(X, sparse)
    with pytest.raises(ValueError, match="expected a number from 0 to 1, got 2"):
        cr.MLPClassifier(**QUICK).fit(X, 2 * sparse)


# ---- rare classes -------------------------------------------------------------------------------------


RARE = {
    "one row": np.r_[[0] * 30, [1] * 29, [2]],
    "two rows each": np.r_[np.arange(30), np.arange(30)],
    "one row each but for one class": np.r_[np.arange(25), [3] * 35],
    "three rows": np.r_[[0] * 57, [1] * 3],
}


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("y", RARE.values(), ids=RARE.keys())
def test_early_stopping_keeps_each_class_in_the_training_rows(y, fraction):
    for seed in range(5):
        train, valid = split_by_class(y, fraction, np.random.RandomState(seed))
        assert set(y[train]) == set(y)
        assert sorted([*train, *valid]) == list(range(60))
        assert len(valid) == min(np.ceil(fraction * 60), 60 - len(set(y)))
    clf = cr.MLPClassifier(**QUICK, early_stopping=True, validation_fraction=fraction).fit(X, y)
    assert clf.classes_.tolist() == sorted(set(y.tolist()))


def test_early_stopping_splits_as_scikit_learn_wherever_it_can():
    y = np.r_[[0] * 30, [1] * 25, [2] * 5]
    for seed in range(5):
        ours = split_by_class(y, 0.1, np.random.RandomState(seed))
        theirs = train_test_split(np.arange(60), test_size=0.1, stratify=y, random_state=np.random.RandomState(seed))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_early_stopping_without_a_class_of_two_rows():
    with pytest.raises(ValueError, match="expected a class of at least two rows"):
        split_by_class(np.arange(60), 0.1, np.random.RandomState(0))


# ---- weights of classes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "weights"),
    [
        (B, {0: 1.0, 1: 4.0, 7: 3.0}),
        (B, {np.int64(1): 4.0}),
        (B, {1.0: 4}),
        (np.array(["a", "b"])[B], {np.str_("b"): 4.0, "never": 2.0}),
        (B > 0, {True: 4.0}),
        (B > 0, {np.bool_(True): 4.0}),
        (LARGE.astype(np.uint64), {2**60 + 1: 4.0, 2**60: 1.0}),
    ],
)
def test_class_weight_of_labels_of_any_type(y, weights):
    clf = cr.MLPClassifier(**QUICK, class_weight=weights).fit(X, y)
    same = cr.MLPClassifier(**QUICK).fit(X, B, sample_weight=np.where(B, 4.0, 1.0))
    # The standardisation goes by weights of rows, not of classes.
    plain = cr.MLPClassifier(**QUICK).fit(X, B)
    assert clf.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    assert same.n_iter_ == clf.n_iter_


def test_class_weight_of_a_class_that_a_fold_lacks():
    y = np.r_[[0] * 30, [1] * 28, [2] * 2]
    order = np.argsort(X[:, 1])
    clf = cr.MLPClassifier(**QUICK, class_weight={0: 1, 1: 2, 2: 9})
    folds = [(np.arange(58), np.arange(58, 60)), (np.arange(60)[::-1][:50], np.arange(10))]
    assert len(cross_val_score(clf, X[order], y, cv=folds)) == 2
    GridSearchCV(clf, {"alpha": [0, 1]}, cv=folds).fit(X, y)


def test_class_weight_of_what_cannot_be_a_label_is_refused():
    for weights in ({"0": 1.0}, [1, 2], {0: -1.0}, {0: "much"}):
        with pytest.raises(cr.OptionError, match="class_weight"):
            cr.MLPClassifier(**QUICK, class_weight=weights).fit(X, B)


# ---- a fit that continues -----------------------------------------------------------------------------


OTHER = {"another label": B * 2, "a label less": np.zeros(60, int), "a label more": np.r_[2, B[1:]], "text": TEXT}


@pytest.mark.parametrize("y", OTHER.values(), ids=OTHER.keys())
def test_a_warm_start_with_other_classes_is_refused_as_by_scikit_learn(y):
    match = "warm_start can only be used where `y` has the same classes as in the previous call to fit"
    theirs = Theirs(max_iter=1, warm_start=True, solver="sgd")
    with pytest.warns(match="converged"):
        theirs.fit(X, B)
    clf = cr.MLPClassifier(**QUICK, warm_start=True).fit(X, B)
    before = clf.predict_proba(X)
    for estimator in (theirs, clf):
        with pytest.raises(ValueError, match=match):
            estimator.fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.set_params(warm_start=False).fit(X, np.r_[5, B[1:]]).classes_.tolist() == [0, 1, 5]


def test_a_warm_start_with_other_columns_is_refused():
    clf = cr.MLPClassifier(**QUICK, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"the same classes.*Previously got \[0 1 2 3\], `y` has \[0 1 2\]"):
        clf.fit(X, Y[:, :3])
    with pytest.raises(ValueError, match="expected an indicator of 4 classes"):
        clf.fit(X, B)
    with pytest.raises(ValueError, match="expected one label per row, got an indicator"):
        cr.MLPClassifier(**QUICK, warm_start=True).fit(X, B).fit(X, Y)
    with pytest.raises(ValueError, match="expected y of 3 columns as in the previous fit, got 2"):
        cr.MLPRegressor(**QUICK, warm_start=True).fit(X, X).fit(X, X[:, :2])


def test_partial_fit_may_lack_classes():
    clf = cr.MLPClassifier(**QUICK, warm_start=True).fit(X, B)
    assert clf.partial_fit(X[B > 0], B[B > 0]).classes_.tolist() == [0, 1]


# ---- words for holes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_words_for_holes_are_text_in_a_typed_column(dtype):
    frame = pd.DataFrame({"land": pd.Series(["NA", "ZA", None] * 40, dtype=dtype)})
    y = np.array([5.0, -5.0, 0.0] * 40)
    reg = cr.MLPRegressor(**QUICK | {"max_iter": 150, "learning_rate_init": 0.02}).fit(frame, y)
    np.testing.assert_allclose(reg.predict(frame.head(3)), y[:3], atol=0.5)
    assert reg.network_.preparation.encoder.columns[0].categories == ("NA", "ZA")
    folds = cross_val_score(reg, frame, y, cv=3)
    assert folds.min() > 0.9


def test_rows_are_read_as_training_read_its_own():
    """Objects of several kinds are read as a text file is: there a word is a hole, in new rows of one kind too."""
    frame = pd.DataFrame({"a": pd.Series(["u", "NA", 7.0, "v"] * 20, dtype=object), "b": range(80)})
    y = np.arange(80) % 4
    reg = cr.MLPRegressor(**QUICK).fit(frame, y)
    column = reg.network_.preparation.encoder.columns[0]
    assert (column.categories, column.missing, column.marks) == (("7", "u", "v"), True, None)
    new = [pd.DataFrame({"a": values, "b": range(3)}) for values in (["NA", "u", "7.0"], [None, "u", "7"])]
    np.testing.assert_array_equal(*(reg.predict(rows) for rows in new))
