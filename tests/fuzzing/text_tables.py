"""CSV files: of cells in many notations, between any delimiters, quotes and ends of lines; or bytes as they come."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.tables.readers import read_table
from chainrule.tables.table import Table
from fuzzing import values
from fuzzing.choices import Choices
from fuzzing.limits import Outcome, outcome_of
from fuzzing.targets import Target

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
CELLS = [
    "1", "2", "-3", "0.5", "1,5", "1.234,5", "1,234.5", "1 234", "1'234", "1_000", "+4", "1e5", "1E-400", "1e400", ".5",
    "5.", "-.5", "- 5", "(5)", "5-", "50%", "$5", "€ 5", "0x1F", "1/2", "١٢", "\uff11", "\u22125", "1\u00a0234",
    "1.2.3", "nan", "NaN", "inf", "-Infinity", "NA", "N/A", "null",
    "None", "?", "-", "--", ".", "", " ", "true", "FALSE", "yes",
    "no", "red", "blue", "2026-11-23", "2026-11-23T10:30Z", "23.11.2026", "11/23/26", "12:30", "=1+1", "@x", "\t",
    "\x00", "\x1b[31m",
    "\u202e", '"', '""', "'", "a,b", "a;b", "#", "9" * 400, "x" * 300, "1" + "0" * 310, "9007199254740993",
]  # fmt: skip
SMALL = [
    b"a,b,y\n1,2,3\n4,5,6\n", b"a;b;y\n1,5;red;no\n;blue;yes\n", b"\xff\xfea\x00,\x00b\x00\n\x001\x00,\x002\x00\n\x00",
    b'"a b"\t"c""d"\r\n1.234,5\t"x\ny"\r\n', b"1|2|3\r4|5|6\r", b"\xef\xbb\xbfx, y\n 1, 2\n",
]  # fmt: skip


def text_table(choices: Choices) -> bytes:
    """A header, if there is one, and rows whose columns have a notation each; now and then another."""
    delimiter, end = choices.choice([",", ";", "\t", "|", " ", ", "]), choices.choice(["\n", "\r\n", "\r", "\n\n"])
    width, n = 1 + choices.randrange(5), choices.randrange(9)
    usual = [[choices.choice(CELLS) for _ in range(1 + choices.randrange(3))] for _ in range(width)]
    lines = []
    if choices.randrange(8):
        names = [f"c{j}" if choices.randrange(3) else values.text(choices, 12) for j in range(width)]
        lines.append([_quoted(choices, name, delimiter) for name in names])
    for _ in range(n):
        cells = [choices.choice(usual[j]) if choices.randrange(8) else _odd(choices) for j in range(width)]
        cells = [_quoted(choices, cell, delimiter) for cell in cells]
        lines.append(cells if choices.randrange(16) else choices.choice([cells[:-1], [*cells, "1"], []]))
    text = end.join(delimiter.join(line) for line in lines) + choices.choice([end, "", " ", "\x1a"])
    return text.encode(choices.choice(ENCODINGS), "replace")


def _odd(choices: Choices) -> str:
    return choices.choice([choices.choice(CELLS), values.text(choices, 16), str(values.number(choices))])


def _quoted(choices: Choices, cell: str, delimiter: str) -> str:
    how = choices.randrange(8)
    if how == 0 or (how < 6 and (delimiter in cell or "\n" in cell or "\r" in cell)):
        return '"' + cell.replace('"', '""') + '"'
    return {6: f'"{cell}', 7: f" {cell} "}.get(how, cell)


class TextTables(Target):
    """Read, read again as the same kind of table, and encoded."""

    good = frozenset({"read", "refused"})

    def seeds(self) -> list[bytes]:
        return [b"\0" + table for table in SMALL] + [bytes([1, i, *range(60)]) for i in range(12)]

    def outcome(self, data: bytes) -> Outcome:
        choices = Choices(data)
        content = text_table(choices) if choices.randrange(2) else choices.rest()
        (self.folder / "t.csv").write_bytes(content)
        return outcome_of(lambda: use_table(self.folder / "t.csv"), refusal=(DataError, OptionError))


def use_table(path: Path) -> str:
    """Read it without and with a target, then like itself, and make X of it."""
    table = read_table(path, need_target=False)
    if said := _broken(table):
        return said
    if not _same(table, read_table(path, need_target=False, like=table)):
        return "read otherwise like itself"
    if table.columns:
        with contextlib.suppress(DataError):  # numbers too large to standardise, columns without a value
            encoder = TableEncoder.fit(table.columns)
            if not np.isfinite(encoder.encode(table.columns)).all():
                return "encoded as what is not finite"
    if table.width > 1:
        with contextlib.suppress(DataError, OptionError):  # a target may be less than a feature
            said = _broken(read_table(path, target="-1"))
    return said or "read"


def _broken(table: Table) -> str:
    if table.matrix is not None:
        return "" if np.isfinite(table.matrix).all() else "not finite in a matrix"
    lengths = {len(data) for data in table.columns.values()}
    for data in table.columns.values():
        if isinstance(data, Categorical):
            if len(data) and not -1 <= data.codes.min() <= data.codes.max() < len(data.names):
                return "codes without a name"
        elif np.isinf(data).any():
            return "inf in a column"
    target = table.target
    if target is not None and target.dtype.kind not in "UO" and not np.isfinite(target).all():
        return "not finite in the target"
    return "" if len(lengths) == 1 else f"columns of {lengths} rows"


def _same(a: Table, b: Table) -> bool:
    return list(a.columns) == list(b.columns) and all(
        np.array_equal(_plain(x), _plain(y), equal_nan=not isinstance(x, Categorical))
        for x, y in zip(_parts(a), _parts(b), strict=True)
    )


def _parts(table: Table) -> list[ColumnData]:
    return list(table.columns.values()) if table.matrix is None else [table.matrix]


def _plain(data: ColumnData) -> np.ndarray:
    """Texts without their codes, whose order may be another; numbers as they are."""
    if not isinstance(data, Categorical):
        return data
    return np.array([*data.names, None], object)[data.codes]
