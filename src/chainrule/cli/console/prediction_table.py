"""The predictions of a net as a table: the prediction, probabilities or spread, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import OptionError
from chainrule.host_memory import refuse_what_is_not_free
from chainrule.nn.losses.names import GaussianNLL, Quantile
from chainrule.nn.network import Network
from chainrule.nn.predictions import with_class_names
from chainrule.plain_text import csv_cell

COPIES = 3  # of what is written: while it grows, as a text, as bytes
CELLS_AT_ONCE = 1 << 16  # held as text at once, besides what is written


class Column(NamedTuple):
    """A name and (n,) numbers or texts; probabilities are shown with six digits."""

    name: str
    values: np.ndarray
    is_probability: bool = False


def prediction_table(net: Network, X: np.ndarray) -> list[Column]:
    """The prediction, then the probability of each class if there are any.

    Quantiles have a column each (``target_q0.1``); a net that knows its spread adds the standard deviation.
    """
    predicted = np.asarray(net.predict(X))
    values = predicted.reshape(len(predicted), -1)
    p, name = net.preparation, net.preparation.target_name or "prediction"
    names = [name] if values.shape[1] == 1 else [f"{name}_{j}" for j in range(values.shape[1])]
    if isinstance(net.loss, Quantile):
        of_target = [name] if net.loss.columns == 1 else [f"{name}_{j}" for j in range(net.loss.columns)]
        names = [f"{column}_q{level:g}" for column in of_target for level in net.loss.levels]
    labelled = with_class_names(values, net.loss, p.classes)
    table = [Column(name, column) for name, column in zip(names, labelled.T, strict=True)]
    if isinstance(net.loss, GaussianNLL):
        deviations = np.sqrt(np.asarray(net.predict_distribution(X).variance)).reshape(len(predicted), -1)
        table += [Column(f"{name}_sd", column) for name, column in zip(names, deviations.T, strict=True)]
    if net.loss.task != "regress":
        probabilities = np.asarray(net.predict_proba(X)).reshape(len(predicted), -1)
        k = probabilities.shape[1]
        shown = range(k) if k > 1 else [1]  # one output has the probability of yes, the second class
        has_names = len(p.classes) == max(k, 2)
        table += [
            Column(f"p_{p.classes[j] if has_names else j}", column, is_probability=True)
            for j, column in zip(shown, probabilities.T, strict=True)
        ]
    return _with_names_of_their_own(table)


def _with_names_of_their_own(table: list[Column]) -> list[Column]:
    """All names different: of a target ``p_a`` and the probability of class ``a`` the later one gets an underscore."""
    taken: set[str] = set()
    found = []
    for column in table:
        name = column.name
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(column._replace(name=name))
    return found


def as_csv(table: list[Column], *, escape: bool = True) -> str:
    """A header and one line per row.

    Names of classes and columns may come from anywhere: no spreadsheet takes one for a formula, and control characters
    are spelt out (:func:`chainrule.plain_text.csv_cell`). Without ``escape`` cells are as they are; a header never is.
    """
    _refuse_much_text(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(column.name) for column in table])
    step = max(1, CELLS_AT_ONCE // len(table))
    for start in range(0, len(table[0].values), step):
        rows = slice(start, start + step)
        writer.writerows(zip(*(_cells(column, rows, escape=escape) for column in table), strict=True))
    return out.getvalue()


def _refuse_much_text(table: list[Column]) -> None:
    """OutOfMemoryError if names of classes are longer in all rows together than what is free."""
    letters = sum(sum(map(len, column.values)) for column in table if column.values.dtype == object)
    refuse_what_is_not_free(COPIES * letters, doing="writing predictions", hint="predict fewer rows at a time")


def _cells(column: Column, rows: slice, *, escape: bool) -> list[str]:
    values = column.values[rows]
    if column.is_probability:
        return [f"{v:.6g}" for v in values]
    texts = list(map(str, values.tolist()))
    if not escape or values.dtype != object:
        return texts
    safe = {text: csv_cell(text) for text in set(texts)}
    return [safe[text] for text in texts]


def parquet_writer() -> Any:
    """pyarrow.parquet; OptionError if it is not installed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise OptionError(
            "Parquet needs pyarrow, which is not installed", hint='pip install "chainrule[tables]", or -o FILE.csv'
        ) from None


def as_parquet(table: list[Column]) -> bytes:
    """The columns with their own types: text, the net's numbers."""
    _refuse_much_text(table)
    parquet, pa = parquet_writer(), importlib.import_module("pyarrow")
    arrays = [pa.array(column.values.tolist() if column.values.dtype == object else column.values) for column in table]
    out = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(arrays, names=[column.name for column in table]), out)
    content: bytes = out.getvalue().to_pybytes()
    return content
