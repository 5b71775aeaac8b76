"""What comes in is checked once: refused with the place that is wrong, or used as if it had been a clean copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import DataError, ShapeError
from chainrule.nn.inputs.preparation import Preparation, Standardization

N, N_IN, N_OUT = 6, 3, 3
X = np.random.default_rng(0).normal(size=(N, N_IN))
Y = {
    "softmax_cross_entropy": np.arange(N) % N_OUT,
    "sigmoid_cross_entropy": (np.arange(N * N_OUT) % 2).reshape(N, N_OUT),
    "squared_error": X[:, :N_OUT] ** 2,
}


def spoilt(array: np.ndarray, at: Any, value: float) -> np.ndarray:
    copy = array.astype(np.float64)
    copy[at] = value
    return copy


# What comes instead of X, y or the weights; the error; what its message has to name.
WRONG_X = {
    "one axis": (X[0], ShapeError, r"expected X of shape \(n, 3\), got \(3,\)(?s:.*)X\[None, :\]"),
    "three axes": (X[None], ShapeError, r"expected X of shape \(n, 3\), got \(1, 6, 3\)"),
    "a number": (1.0, ShapeError, r"expected X of shape \(n, 3\), got \(\)"),
    "a column too few": (X[:, :2], ShapeError, r"expected X of shape \(n, 3\), got \(6, 2\)"),
    "transposed": (X.T, ShapeError, r"expected X of shape .*, got \(3, 6\)"),
    "no rows": (X[:0], DataError, "X: expected at least one row, got none"),
    "an empty list": ([], ShapeError, r"expected X of shape .*, got \(0,\)"),
    "a nan": (spoilt(X, (4, 1), np.nan), DataError, "X at row 4, column 1: expected a finite number, got nan"),
    "inf, then nan": (
        spoilt(spoilt(X, (2, 2), -np.inf), (3, 0), np.nan),
        DataError,
        "row 2, column 2: expected a finite number, got -inf",
    ),
    "too large": (
        spoilt(X, (5, 0), 1e39),
        DataError,
        r"row 5, column 0: expected a finite number, got 1e\+39, which does not fit float32",
    ),
    "masked": (np.ma.masked_greater(X, 1.0), DataError, "X: expected a plain array(?s:.*)fill or drop them first"),
    "objects": (X.astype(object), DataError, "expected real numbers, got X of dtype object(?s:.*)text columns"),
    "text": (X.astype(str), DataError, "got X of dtype <U32"),
    "complex": (X + 1j, DataError, "got X of dtype complex128"),
    "dates": (np.zeros((N, N_IN), "M8[s]"), DataError, "X of dtype datetime64"),
    "records": (np.zeros((N, N_IN), [("a", "f4")]), DataError, "X of dtype"),
    "unequal rows": ([[1, 2, 3], [1, 2]], DataError, "X: expected rows of one length, got rows of 3 and 2 numbers"),
    "None": (None, DataError, "X of dtype object"),
}
WRONG_Y = {
    "a row too few": (
        "softmax_cross_entropy",
        Y["softmax_cross_entropy"][:-1],
        ShapeError,
        "same number of rows, got 6 and 5",
    ),
    "a number": ("softmax_cross_entropy", 1, ShapeError, "y: expected one value per row, got a single value"),
    "one column too many": ("softmax_cross_entropy", np.zeros((N, 2), int), ShapeError, r"got shape \(6, 2\)"),
    "too large": (
        "softmax_cross_entropy",
        [0, 1, 2, 3, 0, 1],
        DataError,
        "label at row 3: expected a class from 0 to 2, got 3",
    ),
    "negative": (
        "softmax_cross_entropy",
        [0, 1, 2, 0, -1, 1],
        DataError,
        "label at row 4: expected a class from 0 to 2, got -1",
    ),
    "not whole": ("softmax_cross_entropy", [0, 1.5, 2, 0, 0, 1], DataError, "row 1: expected a whole number, got 1.5"),
    "nan label": (
        "softmax_cross_entropy",
        [0, 1, np.nan, 0, 0, 1],
        DataError,
        "row 2: expected a whole number, got nan",
    ),
    "names": ("softmax_cross_entropy", list("abcabc"), DataError, "got labels of dtype <U1"),
    "label objects": ("softmax_cross_entropy", np.arange(N).astype(object), DataError, "labels of dtype object"),
    "complex labels": ("softmax_cross_entropy", np.zeros(N, complex), DataError, "labels of dtype complex128"),
    "unequal": ("softmax_cross_entropy", [0, 1, [2], 0, 0, 1], DataError, "not a regular array"),
    "masked": ("softmax_cross_entropy", np.ma.masked_equal(np.arange(N), 1), DataError, "y: expected a plain array"),
    "targets of one column": ("squared_error", Y["squared_error"][:, :1], ShapeError, r"\(n, 3\), got \(6, 1\)"),
    "targets of one axis": ("squared_error", Y["squared_error"][:, 0], ShapeError, r"\(n, 3\), got \(6,\)"),
    "nan target": (
        "squared_error",
        spoilt(Y["squared_error"], (3, 2), np.nan),
        DataError,
        "row 3, column 2: expected a finite number, got nan",
    ),
    "large target": (
        "squared_error",
        spoilt(Y["squared_error"], (3, 2), 1e39),
        DataError,
        r"row 3, column 2: expected a number that fits float32, got 1e\+39",
    ),
    "target objects": ("squared_error", Y["squared_error"].astype(object), DataError, "targets of dtype object"),
    "not 0 to 1": (
        "sigmoid_cross_entropy",
        spoilt(Y["sigmoid_cross_entropy"], (1, 0), 1.5),
        DataError,
        "row 1, column 0: expected a number from 0 to 1, got 1.5",
    ),
    "below 0": (
        "sigmoid_cross_entropy",
        spoilt(Y["sigmoid_cross_entropy"], (5, 2), -0.1),
        DataError,
        "row 5, column 2: expected a number from 0 to 1, got -0.1",
    ),
}
WRONG_WEIGHTS = {
    "a row too few": (np.ones(N - 1), ShapeError, r"expected sample_weight of shape \(6,\), got \(5,\)"),
    "a column": (np.ones((N, 1)), ShapeError, r"expected sample_weight of shape .*, got \(6, 1\)"),
    "a number": (1.0, ShapeError, "sample_weight: expected one value per row, got a single value"),
    "negative": (
        [1, 1, -0.5, 1, 1, 1],
        DataError,
        "sample_weight at row 2: expected a finite number from 0 up, got -0.5",
    ),
    "nan": ([1, 1, 1, 1, 1, np.nan], DataError, "sample_weight at row 5: expected a finite number from 0 up, got nan"),
    "inf": ([np.inf, 1, 1, 1, 1, 1], DataError, "sample_weight at row 0: expected a finite number from 0 up, got inf"),
    "all zero": (np.zeros(N), DataError, "expected at least one weight above 0, got zeros"),
    "text": (["a"] * N, DataError, "sample_weight of dtype <U1"),
    "masked": (np.ma.masked_equal(np.arange(N), 1), DataError, "sample_weight: expected a plain array"),
}


@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-45, 1e-6, 7.0, 1e39, 5e307])
def test_only_ratios_of_sample_weight_matter(backend, factor):
    """Also of those whose sum no float32, or no float64, could hold; their mean is 1."""
    weights = np.array([1.0, 2, 0, 1, 3, 1])
    net, y = net_for("squared_error", backend), Y["squared_error"]
    one, other = (backend.download(net.upload_rows(X, y, w).weights) for w in (weights, factor * weights))
    np.testing.assert_allclose(one, other, rtol=1e-6 if factor > 1e-310 else 1e-2)
    assert one[one > 0].mean() == pytest.approx(1)


def test_validation_rows_without_sample_weight_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(cr.DataError, match="weight 0"):
        cr.Trainer(cr.MLP([3, 1], loss="squared_error"), epochs=1).fit(
            rows, rows[:, :1], sample_weight=np.eye(20)[3], validation=0.25
        )


def test_reduction_sum_uses_sample_weight_as_given():
    rows = net_for("squared_error_sum").upload_rows(X, Y["squared_error"], [2, 2, 2, 2, 2, 4])
    np.testing.assert_array_equal(rows.weights, [2, 2, 2, 2, 2, 4])


def net_for(loss: str, backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP([N_IN, 4, N_OUT], loss=loss, backend=backend, **options)


USES = {
    "fit": lambda net, X: cr.Trainer(net).fit(X, Y["softmax_cross_entropy"]),
    "predict": lambda net, X: net.predict(X),
    "predict_proba": lambda net, X: net.predict_proba(X),
    "loss_and_gradients": lambda net, X: net.loss_and_gradients(X, Y["softmax_cross_entropy"]),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", WRONG_X)
def test_wrong_features_are_refused(backend, case, use):
    bad, error, message = WRONG_X[case]
    net = net_for("softmax_cross_entropy", backend)
    with pytest.raises(error, match=message):
        USES[use](net, bad)


@pytest.mark.parametrize("case", WRONG_Y)
def test_wrong_targets_are_refused(backend, case):
    loss, bad, error, message = WRONG_Y[case]
    with pytest.raises(error, match=message):
        cr.Trainer(net_for(loss, backend)).fit(X, bad)


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_wrong_sample_weight_is_refused(backend, case):
    bad, error, message = WRONG_WEIGHTS[case]
    with pytest.raises(error, match=message):
        cr.Trainer(net_for("softmax_cross_entropy", backend)).fit(X, Y["softmax_cross_entropy"], sample_weight=bad)


def test_a_value_that_standardisation_brings_into_range_is_fine(backend):
    """1e39 does not fit float32; standardised it does, and so is computed in float64 before it is rounded."""
    big = X * 1e39
    net, plain = net_for("softmax_cross_entropy", backend), net_for("softmax_cross_entropy", backend)
    net.preparation = cr.Preparation(features=cr.Standardization(np.zeros(N_IN), np.full(N_IN, 1e39)))
    np.testing.assert_allclose(net.predict_proba(big), plain.predict_proba(X), rtol=1e-6)


def test_what_needs_no_conversion_is_not_copied():
    x, w = X.astype(np.float32), np.ones(N, np.float32)
    rows = net_for("softmax_cross_entropy").upload_rows(x, Y["softmax_cross_entropy"], w)
    assert rows.x is x
    assert rows.weights is w


def test_rows_of_a_device_stay_there(backend):
    """Arrays that the backend made can be trained on and predicted from, and the answer is on the device too."""
    x, y = backend.upload(X), backend.upload(Y["softmax_cross_entropy"])
    net = net_for("softmax_cross_entropy", backend)
    cr.Trainer(net, epochs=1).fit(x, y, sample_weight=backend.upload(np.ones(N)))
    answer = net.predict_proba(x)
    assert type(answer) is type(x)
    np.testing.assert_array_equal(backend.download(answer), net.predict_proba(X))


# ---- odd arrays -----------------------------------------------------------------------------------

KINDS = [
    *("float16", "float32", "float64", "longdouble", ">f4", ">f8", "int8", "int16", "int32", "int64", ">i2", "uint8"),
    *("uint64", "bool", "complex64", "object", "U4"),
]


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(a.tobytes(), np.uint8)
    return raw.view(a.dtype).reshape(a.shape)


LAYOUTS = {
    "as it is": lambda a: a,
    "Fortran order": np.asfortranarray,
    "reversed": lambda a: a[::-1],
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second element of a row": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim > 1 else a,
    "one row again and again": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": read_only,
    "a subclass": lambda a: a.view(np.recarray),
    "a list": lambda a: a.tolist(),
    "a tuple of arrays": tuple,
    "masked": np.ma.masked_array,
}


def is_clean(array: Any) -> bool:
    kind = np.asarray(array).dtype.kind
    return not isinstance(array, np.ma.MaskedArray) and kind in "biuf"


def snapshot(array: Any) -> Any:
    return array if isinstance(array, list | tuple) else array.tobytes()


@st.composite
def odd_arrays(draw: st.DrawFn, top: int, shape: tuple[int, ...]) -> Any:
    """Whole numbers from 0 to ``top`` (1 for bool), which every dtype holds, in any dtype and layout."""
    kind, layout = draw(st.sampled_from(KINDS)), draw(st.sampled_from([*LAYOUTS, "unaligned"]))
    size = int(np.prod(shape))
    top = 1 if kind == "bool" else top
    numbers = draw(st.lists(st.integers(0, top), min_size=size, max_size=size))
    array = np.array(numbers).reshape(shape).astype(kind)
    if layout == "unaligned":
        return array if kind == "object" else unaligned(array)
    return LAYOUTS[layout](array)


@settings(max_examples=150, derandomize=True, database=None)
@given(
    X=odd_arrays(9, (5, N_IN)),
    y=odd_arrays(N_OUT - 1, (5,)),
    w=odd_arrays(3, (5,)),
    guarded=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_odd_arrays_are_as_good_as_clean_copies_or_refused(X, y, w, guarded, dtype):
    """A fit and a prediction: bit for bit those of clean copies, or a clear error; and the arrays are as they were."""
    before = [snapshot(array) for array in (X, y, w)]

    def outcome(X: Any, y: Any, w: Any) -> Any:
        net = net_for("softmax_cross_entropy", cr.GuardedBackend() if guarded else None, dtype=dtype)
        cr.Trainer(net, batch_size=3, epochs=2).fit(X, y, sample_weight=w)
        return net.predict_proba(X).tolist()

    refusal, got = "", None
    try:
        got = outcome(X, y, w)
    except cr.ChainruleError as error:
        refusal = error.message
    if all(is_clean(array) for array in (X, y, w)) and np.asarray(w).any():
        assert refusal == ""
        assert got == outcome(*(np.array(np.asarray(a).tolist(), float, order="C") for a in (X, y, w)))
    else:
        assert any(
            words in refusal for words in ("of dtype", "masked", "expected at least one weight above 0, got zeros")
        ), refusal
    assert [snapshot(array) for array in (X, y, w)] == before


@pytest.mark.parametrize("loss", Y)
def test_inputs_are_never_written_to(backend, loss):
    """Arrays of just the net's dtype, which are used where they lie, locked against writing."""
    x, y, w = (read_only(a) for a in (X.astype(np.float32), Y[loss], np.ones(N, np.float32)))
    if loss != "softmax_cross_entropy":
        y = read_only(y.astype(np.float32))
    net = net_for(loss, backend)
    cr.Trainer(net, batch_size=4, epochs=2).fit(x, y, sample_weight=w, validation=(x, y, w))
    net.predict(x)
    net.loss_and_gradients(x, y, w)


