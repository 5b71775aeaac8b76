"""Tables from delimited text.

Read with the csv module and ``float``, part by part and column by column: beside the numbers there is never more in
memory than a part. ``np.loadtxt`` was measured against it (100,000 x 30 numbers of 17 digits, 56 MiB: 0.6 s against
1.0 s) and not taken: it cuts and skips rows in silence, and its errors name no column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.table_columns import ColumnData
from chainrule.tables.cells import kind_of
from chainrule.tables.column_builder import Cells, ColumnBuilder
from chainrule.tables.columns import choose_columns, show_names
from chainrule.tables.csv_text import CsvText
from chainrule.tables.decide import Refuse, decide, decide_target, sure_sign, whole_numbers
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table

PART = 1 << 14  # cells held as text at a time: more of them leave the caches, and take half as long again

LEAST = 16  # rows, so that very wide tables are not taken one cell a column


def read_csv(path: Path, selection: Selection) -> Table:
    """The table of a text file.

    The delimiter is found in the header. Cells may be quoted, also across lines; spaces around them do not count.
    Empty lines between rows are skipped. There is no comment sign. What cells mean: :mod:`chainrule.tables.decide`.

    Raises
    ------
    DataError     naming line (from 1, the header included) and column of what cannot be read.
    OptionError   if a column of the selection is not there, or the target is needed and was not said.
    """
    text = CsvText(path)
    names = text.names
    if not selection.feature_names:
        _refuse_missing_header(text, names)
    chosen, target = choose_columns(text.source, names, selection)
    if not selection.feature_names and target is not None and selection.target != names[target]:
        _refuse_missing_header(text, [names[i] for i in chosen])
    features, y = _read_columns(text, chosen, target, selection)
    return Table.of_columns(features, y, "" if target is None else names[target], text.source, text.notes)


def _read_columns(
    text: CsvText, chosen: Sequence[int], target: int | None, selection: Selection
) -> tuple[dict[str, ColumnData], np.ndarray | None]:
    """The features by name and the target. What surprises in the first reading is read once more, as text."""
    names = text.names
    wanted = [*chosen, *([] if target is None else [target])]
    builders = {
        i: ColumnBuilder(as_text=bool(selection.classes) if i == target else selection.kind(names[i]) == "category")
        for i in wanted
    }
    _fill(text, builders)
    signs = {builder.decimal for builder in builders.values()} - {""}
    again = {
        i: ColumnBuilder(as_text=True)
        for i, builder in builders.items()
        if builder.surprised or (builder.grouped and signs == {","}) or (i == target and _is_large(builder))
    }
    if again:
        _fill(text, again)
    columns = {i: (again.get(i) or builders.pop(i)).result() for i in wanted}
    signs |= {sure_sign(column.texts) for column in columns.values() if isinstance(column, Cells)} - {""}
    features: dict[str, ColumnData] = {}
    for i in chosen:
        column = columns.pop(i)
        features[names[i]] = (
            column
            if isinstance(column, np.ndarray)
            else decide(
                column, _refusal(text, i), wanted=selection.kind(names[i]), decimals=signs,
                known=selection.texts.get(names[i]),
            )
        )  # fmt: skip
    return features, None if target is None else _target(text, columns[target], target, signs, selection.classes)


def _fill(text: CsvText, builders: dict[int, ColumnBuilder]) -> None:
    """Give each builder its column of the whole file."""
    rows, n = (row for _, row in text.rows()), max(LEAST, PART // len(text.names))
    part = list(islice(rows, n))
    if not part:
        raise text.refuse(f"line {text.header_line}: a header came and no rows")
    while part:
        columns = list(zip(*part, strict=True))
        for i, builder in builders.items():
            builder.extend(columns[i])
        part = list(islice(rows, n))


def _is_large(builder: ColumnBuilder) -> bool:
    """Whether there are numbers that float64 may have rounded to a neighbour."""
    column = builder.result() if not builder.surprised else None
    return isinstance(column, np.ndarray) and bool((np.abs(column) >= 2**53).any())


def _target(
    text: CsvText, column: np.ndarray | Cells, position: int, signs: set[str], classes: frozenset[str]
) -> np.ndarray:
    if isinstance(column, np.ndarray) and not np.isnan(column).any():
        return whole_numbers(column)
    if isinstance(column, np.ndarray):  # only to find the words
        column = Cells(np.isnan(column).astype(np.int32), ["0", ""])
    return decide_target(column, _refusal(text, position), decimals=signs, classes=classes)


def _refusal(text: CsvText, column: int) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        return text.refuse_cell(*text.row(row), column, expected, hint)

    return refuse


def _refuse_missing_header(text: CsvText, names: Sequence[str]) -> None:
    """A header of numbers alone is most likely the first row, which would be lost."""
    if all(kind_of(name) in {"number", "missing", "infinite", "miswritten"} for name in names):
        raise text.refuse(
            f"line {text.header_line}: numbers came ({show_names(names[:3])}{', ...' * (len(names) > 3)}), "
            "the names of the columns were expected",
            "let the first line name the columns, and give the target by its name",
        )
