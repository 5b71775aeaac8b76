"""What comes into ``fit`` and ``predict``, checked by scikit-learn's rules: arrays, arrays on a GPU, DataFrames.

A DataFrame may hold text and holes: a :class:`TableEncoder`, fitted on the training rows, makes X of its columns, as it
does for ``chainrule train``. Its columns are known by name, so a new frame has the same ones, in the same order.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight, _check_y, check_consistent_length, validate_data

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import DataError, first_line
from chainrule.estimators.array_namespaces import is_on_gpu, on_host
from chainrule.estimators.labels import as_they_came
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.row_checks import place_of_nonfinite, refuse_masked, relative_weights
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.network import Network
from chainrule.tables.frames.frame_reader import is_frame, read_frame
from chainrule.tables.selection import Selection

# What X may stay as: other numbers become float64. The dtype that is computed in comes after the standardisation.
WIDE = (np.float64, np.float32)


@dataclass(frozen=True)
class ValidatedRows:
    """Rows to train on or to watch.

    Parameters
    ----------
    X : (n, d) numbers on the host or on the net's device; or the columns of a table
    y : targets as scikit-learn checks them
    weights : (n,) from 0 up, not all 0; or None
    dtype : that the net computes in
    target_name : of y, where it has one
    unit : a weight of 1 in ``weights`` as it was given: calls of ``partial_fit`` are weighed against each other by it
    """

    X: Array | Mapping[str, ColumnData]
    y: np.ndarray
    weights: np.ndarray | None
    dtype: np.dtype
    target_name: str = ""
    unit: float = 1.0

    def __len__(self) -> int:
        return len(self.y)

    def fit_encoder(self, training: np.ndarray | None, *, embed_above: int | None) -> TableEncoder | None:
        """Of the ``training`` rows that weigh anything; None where these are no columns."""
        if not isinstance(self.X, Mapping):
            return None
        rows, weights = np.arange(len(self)) if training is None else training, None
        if self.weights is not None:
            rows = rows[self.weights[rows] > 0]
            weights = self.weights[rows]
        return TableEncoder.fit(self.X, rows=rows, sample_weight=weights, embed_above=embed_above)

    def matrix(self, encoder: TableEncoder | None) -> Array:
        """X (n, n_in) before standardisation, which is to see every digit: not yet in the net's dtype."""
        if isinstance(self.X, Mapping):
            assert encoder is not None
            return encoder.encode(self.X)
        return _encoded(encoder, self.X) if encoder is not None else self.X


def take(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    dtypes: Any,
    numeric: bool,
    backend: Backend,
    encoder: TableEncoder | None,
    first: bool,
) -> ValidatedRows:
    """What a fit is given. ``first`` means that names and number of the features are learnt, not compared."""
    for values, what in ((X, "X"), (y, "y"), (sample_weight, "sample_weight")):
        _refuse_misread(values, what)
    name = getattr(y, "name", None)
    if numeric and issparse(y):
        raise TypeError("Sparse data was passed for y, but dense data is required: y.toarray()")
    y, sample_weight = as_they_came(on_host(y)), on_host(sample_weight)
    with _first_named(X=X, y=y, sample_weight=sample_weight):
        return _take(
            estimator,
            X,
            y,
            sample_weight,
            dtypes=dtypes,
            numeric=numeric,
            backend=backend,
            encoder=encoder,
            first=first,
            name=name if isinstance(name, str) else "",
        )


def _take(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    dtypes: Any,
    numeric: bool,
    backend: Backend,
    encoder: TableEncoder | None,
    first: bool,
    name: str,
) -> ValidatedRows:
    target = {"multi_output": True, "y_numeric": numeric}
    framed = _is_table(X) and (first or encoder is not None)
    if framed or (_stays_on(backend, X) and encoder is None):
        validate_data(estimator, X, y, reset=first, skip_check_array=True)
        y = _check_y(y, **target, estimator=estimator)
        check_consistent_length(X, y)
        dtype = _dtype(_dtype_of(X), dtypes)
        X = _columns(X, encoder) if framed else backend.upload(X)
        if framed and isinstance(dtypes, tuple) and _has_text_or_holes(X):
            dtype = np.dtype(np.float32)  # nothing that scikit-learn would have done with it is to be equalled
    else:
        finite = True if encoder is None else "allow-nan"
        X, y = validate_data(estimator, on_host(X), y, dtype=WIDE, ensure_all_finite=finite, reset=first, **target)
        dtype = _dtype(X.dtype, dtypes)
    weights, unit = None, 1.0
    if sample_weight is not None:
        weights = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("All sample weights are zero: at least one non-zero sample weight was expected")
        largest, weights = weights.max(), relative_weights(weights)
        unit = float(largest / weights.max())
    return ValidatedRows(X, y, weights, dtype, name, unit)


