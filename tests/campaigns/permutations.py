"""The same rows in any order, of any width of part, in any delimited file: one table, and for a model too.

Each case draws columns (numbers with and without decimals and thousands, categories, truths, holes) and a notation,
and writes them as text. Files of permuted rows and columns, with other delimiters, ends of lines, encodings and quotes,
must all give the same numbers, those that were drawn if some cell is sure of the notation, or all must be refused.
Part of the rows, read like the whole table, must say the same, and so must the values as Parquet and as a DataFrame.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

import chainrule as cr
from campaigns.tally import Tally
from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.table import Table
from chainrule.tables.text import fill_builders

TITLE = "tables of permuted rows and columns"
CASES = 2_000

ORDERS = 6  # of the rows of a case
SIGNS = [(".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (",", "\u2019")]
DECIMALS = [0, 0, 1, 2, 3, 3]  # three look like thousands
Values = list[float | str | None]


@dataclass(frozen=True)
class Column:
    """Values and the cells that say them."""

    values: Values
    cells: list[str]

    @classmethod
    def draw(cls, rng: random.Random, n: int, signs: tuple[str, str]) -> Column:
        kind = rng.choice(["number"] * 6 + ["category", "text", "truth"])
        values: Values
        if kind == "text":
            values = [rng.choice(["red", "blue", "Zürich", "a b"]) for _ in range(n)]
            cells = [str(value) for value in values]
        elif kind == "truth":
            values = [rng.choice([0.0, 1.0]) for _ in range(n)]
            cells = [rng.choice(["true", "True"]) if value else rng.choice(["false", "FALSE"]) for value in values]
        else:
            values, cells = map(list, zip(*numbers_drawn(rng, n, signs), strict=True))
            if kind == "category":
                cells = ["word" if i % 2 == 0 or rng.random() < 0.3 else cell for i, cell in enumerate(cells)]
        for i in range(n):
            if kind != "category" and rng.random() < 0.1:
                values[i], cells[i] = None, rng.choice(["", "NA", "?"])
        return cls(values, cells)


def numbers_drawn(rng: random.Random, n: int, signs: tuple[str, str], largest: int = 5) -> Iterator[tuple[float, str]]:
    """Numbers and their cells; of some columns few rows have decimals, which say how the rest is written."""
    digits, share, large = rng.choice(DECIMALS), rng.choice([1.0, 1.0, 0.1]), 10 ** rng.randint(1, largest)
    for _ in range(n):
        decimals = digits if rng.random() < share else 0
        value = round(rng.uniform(-1, 1) * large, decimals)
        yield value, written(value, decimals, signs)


def written(value: float, digits: int, signs: tuple[str, str]) -> str:
    """A number with these signs before decimals and between thousands."""
    decimal, thousands = signs
    whole, _, rest = f"{abs(value):.{digits}f}".partition(".")
    groups = re.sub(r"(?<=\d)(?=(\d{3})+$)", thousands, whole)
    return ("-" if value < 0 else "") + groups + (decimal + rest if rest else "")


def is_sure(cell: str, signs: tuple[str, str]) -> bool:
    """Whether a cell is a number with this decimal sign alone."""
    decimal = re.escape(signs[0])
    if not re.fullmatch(r"-?[\d., \u2019]*\d", cell):
        return False
    return bool(
        re.search(rf"{decimal}(?!\d{{3}}$)\d*$", cell) or re.search(rf"(^-?0|[^\d{decimal}]\d*){decimal}\d", cell)
    )


def as_text(rng: random.Random, columns: dict[str, Column], order: list[int]) -> bytes:
    """A file of these rows in one of the dialects."""
    names = rng.sample(list(columns), len(columns))
    content = io.StringIO(newline="")
    end, quoting = rng.choice(["\n", "\r\n"]), rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(content, delimiter=rng.choice(",;\t|"), lineterminator=end, quoting=quoting)
    writer.writerow(names)
    writer.writerows([columns[name].cells[i] for name in names] for i in order)
    return content.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))


def numbers(table: Table, order: list[int]) -> dict[str, list[object]]:
    """What a table says, by name, in the order of the rows that were drawn."""
    back = np.argsort(order)
    found: dict[str, list[object]] = {}
    for name in sorted(table.columns):
        data = table.columns[name]
        texts = np.array([*data.names, None], object)[data.codes] if isinstance(data, Categorical) else data
        found[name] = [None if str(value) == "nan" else value for value in texts[back].tolist()]
    found["y"] = np.asarray(table.target)[back].tolist()
    return found


def readings(rng: random.Random, columns: dict[str, Column], folder: Path) -> Iterator[dict[str, list[object]] | str]:
    """What each file of permuted rows is read as: the numbers, or "refused"."""
    n = len(columns["y"].cells)
    for _ in range(ORDERS):
        order = rng.sample(range(n), n)
        (folder / "t.csv").write_bytes(as_text(rng, columns, order))
        with mock.patch.multiple(
            fill_builders, CELLS_PER_PART=rng.choice([1, 60, 1 << 14]), MIN_ROWS=rng.choice([1, 3, 16])
        ):
            try:
                yield numbers(cr.read_table(folder / "t.csv", target="y"), order)
            except DataError:
                yield "refused"


def part_differs(rng: random.Random, columns: dict[str, Column], whole: Table, folder: Path) -> str:
    """What is wrong with some of the rows, read as the whole table was."""
    n = len(whole)
    some = sorted(rng.sample(range(n), rng.randint(1, min(n, 5))))
    (folder / "part.csv").write_bytes(as_text(rng, columns, some))
    try:
        part = cr.read_table(folder / "part.csv", target="y", like=whole)
    except DataError as error:
        return f"a part of the table is refused: {error.message}"
    of_whole = numbers(whole, list(range(n)))
    return (
        ""
        if numbers(part, list(range(len(some))))
        == {name: [values[i] for i in some] for name, values in of_whole.items()}
        else "a part of the table has other numbers"
    )


def typed_differs(drawn: dict[str, list[object]], columns: dict[str, Column], folder: Path) -> str:
    """What is wrong with the values as a DataFrame and as Parquet, of a table whose text was read as what was drawn."""
    frame = pd.DataFrame({name: pd.Series(column.values) for name, column in columns.items()})
    frame.to_parquet(folder / "t.parquet")
    for source in (frame, folder / "t.parquet"):
        if numbers(cr.read_table(source, target="y"), list(range(len(frame)))) != drawn:
            return f"{type(source).__name__} has other numbers"
    return ""


def outcome(number: int, folder: Path) -> str:
    """The outcome of a case."""
    rng = random.Random(number)
    n, signs = rng.randint(2, 40), rng.choice(SIGNS)
    columns = {f"c{j}": Column.draw(rng, n, signs) for j in range(rng.randint(1, 4))}
    columns["y"] = Column(*map(list, zip(*numbers_drawn(rng, n, signs), strict=True)))
    found = list(readings(rng, columns, folder))
    if any(reading != found[0] for reading in found):
        return "another order of the rows gives other numbers"
    if isinstance(found[0], str):
        return found[0]
    (folder / "t.csv").write_bytes(as_text(rng, columns, list(range(n))))
    if wrong := part_differs(rng, columns, cr.read_table(folder / "t.csv", target="y"), folder):
        return wrong
    drawn = {name: list[object](column.values) for name, column in columns.items()}
    categories = {name for name, column in columns.items() if "word" in column.cells}
    of_numbers = [cell for name, column in columns.items() if name not in categories for cell in column.cells]
    if any(is_sure(cell, signs) for cell in of_numbers):
        if wrong := next((name for name in found[0] if name not in categories and found[0][name] != drawn[name]), ""):
            return f"{wrong} is not what was drawn"
        if not categories and (wrong := typed_differs(found[0], columns, folder)):
            return wrong
        return "as drawn"
    return "no cell is sure"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """The count of each outcome, and what went wrong, by number."""
    tally = Tally("as drawn", "no cell is sure", "refused")
    for number in numbers:
        tally.add(number, outcome(number, folder))
    return tally.result()
