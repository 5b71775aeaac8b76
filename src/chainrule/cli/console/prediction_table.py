"""The predictions of a net as a table: the prediction, probabilities or spread, as CSV, Parquet or an array of NumPy.

A table is written part by part: neither all predictions nor the whole file are ever in memory.
"""

from __future__ import annotations

import csv
import importlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.cli.console.probability_text import probability_cells, text_of
from chainrule.errors import OptionError
from chainrule.nn import predictions
from chainrule.nn.answers_in_parts import answers_in_parts
from chainrule.nn.losses.names import GaussianNLL, Quantile
from chainrule.nn.network import Network
from chainrule.nn.predictions import with_class_names
from chainrule.plain_text import csv_cell

CELLS_AT_ONCE = 1 << 16  # of a CSV
LETTERS_AT_ONCE = 1 << 24  # of names of classes
ROW_GROUP = 1 << 22  # cells, and letters in them, of a Parquet file that are compressed together


class Part(NamedTuple):
    """Some rows: (n, columns) numbers or texts, and (n, k) probabilities, k perhaps 0."""

    values: np.ndarray
    probabilities: np.ndarray


class PredictionTable(NamedTuple):
    """The names of all columns, all different, and the parts that follow each other; these can be read once."""

    names: list[str]
    parts: Iterator[Part]


def prediction_table(net: Network, X: np.ndarray) -> PredictionTable:
    """The prediction, then the probability of each class if there are any.

    Quantiles have a column each (``target_q0.1``); a net that knows its spread adds the standard deviation. DataError
    for rows that the net does not take, before the first part is made.
    """
    answers = [predictions.prediction(net.backend, net.loss, net.dtype, net.preparation.targets)]
    if net.loss.task != "regress":
        answers.append(predictions.probabilities(net.backend, net.loss, net.dtype))
    found = answers_in_parts(net, X, answers)
    return PredictionTable(_names(net), (_part(net, *of_rows) for _, of_rows in found))


def _part(net: Network, predicted: np.ndarray, probabilities: np.ndarray | None = None) -> Part:
    n, loss = len(predicted), net.loss
    if probabilities is None:
        probabilities = np.empty((n, 0), net.dtype)
    values = _point(net, predicted)
    columns = with_class_names(values.reshape(n, -1), loss, net.preparation.classes)
    if isinstance(loss, GaussianNLL):
        columns = np.hstack([columns, np.sqrt(loss.variance(predicted)).reshape(n, -1)])
    return Part(columns, probabilities)


def _point(net: Network, predicted: np.ndarray) -> np.ndarray:
    """What ``net.predict`` makes of the answers: (n,), (n, k), ..."""
    return predicted if net.loss.task == "classify" else net.loss.point(predicted)


def _names(net: Network) -> list[str]:
    p, loss, name = net.preparation, net.loss, net.preparation.target_name or "prediction"
    k = 1 if loss.task == "classify" else loss.columns
    names = [name] if k == 1 else [f"{name}_{j}" for j in range(k)]
    if isinstance(loss, Quantile):
        names = [f"{column}_q{level:g}" for column in names for level in loss.levels]
    if isinstance(loss, GaussianNLL):
        names += [f"{column}_sd" for column in names]
    if loss.task != "regress":
        shown = range(loss.n_out) if loss.n_out > 1 else [1]  # one output is the probability of yes, the second class
        has_names = len(p.classes) == max(loss.n_out, 2)
        names += [f"p_{p.classes[j] if has_names else j}" for j in shown]
    return _all_different(names)


def _all_different(names: Sequence[str]) -> list[str]:
    """Of a target ``p_a`` and the probability of class ``a`` the later one gets an underscore."""
    taken = dict[str, None]()
    for name in names:
        unused = name
        while unused in taken:
            unused += "_"
        taken[unused] = None
    return list(taken)


def as_csv(table: PredictionTable, *, escape: bool = True) -> Iterator[str]:
    """A header and one line per row, of probabilities with six digits; each part ends with a line.

    Names of classes and columns may come from anywhere: no spreadsheet takes one for a formula, and control characters
    are spelt out (:func:`chainrule.plain_text.csv_cell`). Without ``escape`` cells are as they are; a header never is.
    """
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow([csv_cell(name) for name in table.names])
    yield header.getvalue()
    shown = _escaped_once() if escape else str
    for part in table.parts:
        for rows in _slices(part, CELLS_AT_ONCE):
            yield _lines(part.values[rows], part.probabilities[rows], shown)