@contextlib.contextmanager
def _first_named(**arrays: Any) -> Iterator[None]:
    """scikit-learn says which array has a number that is none; the DataError says besides where the first one is."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # it asks a sum, which overflows for the largest numbers
            yield
    except DataError:
        raise
    except ValueError as error:
        said, place = first_line(error).rstrip("."), ""
        for name, values in arrays.items():
            if f"Input {name} contains" in said or f"passed to `{name}`" in said:
                with contextlib.suppress(TypeError, ValueError):  # objects, and what is sparse
                    numbers = np.asarray(values, np.float64)
                    numbers = np.where(numbers < 0, np.nan, numbers) if "Negative" in said else numbers
                    place = place_of_nonfinite(numbers)
        if not place:
            raise
        raise DataError(f"{said}: the first is at {place}") from error


def read(estimator: Any, X: Any, *, net: Network) -> Array:
    """(n, n_in) rows to predict: on the net's device where they are there already, else on the host."""
    _refuse_misread(X, "X")
    encoder, backend = net.preparation.encoder, net.backend
    if _stays_on(backend, X) and encoder is None:
        validate_data(estimator, X, reset=False, skip_check_array=True)
        return backend.upload(X)
    if _is_table(X) and encoder is not None:
        validate_data(estimator, X, reset=False, skip_check_array=True)
        return encoder.encode(_columns(X, encoder))
    if encoder is not None and "category" in encoder.kinds.values():
        raise DataError(
            f"{type(X).__name__} came to {type(estimator).__name__}, which was fitted on a DataFrame with text",
            hint="give it a DataFrame with the same columns; in a Pipeline: .set_output(transform='pandas')",
        )
    finite = True if encoder is None else "allow-nan"
    X = on_host(X)
    with _first_named(X=X):
        rows: np.ndarray = validate_data(estimator, X, dtype=WIDE, ensure_all_finite=finite, reset=False)
    return rows if encoder is None else _encoded(encoder, rows)


def _refuse_misread(values: Any, name: str) -> None:
    """DataError for what scikit-learn takes for numbers that nobody meant: masked ones, and dates as their seconds."""
    refuse_masked(values, name)
    if isinstance(values, list | tuple):
        with contextlib.suppress(ValueError):  # no regular array: scikit-learn says so
            values = np.asarray(values[:1])
    dtypes = getattr(values, "dtypes", None)  # of a DataFrame one a column; of a Series it is a single one
    for dtype in dtypes if isinstance(dtypes, Iterable) else [getattr(values, "dtype", dtypes)]:
        if getattr(dtype, "kind", "") in {"m", "M"}:
            raise DataError(f"expected numbers, got {name} of dtype {dtype}", hint="write dates as numbers")


def _is_table(X: Any) -> bool:
    return is_frame(X) and hasattr(X, "columns")


def _stays_on(backend: Backend, X: Any) -> bool:
    return is_on_gpu(X) and backend.device != "cpu"


def _columns(X: Any, encoder: TableEncoder | None) -> Mapping[str, ColumnData]:
    """The columns of a frame, each read as what it was in training."""
    if encoder is None:
        return read_frame(X, Selection(need_target=False)).columns
    names = tuple(encoder.table_names)
    known = Selection(
        feature_names=names, need_target=False, kinds=encoder.kinds, texts=encoder.texts, notations=encoder.notations
    )
    return read_frame(X, known).columns


def _has_text_or_holes(columns: Mapping[str, ColumnData]) -> bool:
    return any(isinstance(data, Categorical) or bool(np.isnan(data).any()) for data in columns.values())


def _encoded(encoder: TableEncoder, rows: np.ndarray) -> np.ndarray:
    """An array's columns are those of the table by position."""
    return encoder.encode(dict(zip(encoder.table_names, rows.T.astype(np.float64), strict=True)))


def _dtype_of(X: Any) -> np.dtype:
    """float32 where all of it is that."""
    dtypes = {str(X.dtype)} if hasattr(X, "dtype") else {str(dtype).lower() for dtype in getattr(X, "dtypes", ())}
    return np.dtype(np.float32 if dtypes == {"float32"} else np.float64)


def _dtype(came: np.dtype, dtypes: Any) -> np.dtype:
    return came if isinstance(dtypes, tuple) else np.dtype(dtypes)


def prepared_further(preparation: Preparation, X: Array, y: np.ndarray, weights: np.ndarray | None) -> Preparation:
    """The preparation of a net whose fit goes on with rows X (n, n_in) and targets y, (n,) or (n, k).

    Columns that never changed before take mean and deviation of these rows: now there is something to learn from them.
    """
    features = _where_it_changes_now(preparation.features, X, weights)
    targets = _where_it_changes_now(preparation.targets, y, weights)
    if features is preparation.features and targets is preparation.targets:
        return preparation
    return replace(preparation, features=features, targets=targets)


def _where_it_changes_now(
    found: Standardization | None, x: Array, weights: np.ndarray | None
) -> Standardization | None:
    if found is None or not found.is_constant.any():
        return found
    constant = np.flatnonzero(found.is_constant)
    now = standardization(on_host(x if x.ndim == 1 else x[:, constant]), weights)
    changes = ~now.is_constant
    if not changes.any():
        return found
    mean, scale = found.mean.copy(), found.scale.copy()
    at = constant[changes]
    mean[at], scale[at] = now.mean[changes], now.scale[changes]
    return Standardization(mean, scale, found.limit)


def standardization(x: np.ndarray, weights: np.ndarray | None, limit: float = math.inf) -> Standardization:
    """Mean and deviation of each column, rows by their weights: a row of weight 2 counts as two rows."""
    return Standardization.fit(x, limit=limit, sample_weight=weights)
