"""Tables from delimited text.

Rows are read part by part and column by column: besides the columns only one part is ever in memory. Numbers of rows
without quotes are read all at once, with the bits of ``float``, everything else by the csv module and cell by cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import TableColumns
from chainrule.nn.columns.notation import Notation
from chainrule.tables.choose_columns import choose_columns, show_names
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table
from chainrule.tables.text.column_builder import Cells, ColumnBuilder
from chainrule.tables.text.csv_text import CsvText
from chainrule.tables.text.fill_builders import fill_builders
from chainrule.tables.text.infer_notation import complete_notations
from chainrule.tables.text.infer_target import Target, infer_target, whole_numbers
from chainrule.tables.text.infer_type import InferredType, infer_type
from chainrule.tables.text.parsing import cell_kind
from chainrule.tables.text.refusals import Refuse


def read_csv(path: Path, selection: Selection) -> Table:
    """The table of a text file.

    The delimiter is found in the header. Cells may be quoted, also across lines; spaces around them are ignored.
    Empty lines between rows are skipped. There is no comment sign. What cells mean:
    :mod:`chainrule.tables.text.infer_type` and :mod:`chainrule.tables.text.infer_target`.

    Raises
    ------
    DataError     naming line (from 1, the header included) and column of what cannot be read.
    OptionError   if a column of the selection does not exist, or the target is needed and not given.
    """
    text = CsvText(path)
    names = text.names
    if not selection.feature_names:
        _refuse_missing_header(text, names)
    chosen, target = choose_columns(text.source, names, selection)
    if not selection.feature_names and target is not None and selection.target != names[target]:
        _refuse_missing_header(text, [names[i] for i in chosen])
    columns, y = _read_columns(text, chosen, target, selection)
    return Table.from_columns(columns, y, "" if target is None else names[target], text.source, text.notes)


def _read_columns(
    text: CsvText, chosen: Sequence[int], target: int | None, selection: Selection
) -> tuple[TableColumns, np.ndarray | None]:
    """The features by name, and the target."""
    names, known = text.names, _known_notations(text.names, target, selection)
    builders = _read_once_or_twice(text, chosen, target, selection, known)
    decimals = _decimals(text, builders, known, learns=not selection.feature_names)
    found = {i: _feature(builders.pop(i), text, i, decimals, selection, known.get(i)) for i in chosen}
    y = None
    if target is not None:
        y = _target(builders[target], _refusal(text, target), decimals, selection, known.get(target))
    if len({len(column.data) for column in found.values()} | ({len(y.values)} if y else set())) > 1:
        raise text.refuse("its columns differ in length: it changed while it was read")
    all_columns: dict[int, InferredType | Target] = {**found, **({} if target is None or y is None else {target: y})}
    visible = {names[i]: column.notation for i, column in all_columns.items()}
    units = {names[i]: known[i].unit if i in known else column.unit for i, column in all_columns.items()}
    notations = complete_notations(visible, decimals, units)
    text.notes += [f"column {names[i]!r:.60}: {column.note}" for i, column in all_columns.items() if column.note]
    columns = TableColumns(
        {names[i]: column.data for i, column in found.items()},
        notations={names[i]: notations[names[i]] for i in chosen if names[i] in notations},
        target=None if target is None else notations.get(names[target]),
    )
    return columns, None if y is None else y.values


def _read_once_or_twice(
    text: CsvText, chosen: Sequence[int], target: int | None, selection: Selection, known: Mapping[int, Notation]
) -> dict[int, ColumnBuilder]:
    """A builder for each column, filled; of a column whose first reading failed, and a large target, with its text."""
    builders = {
        i: ColumnBuilder(
            as_text=bool(selection.classes) if i == target else selection.kind(text.names[i]) == "category",
            known=known.get(i),
        )
        for i in [*chosen, *([] if target is None else [target])]
    }
    fill_builders(text, builders)
    again = [i for i, builder in builders.items() if builder.failed or (i == target and _is_large(builder))]
    _reread_as_text(text, builders, again)
    return builders


def _decimals(
    text: CsvText, builders: dict[int, ColumnBuilder], known: Mapping[int, Notation], *, learns: bool
) -> set[str]:
    """The decimal signs that the columns of the file are certain to use; columns that they contradict are read again.

    The whole file decides what 1.234 is: columns that could be read either way depend on all others, unselected ones
    too, so that neither the order of the rows nor the choice of columns changes a number. A table that a model
    ``learns`` from asks the unselected ones also if no column of its own shows a sign: the model keeps the notation.
    """
    signs = {i: builder.certain_decimal_sign() for i, builder in builders.items()}
    uncertain = [i for i, sign in signs.items() if sign is None and i not in known]
    if uncertain or (learns and not any(signs.values())):  # a later file may show more than whole numbers
        signs |= _decimal_signs(text, [i for i in range(len(text.names)) if i not in builders])
    decimals = {sign for sign in signs.values() if sign}
    pointed = [i for i in uncertain if builders[i].has_points]
    if decimals == {","}:
        _reread_as_text(text, builders, [i for i in pointed if builders[i].notation is not None])
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
        return InferredType(column, builder.visible_notation)
    return infer_type(
        column,
        _refusal(text, position),
        wanted=selection.kind(name),
        decimals=decimals,
        known=selection.texts.get(name),
        notation=notation,
        learned=selection.learned,
    )


def _known_notations(names: Sequence[str], target: int | None, selection: Selection) -> dict[int, Notation]:
    """The notations that a model knows, by position."""
    known = {i: selection.notations[name] for i, name in enumerate(names) if name in selection.notations}
    if target is not None and selection.target_notation is not None:
        known[target] = selection.target_notation
    return known


def _reread_as_text(text: CsvText, builders: dict[int, ColumnBuilder], which: Sequence[int]) -> None:
    """Replace the builders of these columns by ones that hold text."""
    again = {i: ColumnBuilder(as_text=True) for i in which}
    if again:
        fill_builders(text, again)
        builders |= again


def _decimal_signs(text: CsvText, others: Sequence[int]) -> dict[int, str | None]:
    """The decimal signs that columns outside the selection are certain to use."""
    builders = {i: ColumnBuilder() for i in others}
    if builders:
        fill_builders(text, builders)
        _reread_as_text(text, builders, [i for i, builder in builders.items() if builder.failed])
    return {i: builder.certain_decimal_sign() for i, builder in builders.items()}


def _note_of_points(name: str) -> str:
    reason = "the other columns do not all have decimal commas"
    return f"column {name!r:.60}: 1.234 is read as 1.234, not as 1234: {reason}"


def _is_large(builder: ColumnBuilder) -> bool:
    """Whether there are numbers that float64 may have rounded to a neighbour."""
    column = builder.result() if not builder.failed else None
    return isinstance(column, np.ndarray) and bool((np.abs(column) >= 2**53).any())


def _target(
    builder: ColumnBuilder, refuse: Refuse, decimals: set[str], selection: Selection, notation: Notation | None
) -> Target:
    column = builder.result()
    if isinstance(column, np.ndarray) and not np.isnan(column).any():
        return Target(whole_numbers(column), builder.visible_notation)
    if isinstance(column, np.ndarray):  # the target has a hole: for the message of infer_target
        column = Cells(np.isnan(column).astype(np.int32), ["0", ""])
    return infer_target(
        column,
        refuse,
        decimals=decimals,
        classes=selection.classes,
        notation=notation,
        wanted=selection.kind_of_target,
        learned=selection.learned,
    )


def _refusal(text: CsvText, column: int) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        return text.refuse_cell(*text.row(row), column, expected, hint)

    return refuse


def _refuse_missing_header(text: CsvText, names: Sequence[str]) -> None:
    """DataError for a header of numbers alone: most likely it is the first row, which would be lost."""
    if all(cell_kind(name) in {"number", "missing", "infinite", "miswritten"} for name in names):
        raise text.refuse(
            f"line {text.header_line}: expected the names of the columns, got numbers: "
            f"{show_names(names[:3])}{', ...' * (len(names) > 3)}",
            "let the first line name the columns, and give the target by its name",
        )
