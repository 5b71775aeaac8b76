"""The rows for ``fit`` and ``predict``, checked by scikit-learn's rules: arrays, arrays on a GPU, DataFrames.

A DataFrame may hold text and missing values: a :class:`TableEncoder`, fitted on the training rows, makes X of its
columns, as it does for ``chainrule train``. Its columns are known by name, so a new frame has the same ones, in the
same order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight, _check_y, check_consistent_length, validate_data

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import DataError, first_line
from chainrule.estimators.array_namespaces import is_on_gpu, on_host
from chainrule.estimators.known_columns import known_columns
from chainrule.estimators.labels import exact_targets
from chainrule.estimators.ready_rows import ready_rows
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.inputs.row_checks import place_of_nonfinite, refuse_masked, refuse_ragged, relative_weights
from chainrule.nn.inputs.rows import NARROW
from chainrule.nn.network import Network
from chainrule.tables.frames.frame_reader import is_frame, read_frame
from chainrule.tables.selection import Selection

# What X may stay as, and other numbers of up to 16 bits: all else becomes float64. The dtype that is computed in comes
# after the standardisation.
WIDE = (np.float64, np.float32)
FOR_TEXT = {"X": "pass a DataFrame, whose columns of text are encoded", "y": "MLPClassifier is for classes"}


@dataclass(frozen=True)
class ValidatedRows:
    """Rows to train or validate on.

    Parameters
    ----------
    X : (n, d) numbers on the host or on the net's device; or the columns of a table
    y : targets as scikit-learn checks them
    weights : (n,) from 0 up, not all 0; or None
    dtype : that the net computes in
    target_name : of y, if it has one
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

    def fit_encoder(
        self, training: np.ndarray | None, *, embed_above: int | None, target: TargetColumns | None = None
    ) -> TableEncoder | None:
        """Of the ``training`` rows that weigh anything, with statistics of ``target``, which is that of all rows; None
        if X is no table."""
        if not isinstance(self.X, Mapping):
            return None
        rows, weights = np.arange(len(self)) if training is None else training, None
        if self.weights is not None:
            rows = rows[self.weights[rows] > 0]
            weights = self.weights[rows]
        target = None if target is None else target.take(rows)
        return TableEncoder.fit(self.X, rows=rows, sample_weight=weights, embed_above=embed_above, target=target)

    def matrix(self, encoder: TableEncoder | None) -> Array:
        """X (n, n_in) before standardisation, which is to see every digit: not yet in the net's dtype."""
        if isinstance(self.X, Mapping):
            assert encoder is not None
            return encoder.encode(self.X, compact=True)
        return _encoded(encoder, self.X) if encoder is not None else self.X


