"""Tables from delimited text.

Read with the csv module and ``float``, part by part and column by column: beside the numbers there is never more in
memory than a part. ``np.loadtxt`` was measured against it (100,000 x 30 numbers of 17 digits, 56 MiB: 0.6 s against
1.0 s) and not taken: it cuts and skips rows in silence, and its errors name no column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import TableColumns
from chainrule.nn.columns.notation import PLAIN, Notation
from chainrule.tables.columns import choose_columns, show_names
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table
from chainrule.tables.text.column_builder import Cells, ColumnBuilder
from chainrule.tables.text.csv_text import CsvText
from chainrule.tables.text.infer_type import InferredType, Refuse, Target, infer_target, infer_type, whole_numbers
from chainrule.tables.text.notations import of_file
from chainrule.tables.text.parsing import kind_of

PART = 1 << 14  # cells held as text at a time: more of them leave the caches, and take half as long again
LEAST = 16  # rows, so that very wide tables are not taken one cell a column


def read_csv(path: Path, selection: Selection) -> Table:
    """The table of a text file.

    The delimiter is found in the header. Cells may be quoted, also across lines; spaces around them do not count.
    Empty lines between rows are skipped. There is no comment sign.
    What cells mean: :mod:`chainrule.tables.text.infer_type`.

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
    columns, y = _read_columns(text, chosen, target, selection)
    return Table.of_columns(columns, y, "" if target is None else names[target], text.source, text.notes)


def _read_columns(
    text: CsvText, chosen: Sequence[int], target: int | None, selection: Selection
) -> tuple[TableColumns, np.ndarray | None]:
    """The features by name and the target. What surprises in the first reading is read once more, as text."""
    names, known = text.names, _known_notations(text.names, target, selection)
    builders = {
        i: ColumnBuilder(
            as_text=bool(selection.classes) if i == target else selection.kind(names[i]) == "category",
            known=known.get(i),
        )
        for i in [*chosen, *([] if target is None else [target])]
    }
    _fill(text, builders)
    again = [i for i, builder in builders.items() if builder.surprised or (i == target and _is_large(builder))]
    _read_again(text, builders, again)
    decimals = _decimals(text, builders, known, learns=not selection.feature_names)
    found = {i: _feature(builders.pop(i), text, i, decimals, selection, known.get(i)) for i in chosen}
    y = None
    if target is not None:
        y = _target(builders[target], _refusal(text, target), decimals, selection, known.get(target))
    if len({len(column.data) for column in found.values()} | ({len(y.values)} if y else set())) > 1:
        raise text.refuse("its columns differ in length: it changed while it was read")
    shown = {names[i]: column.notation for i, column in found.items()}
    of_target = {} if target is None or y is None else {names[target]: y.notation}
    notations = of_file(shown | of_target, decimals)
    columns = TableColumns(
        {names[i]: column.data for i, column in found.items()},
        notations={name: notation for name, notation in notations.items() if name in shown},
        target=None if target is None else notations.get(names[target]),
    )
    return columns, None if y is None else y.values


def _decimals(
    text: CsvText, builders: dict[int, ColumnBuilder], known: Mapping[int, Notation], *, learns: bool
) -> set[str]:
    """The decimal signs that the columns of the file are sure to use; columns that this contradicts are read again.

    What 1.234 is says the whole file: columns that could be read either way wait for all others, unselected ones too,
    so that neither the order of the rows nor the choice of columns changes a number. A table that a model ``learns``
    from asks them too if no column of its own shows a sign: the model keeps it.
    """
    signs = {i: builder.sure_sign() for i, builder in builders.items()}
    unsure = [i for i, sign in signs.items() if sign is None and i not in known]
    if unsure or (learns and not any(signs.values())):  # of whole numbers alone a later file may show more
        signs |= _signs_of(text, [i for i in range(len(text.names)) if i not in builders])
    decimals = {sign for sign in signs.values() if sign}
    pointed = [i for i in unsure if builders[i].notation == PLAIN]
    if decimals == {","}:
        _read_again(text, builders, pointed)
    elif len(decimals) > 1 or (not decimals and text.delimiter == ";"):
        text.notes += [_note_of_points(text.names[i]) for i in pointed]
    return decimals


def _feature(
    builder: ColumnBuilder,
    text: CsvText,
    position: int,
    decimals: set[str],
    selection: Selection,
    notation: Notation | None,
) -> InferredType:
    column, name = builder.result(), text.names[position]
    if isinstance(column, np.ndarray):
        return InferredType(column, builder.shown)
    return infer_type(
        column,
        _refusal(text, position),
        wanted=selection.kind(name),
        decimals=decimals,
        known=selection.texts.get(name),
        notation=notation,
    )


def _known_notations(names: Sequence[str], target: int | None, selection: Selection) -> dict[int, Notation]:
    """By position, those that a model knows."""
    known = {i: selection.notations[name] for i, name in enumerate(names) if name in selection.notations}
    if target is not None and selection.target_notation is not None:
        known[target] = selection.target_notation
    return known


def _read_again(text: CsvText, builders: dict[int, ColumnBuilder], which: Sequence[int]) -> None:
    """Let these columns be text."""
    again = {i: ColumnBuilder(as_text=True) for i in which}
    if again:
        _fill(text, again)
        builders |= again


def _signs_of(text: CsvText, others: Sequence[int]) -> dict[int, str | None]:
    """The decimal signs that columns which nobody asked for are sure to use."""
    builders = {i: ColumnBuilder() for i in others}
    if builders:
        _fill(text, builders)
        _read_again(text, builders, [i for i, builder in builders.items() if builder.surprised])
    return {i: builder.sure_sign() for i, builder in builders.items()}


def _note_of_points(name: str) -> str:
    return f"column {name!r:.60}: 1.234 is read as 1.234, not as 1234: the file is not sure of decimal commas"


def _fill(text: CsvText, builders: dict[int, ColumnBuilder]) -> None:
    """Give each builder its column of the whole file."""
    rows, n = (row for _, row in text.rows()), max(LEAST, PART // len(text.names))
    part = list(islice(rows, n))
    if not part:
        raise text.refuse(f"line {text.header_line}: expected rows below the header, got none")
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
    builder: ColumnBuilder, refuse: Refuse, decimals: set[str], selection: Selection, notation: Notation | None
) -> Target:
    column = builder.result()
    if isinstance(column, np.ndarray) and not np.isnan(column).any():
        return Target(whole_numbers(column), builder.shown)
    if isinstance(column, np.ndarray):  # only to find the words
        column = Cells(np.isnan(column).astype(np.int32), ["0", ""])
    return infer_target(column, refuse, decimals=decimals, classes=selection.classes, notation=notation)


def _refusal(text: CsvText, column: int) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        return text.refuse_cell(*text.row(row), column, expected, hint)

    return refuse


def _refuse_missing_header(text: CsvText, names: Sequence[str]) -> None:
    """A header of numbers alone is most likely the first row, which would be lost."""
    if all(kind_of(name) in {"number", "missing", "infinite", "miswritten"} for name in names):
        raise text.refuse(
            f"line {text.header_line}: expected the names of the columns, got numbers: "
            f"{show_names(names[:3])}{', ...' * (len(names) > 3)}",
            "let the first line name the columns, and give the target by its name",
        )
