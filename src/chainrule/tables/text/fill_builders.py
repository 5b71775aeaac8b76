"""From the rows of a text file to its columns: numbers of plain rows all at once, all else cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from chainrule.tables.text.column_builder import ColumnBuilder
from chainrule.tables.text.csv_text import CsvText
from chainrule.tables.text.plain_rows import PlainRows

CELLS_PER_PART = 1 << 14  # held as text at a time: more of them leave the caches, and take half as long again
MIN_ROWS = 16  # of a part, so that a very wide table is not read a row at a time


def fill_builders(text: CsvText, builders: Mapping[int, ColumnBuilder]) -> None:
    """Give each builder its column of the whole file."""
    n = max(MIN_ROWS, CELLS_PER_PART // len(text.names))
    empty = True
    for part in text.parts(n, lambda: _decimal_sign(builders)):
        empty = False
        for builder in builders.values():
            builder.expected = text.expected_rows
        if isinstance(part, PlainRows):
            _extend(builders, part)
        else:
            columns = list(zip(*part, strict=True))
            for i, builder in builders.items():
                builder.extend(columns[i])
    if empty:
        raise text.refuse(f"line {text.header_line}: expected rows below the header, got none")


def _decimal_sign(builders: Mapping[int, ColumnBuilder]) -> str:
    """That of most columns of numbers."""
    counts = Counter(builder.notation.decimal for builder in builders.values() if builder.notation is not None)
    return counts.most_common(1)[0][0] if counts else "."


def _extend(builders: Mapping[int, ColumnBuilder], rows: PlainRows) -> None:
    """Give the builders further rows."""
    going_on = sorted(i for i, builder in builders.items() if not builder.failed)
    with_sign = [i for i in going_on if builders[i].reads_numbers_with(rows.decimal)]
    others = sorted(set(going_on) - set(with_sign))
    for i, cells in zip(others, rows.texts(others), strict=True):
        builders[i].extend(cells)
    if with_sign:
        _extend_numbers([builders[i] for i in with_sign], rows, with_sign)


def _extend_numbers(builders: list[ColumnBuilder], rows: PlainRows, columns: list[int]) -> None:
    found = rows.numbers(columns)
    for at in np.flatnonzero(found.odd).tolist():
        row, j = divmod(at, len(columns))
        if not builders[j].failed:
            found.values[row, j] = builders[j].read(rows.text(row, columns[j]))
    for j, builder in enumerate(builders):
        builder.extend_numbers(found.values[:, j])
    unsure = [j for j, builder in enumerate(builders) if not builder.signs_are_known]
    if unsure and found.pointed.any():
        pointed, grouped = found.pointed[:, unsure], found.grouped[:, unsure]
        certain = pointed & ~grouped
        for i, j in enumerate(unsure):
            builders[j].note_signs(has_sign=bool(pointed[:, i].any()), certain=bool(certain[:, i].any()))