def test_a_memory_map_can_be_trained_on(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    nets = [net_for("squared_error"), net_for("squared_error")]
    for net, x in zip(nets, (mapped, X), strict=True):
        cr.Trainer(net, epochs=2).fit(x, Y["squared_error"])
    assert nets[0].predict(mapped).tolist() == nets[1].predict(X).tolist()
    assert isinstance(nets[0].predict(mapped), np.ndarray)


# ---- narrow features --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "int8", "bool", "float16", "int16", "uint16"])
@pytest.mark.parametrize("standardized", [False, True])
def test_narrow_features_give_what_floats_give(backend, kind, standardized):
    """A table of pixels trains and predicts bit for bit like the same numbers in float32, wherever it is converted."""
    rng = np.random.default_rng(3)
    X, y = rng.integers(0, 2 if kind == "bool" else 100, (50, 6)).astype(kind), rng.integers(0, 3, 50)
    results = []
    for features in (X, X.astype(np.float32)):
        net = cr.MLP([6, 8, 3], backend=backend, seed=1)
        if standardized:
            net.preparation = Preparation(features=Standardization.fit(X.astype(np.float32), limit=3.0))
        before = backend.upload(features)
        cr.Trainer(net, cr.Adam(1e-2), batch_size=16, epochs=2).fit(features, y, validation=(features[:9], y[:9]))
        np.testing.assert_array_equal(backend.download(before), features)
        loss, gradients = net.loss_and_gradients(features, y)
        results.append((net.predict_proba(features), loss, {k: backend.download(v) for k, v in gradients.items()}))
    np.testing.assert_equal(results[0], results[1])


def test_narrow_features_are_checked_too(backend):
    net = cr.MLP([2, 2], backend=backend)
    with pytest.raises(DataError, match="row 1, column 0: expected a finite number, got inf"):
        net.upload_rows(np.array([[1, 2], [np.inf, 0]], np.float16), [0, 1])


def test_narrow_features_stay_narrow(backend):
    net = cr.MLP([2, 2], backend=backend)
    net.preparation = Preparation(features=Standardization.fit(np.eye(2)))
    assert net.upload_rows(np.zeros((3, 2), np.uint8), [0, 1, 0]).x.dtype == np.uint8
    assert net.upload_rows(np.zeros((3, 2), np.int32), [0, 1, 0]).x.dtype == np.float32