def validated_rows(
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
    """The rows of a fit. ``first`` means that names and number of the features are learnt, not compared."""
    for values, what in ((X, "X"), (y, "y"), (sample_weight, "sample_weight")):
        _refuse_misread(values, what)
    name = getattr(y, "name", None)
    if numeric and issparse(y):
        raise TypeError("Sparse data was passed for y, but dense data is required: y.toarray()")
    y, sample_weight = exact_targets(on_host(y)), on_host(sample_weight)
    if numeric and getattr(getattr(y, "dtype", None), "kind", "") in {"U", "S"}:
        raise DataError("y: expected finite numbers, got text", hint=FOR_TEXT["y"])
    is_table = _is_table(X) and (first or encoder is not None)
    with _first_named(X=X, y=y, sample_weight=sample_weight):
        if is_table or (_stays_on(backend, X) and encoder is None):
            validate_data(estimator, X, y, reset=first, skip_check_array=True)
            y = _check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
            check_consistent_length(X, y)
            X, dtype = _table_or_device_rows(X, backend, encoder, dtypes, is_table=is_table)
        else:
            X, y, dtype = _array_rows(estimator, X, y, encoder, dtypes, numeric=numeric, first=first)
        weights, unit = _checked_weights(sample_weight, y)
    return ValidatedRows(X, y, weights, dtype, name if isinstance(name, str) else "", unit)


def _table_or_device_rows(
    X: Any, backend: Backend, encoder: TableEncoder | None, dtypes: Any, *, is_table: bool
) -> tuple[Array | Mapping[str, ColumnData], np.dtype]:
    """The columns of a table, or an array on its device, and the dtype of the net."""
    dtype = _dtype(_dtype_of(X), dtypes)
    if not is_table:
        return backend.upload(X), dtype
    columns = _columns(X, encoder)
    if isinstance(dtypes, tuple) and _has_text_or_holes(columns):
        dtype = np.dtype(np.float32)  # scikit-learn does nothing with such columns that would have to be equalled
    return columns, dtype


def _array_rows(
    estimator: Any, X: Any, y: Any, encoder: TableEncoder | None, dtypes: Any, *, numeric: bool, first: bool
) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """X and y as scikit-learn checks them, and the dtype of the net."""
    X = on_host(X)
    X, y = validate_data(
        estimator,
        X,
        y,
        dtype=_kept_dtypes(X),
        ensure_all_finite=True if encoder is None else "allow-nan",
        reset=first,
        multi_output=True,
        y_numeric=numeric,
    )
    return X, y, _dtype(X.dtype, dtypes)


def _checked_weights(sample_weight: Any, y: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Weights relative to each other, and what a weight of 1 was given as."""
    if sample_weight is None:
        return None, 1.0
    weights = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("All sample weights are zero: at least one non-zero sample weight was expected")
    largest, weights = weights.max(), relative_weights(weights)
    return weights, float(largest / weights.max())


@contextlib.contextmanager
def _first_named(**arrays: Any) -> Iterator[None]:
    """scikit-learn says which array has a number that is not finite; the DataError also says where the first one is."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # it takes a sum, which overflows for the largest numbers
            yield
    except DataError:
        raise
    except ValueError as error:
        message, place = first_line(error).rstrip("."), ""
        _refuse_text_and_ragged(arrays, message, error)
        for name, values in arrays.items():
            if f"Input {name} contains" in message or f"passed to `{name}`" in message:
                with contextlib.suppress(TypeError, ValueError):  # objects, and what is sparse
                    numbers = np.asarray(values, np.float64)
                    numbers = np.where(numbers < 0, np.nan, numbers) if "Negative" in message else numbers
                    place = place_of_nonfinite(numbers)
        if not place:
            raise
        raise DataError(f"{message}: the first is at {place}") from error


def _refuse_text_and_ragged(arrays: Mapping[str, Any], message: str, error: ValueError) -> None:
    """DataError in words of ours if scikit-learn's is about text, or rows of different lengths."""
    for name, values in arrays.items():
        if "inhomogeneous" in message:
            refuse_ragged(values, name)
        elif "could not convert string" in message and _has_text(values):
            hint = FOR_TEXT.get(name, "") if "y" in arrays else ""  # of a fit: a prediction takes what it took
            raise DataError(f"{name}: expected finite numbers, got text", hint=hint) from error


def _has_text(values: Any) -> bool:
    with contextlib.suppress(ValueError):
        found = np.asarray(values)
        return found.dtype.kind in "UST" or (found.dtype.kind == "O" and any(isinstance(v, str) for v in found.flat))
    return False


def rows_to_predict(estimator: Any, X: Any, *, net: Network) -> Array:
    """(n, n_in) rows to predict: on the net's device if they are there already, else on the host."""
    encoder, backend = net.preparation.encoder, net.backend
    if (ready := ready_rows(estimator, X, encoder)) is not None:
        return ready
    _refuse_misread(X, "X")
    if _stays_on(backend, X) and encoder is None:
        validate_data(estimator, X, reset=False, skip_check_array=True)
        return backend.upload(X)
    if _is_table(X) and encoder is not None:
        validate_data(estimator, X, reset=False, skip_check_array=True)
        return encoder.encode(_columns(X, encoder), compact=True)
    if encoder is not None and "category" in encoder.kinds.values():
        name, kind = type(estimator).__name__, type(X).__name__
        raise DataError(
            f"{name} was fitted on a DataFrame with text: expected a DataFrame, got {kind}",
            hint="give it a DataFrame with the same columns; in a Pipeline: .set_output(transform='pandas')",
        )
    finite = True if encoder is None else "allow-nan"
    X = on_host(X)
    with _first_named(X=X):
        rows: np.ndarray = validate_data(estimator, X, dtype=_kept_dtypes(X), ensure_all_finite=finite, reset=False)
    return rows if encoder is None else _encoded(encoder, rows)


def _refuse_misread(values: Any, name: str) -> None:
    """DataError for what scikit-learn would misread as numbers: masked values, and dates as their seconds."""
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
    return read_frame(X, known_columns(encoder)).columns


def _has_text_or_holes(columns: Mapping[str, ColumnData]) -> bool:
    return any(isinstance(data, Categorical) or bool(np.isnan(data).any()) for data in columns.values())


def _encoded(encoder: TableEncoder, rows: np.ndarray) -> np.ndarray:
    """An array's columns are those of the table by position."""
    return encoder.encode(dict(zip(encoder.table_names, rows.T.astype(np.float64), strict=True)), compact=True)


def _dtype_of(X: Any) -> np.dtype:
    """float32 if all of X is that."""
    dtypes = {str(X.dtype)} if hasattr(X, "dtype") else {str(dtype).lower() for dtype in getattr(X, "dtypes", ())}
    return np.dtype(np.float32 if dtypes == {"float32"} else np.float64)


def _dtype(given: np.dtype, dtypes: Any) -> np.dtype:
    if not isinstance(dtypes, tuple):
        given = np.dtype(dtypes)
    return given if given in WIDE else np.dtype(np.float64)


def _kept_dtypes(X: Any) -> tuple[Any, ...]:
    """What scikit-learn is not to convert: numbers of up to 16 bits too, which a net converts batch by batch."""
    dtype = getattr(X, "dtype", None)
    is_narrow = isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= NARROW and dtype.isnative
    return (*WIDE, dtype) if is_narrow else WIDE
