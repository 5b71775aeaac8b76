"""Every bad table in every format: the documented result, or a refusal that names the place; the same in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ChainruleError
from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.readers import read_table
from chainrule.tables.table import Table
from tables.arrays import test_npy_format, test_npz_archive
from tables.bad_tables import CASES, Case, Refused
from tables.formats import FORMATS, CannotHoldError, Format

LEAST = {"text": 110, "objects": 120, "frames": 100, "arrays": 35}  # cases that a format of the family must hold


def position_of(case: Case) -> str | None:
    """The target of a matrix: its position."""
    return None if case.target is None else str(list(case.data).index(case.target))


def read(case: Case, form: Format, name: str, folder: Path) -> Table:
    source, target = form.write(case.data, folder, case.target), case.target
    if name == "npy":
        target = position_of(case)
    elif name == "npz" and target is not None and "y" not in case.data:
        raise CannotHoldError
    return read_table(source, **{"target": target} | case.options)


def holds(case: Case, form: Format, name: str) -> bool:
    """Whether the case is one of this family at all."""
    if form.family == "arrays":
        asks = any(option in case.options for option in ("kinds", "categorical"))
        return "arrays" in case.only and (case.target is None or case.target in case.data) and not asks
    return form.family in case.only


def values_of(table: Table) -> list[list[Any]]:
    """Column by column, None for a hole."""
    if table.matrix is not None:
        return table.matrix.T.tolist()
    found = []
    for data in table.columns.values():
        if isinstance(data, Categorical):
            found.append([data.names[code] if code >= 0 else None for code in data.codes])
        else:
            found.append([None if np.isnan(value) else value for value in data.tolist()])
    return found


def difference(case: Case, form: Format, name: str, folder: Path) -> str:
    """What is not as it should be; empty where all is."""
    expected = case.expected if form.family != "text" or case.text is None else case.text
    try:
        table = read(case, form, name, folder)
    except ChainruleError as error:
        return refusal_difference(error, expected, case, form, name)
    if isinstance(expected, Refused):
        return f"read {values_of(table)}, {table.target}"
    target = case.target if case.target in case.data else [*case.data][-1] if case.target else None
    features = {key: values for key, values in expected.items() if key != target}
    if form.family != "arrays" and table.feature_names != tuple(features):
        return f"columns {table.feature_names}"
    if values_of(table) != list(features.values()):
        return f"columns {values_of(table)!r:.300}"
    got = None if table.target is None else table.target.tolist()
    wanted = None if target is None else expected[target]
    if got != wanted or {isinstance(v, str) for v in got or ()} != {isinstance(v, str) for v in wanted or ()}:
        return f"target {got}"
    return ""


def place(expected: Refused, case: Case, form: Format, name: str) -> str:
    """Where the format says that a cell stands."""
    if form.family == "text":
        return f"line {expected.row + 2}, column {expected.column!r}"
    if form.family != "arrays":
        return f"column {expected.column!r}, row {expected.row} (from 0)"
    if name == "npz" and expected.column == case.target:
        return f"array 'y', row {expected.row} (from 0)"
    others = [column for column in case.data if column != case.target or name == "npy"]
    return f"row {expected.row}, column {others.index(expected.column)} (from 0)"


def refusal_difference(error: ChainruleError, expected: Any, case: Case, form: Format, name: str) -> str:
    if not isinstance(expected, Refused):
        return f"refused: {error}"
    if type(error) is not expected.kind or "\n" in error.message or len(error.message) > 700:
        return f"{type(error).__name__}: {error}"
    # An array has no words for its columns and no classes: there only the place counts.
    words = list(expected.words) if form.family != "arrays" or expected.row is None else []
    if expected.row is not None:
        words.append(place(expected, case, form, name))
    lacks = [part for part in words if part not in str(error)]
    return f"without {lacks}: {error}" if lacks else ""


@pytest.mark.parametrize("name", FORMATS)
def test_bad_tables_in_every_format(name, tmp_path):
    form = FORMATS[name]
    if form.missing:
        pytest.skip(f"{form.missing} is not installed")
    found, count = {}, 0
    for title, case in CASES.items():
        if not holds(case, form, name):
            continue
        try:
            wrong = difference(case, form, name, tmp_path)
        except CannotHoldError:
            continue
        count += 1
        if wrong:
            found[title] = wrong
    assert not found, "\n".join(f"{title}: {wrong}" for title, wrong in found.items())
    assert count >= LEAST[form.family], count


def test_the_number_of_bad_tables_for_arrays():
    """Beside those above the files that are damaged as only an array or an archive can be."""
    alone = [test_npy_format.BAD_ARRAYS, test_npy_format.DAMAGED, test_npy_format.NO_HEADERS]
    archives = [test_npy_format.BAD_ARRAYS, test_npz_archive.BAD_ARCHIVES, test_npz_archive.BAD_TARGETS]
    for more in (alone, archives):
        assert LEAST["arrays"] + sum(map(len, more)) >= 80
