"""What a file and its net both get: rows like those of the training, and for a table what may go wrong in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_columns import MAX_VECTORS
from chainrule.nn.inputs.row_checks import on_host
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import GaussianNLL
from chainrule.nn.network import Network
from chainrule.onnx.agreement import Case, allowed
from chainrule.onnx.columns import DOUBLE, feeds_of

ROWS = 256  # or more, until each category occurs
MOST_ROWS = MAX_VECTORS + 2  # with a new category and a hole
WITHIN = 3.0  # deviations of the training rows
FAR = 1e9  # times further out, at the limit if there is one
ONE_HOLE_IN = 8  # rows, in each column of numbers


def cases_of(net: Network, input_dtype: np.dtype, rows: Any = None) -> list[Case]:
    """Random rows, of a table also with numbers far out, and ``rows`` if they are given.

    Parameters
    ----------
    input_dtype : of the inputs that hold numbers
    rows : (m, n_in) features; of a net with an encoder a table
    """
    if net.preparation.encoder is not None:
        return [_case_of_table(net, input_dtype, table) for table in _tables(net, input_dtype, rows)]
    given = [] if rows is None else [np.ascontiguousarray(on_host(net.backend, rows, "rows"), input_dtype)]
    return [_case(net, {"X": X}, X) for X in (random_rows(net, input_dtype), *given)]


def _tables(net: Network, input_dtype: np.dtype, rows: Any) -> Iterator[Mapping[str, ColumnData]]:
    encoder, features = net.preparation.encoder, net.preparation.features
    assert encoder is not None
    yield random_table(net, 1.0, input_dtype)
    if features is not None and np.isfinite(features.limit):
        yield random_table(net, FAR, input_dtype)
    if rows is not None:
        columns = getattr(rows, "columns", None)
        if not columns or not set(encoder.table_names) <= set(columns):
            raise DataError(
                f"rows: expected a table with the columns of the net, got {type(rows).__name__}",
                hint="rows=cr.read_table(source, like=net)",
            )
        yield columns


def _case_of_table(net: Network, input_dtype: np.dtype, table: Mapping[str, ColumnData]) -> Case:
    encoder = net.preparation.encoder
    assert encoder is not None
    # In the precision of the inputs, so that file and net get the same numbers.
    rounded = {name: _rounded(table[name], input_dtype) for name in encoder.table_names}
    return _case(net, feeds_of(encoder, rounded, input_dtype), encoder.encode(rounded))


def _case(net: Network, feeds: dict[str, np.ndarray], X: np.ndarray) -> Case:
    expected = _predictions(net, X)
    return Case(feeds, expected, _bounds(net, expected))


def _predictions(net: Network, X: np.ndarray) -> dict[str, np.ndarray]:
    """What the outputs of the file should be."""
    if isinstance(net.loss, GaussianNLL):
        return {name: np.asarray(values) for name, values in net.predict_distribution(X)._asdict().items()}
    if net.loss.task == "regress":
        return {"prediction": np.asarray(net.predict(X))}
    return {"label": np.asarray(net.predict(X)), "probabilities": np.asarray(net.predict_proba(X))}


def _bounds(net: Network, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How far each number may be off, by output; labels have no such bound."""
    units = {name: np.asarray(0.0) for name in expected if name != "label"}
    targets, loss = net.preparation.targets, net.loss
    if loss.task == "regress" and targets is not None:
        scale = loss.units(targets).scale[None]
        if isinstance(loss, GaussianNLL):
            units = {"mean": loss.point(scale), "variance": loss.variance(scale)}
        else:
            units = {"prediction": loss.point(scale)}
    return {name: allowed(expected[name], net.dtype, unit) for name, unit in units.items()}


def random_rows(net: Network, dtype: np.dtype) -> np.ndarray:
    """Rows like those of the training, by the net's standardisation if it has one; else normal ones. Always the same.

    A column that was constant in training varies here: it must make no difference.
    """
    n = _rows_for(net)
    z = np.random.default_rng(0).standard_normal((n, net.n_in)).clip(-WITHIN, WITHIN)
    features = net.preparation.features
    rows = z if features is None else _around(features, z, _largest(dtype))
    for column, codes in net.codes().items():  # all of them, that of unseen categories too
        rows[:, column] = np.arange(n) % codes
    return np.ascontiguousarray(rows, dtype)


def _around(features: Standardization, z: np.ndarray, largest: float) -> np.ndarray:
    mean = features.mean
    with np.errstate(over="ignore"):
        spread = np.where(features.is_constant, np.maximum(np.abs(mean), 1.0), features.scale)
        rows: np.ndarray = (mean + spread * z).clip(-largest, largest)
    return rows


def _largest(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).max)


def random_table(net: Network, far: float, dtype: np.dtype) -> dict[str, ColumnData]:
    """The columns of the net's encoder: numbers of :func:`random_rows`, but ``far`` times as far out.

    Numbers are missing in some rows. Text is each category, a new one and a missing value, equally often. Always alike.
    """
    encoder, rng = net.preparation.encoder, np.random.default_rng(0)
    assert encoder is not None
    numbers, largest = random_rows(net, DOUBLE), _largest(dtype) / 8
    n = len(numbers)
    table: dict[str, ColumnData] = {}
    at = 0
    for column in encoder.columns:
        if not isinstance(column, NumberColumn):
            new = next(name for name in (f"new{i}" for i in count()) if name not in column.known_categories)
            names = (*column.known_categories, new)
            table[column.name] = Categorical((rng.permutation(n) % (len(names) + 1) - 1).astype(np.int32), names)
        else:
            with np.errstate(over="ignore"):
                values = (numbers[:, at] * far).clip(-largest, largest)
            values[rng.integers(0, ONE_HOLE_IN, n) == 0] = np.nan
            table[column.name] = values
        at += len(column.names)
    return table


def _rows_for(net: Network) -> int:
    """Enough for each category in each column of codes or text to occur, and a new one and a missing value."""
    encoder = net.preparation.encoder
    texts = [column for column in encoder.columns if not isinstance(column, NumberColumn)] if encoder else []
    slots = [max(column.slots, len(column.known_categories)) + 2 for column in texts]
    return min(MOST_ROWS, max([ROWS, *slots, *net.codes().values()]))


def _rounded(data: ColumnData, dtype: np.dtype) -> ColumnData:
    return data if isinstance(data, Categorical) else data.astype(dtype).astype(DOUBLE)
