"""A confusion matrix as text, or the largest confusions of many classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.nn.confusion import Confusion
from chainrule.plain_text import printable, table_lines

MOST_CLASSES = 20  # of a matrix on a terminal; for more, the most frequent mistakes are listed
MISTAKES = 15
LONGEST_NAME = 16


class Mistake(NamedTuple):
    """How many rows of a class are taken for another, and which share of the rows of their class that is."""

    true: int
    predicted: int
    rows: int
    share: float


def confusion_table(found: Confusion, names: Sequence[str]) -> list[str]:
    """Lines: a row for each true class, a column for each predicted one, and how many of each are right.

    ``recall`` is the share of a class's rows that are right, ``precision`` that of the rows taken for it; a dash
    if there are none. Of more than 20 classes the most frequent mistakes are listed instead.
    """
    if len(names) > MOST_CLASSES:
        return _mistakes_table(found, names)
    short, counts = [_short(name) for name in names], found.matrix()
    right, rows, taken = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    table = [["true \\ predicted", *short, "recall"]]
    table += [
        [name, *(f"{int(n):,}" for n in row), _share(right[i], rows[i])]
        for i, (name, row) in enumerate(zip(short, counts, strict=True))
    ]
    table.append(["precision", *(_share(a, b) for a, b in zip(right, taken, strict=True)), ""])
    return table_lines(table, numbers=True)


def largest_confusions(found: Confusion) -> list[Mistake]:
    """The most frequent mistakes, at most 15."""
    wrong, of_class = found.mistakes(), found.rows_of_class
    shown = zip(*(array[:MISTAKES].tolist() for array in (wrong.true, wrong.predicted, wrong.rows)), strict=True)
    return [Mistake(true, taken_for, rows, rows / int(of_class[true])) for true, taken_for, rows in shown]


def _mistakes_table(found: Confusion, names: Sequence[str]) -> list[str]:
    table = [
        [_short(names[one.true]), _short(names[one.predicted]), f"{one.rows:,}", f"{one.share:.3f}"]
        for one in largest_confusions(found)
    ]
    if not table:
        return ["no mistakes"]
    head, total = ["true", "predicted", "rows", "of its rows"], int(found.mistakes().rows.sum())
    return [f"the most frequent of {total:,} mistakes", *table_lines([head, *table], numbers=True)]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"