def _slices(part: Part, cells: int) -> Iterator[slice]:
    """Rows of so many cells, fewer if they have long texts."""
    n, step = len(part.values), max(1, cells // (part.values.shape[1] + part.probabilities.shape[1]))
    if part.values.dtype == object:
        longest = max(len(text) for text in set(part.values[:, 0].tolist()))
        step = max(1, min(step, LETTERS_AT_ONCE // max(1, longest)))
    return (slice(start, start + step) for start in range(0, n, step))


def _escaped_once() -> Callable[[str], str]:
    """:func:`csv_cell`, which remembers the classes that it has met."""
    known = dict[str, str]()
    return lambda text: known[text] if text in known else known.setdefault(text, csv_cell(text))


def _lines(values: np.ndarray, probabilities: np.ndarray, shown: Callable[[str], str]) -> str:
    texts = [list(map(shown if values.dtype == object else str, column.tolist())) for column in values.T]
    if not probabilities.shape[1]:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(zip(*texts, strict=True))
        return out.getvalue()
    lines = list[str]()
    # With an empty cell behind them, as of a longer row: of the empty text alone a CSV would have quotes.
    csv.writer(_Appended(lines), lineterminator="\n").writerows(zip(*texts, [""] * len(values), strict=True))
    cells = probability_cells(probabilities)
    return "".join([f"{line[:-2]}{text_of(of_row)}\n" for line, of_row in zip(lines, cells, strict=True)])


class _Appended:
    """What a CSV writer writes, row by row."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append


def parquet_writer() -> Any:
    """pyarrow.parquet; OptionError if it is not installed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise OptionError(
            "Parquet needs pyarrow, which is not installed", hint='pip install "chainrule[tables]", or -o FILE.csv'
        ) from None


def as_parquet(table: PredictionTable) -> Iterator[bytes]:
    """The columns with their own types: text, the net's numbers."""
    parquet, pa = parquet_writer(), importlib.import_module("pyarrow")
    out, writer = _Sink(), None
    for group in _row_groups(table.parts):
        columns = [*group.values.T, *group.probabilities.T]
        arrays = [pa.array(column.tolist() if column.dtype == object else column) for column in columns]
        batch = pa.Table.from_arrays(arrays, names=table.names)
        writer = writer or parquet.ParquetWriter(out, batch.schema)
        writer.write_table(batch)
        yield out.taken()
    if writer is not None:
        writer.close()
    yield out.taken()


class _Sink(io.RawIOBase):
    """A file for pyarrow, whose content is taken from it as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._parts, self._size = list[bytes](), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content: Any) -> int:
        self._parts.append(bytes(content))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since the last call."""
        found, self._parts = b"".join(self._parts), []
        return found


def _row_groups(parts: Iterator[Part]) -> Iterator[Part]:
    """Parts put together as long as they are small, so that a row group is not."""
    held, size = list[Part](), 0
    for part in parts:
        for rows in _slices(part, ROW_GROUP):
            held.append(Part(part.values[rows], part.probabilities[rows]))
            size += _size(held[-1])
            if size >= ROW_GROUP:
                yield _joined(held)
                held, size = [], 0
    if held:
        yield _joined(held)


def _size(part: Part) -> int:
    """Its cells and the letters in them."""
    letters = sum(map(len, part.values[:, 0].tolist())) if part.values.dtype == object else 0
    return part.values.size + part.probabilities.size + letters


def _joined(parts: Sequence[Part]) -> Part:
    return Part(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def as_npy(net: Network, X: np.ndarray) -> Iterator[bytes]:
    """The predictions alone, as :func:`numpy.save` writes an array."""
    answer = predictions.prediction(net.backend, net.loss, net.dtype, net.preparation.targets)
    parts = (_point(net, predicted) for _, (predicted,) in answers_in_parts(net, X, [answer]))
    return _npy_bytes(len(X), parts)


def _npy_bytes(n: int, parts: Iterator[np.ndarray]) -> Iterator[bytes]:
    first, header = next(parts), io.BytesIO()
    facts = {"descr": first.dtype.str, "fortran_order": False, "shape": (n, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(header, facts)
    yield header.getvalue()
    for part in itertools.chain([first], parts):
        yield part.tobytes()
