"""A confusion matrix as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.plain_text import printable, table_lines

MOST_CLASSES = 20  # of a matrix on a terminal; for more, the most frequent mistakes are listed
MISTAKES = 15
LONGEST_NAME = 16


def confusion_table(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    """Lines: a row for each true class, a column for each predicted one, and how many of each are right.

    ``recall`` is the share of a class's rows that are right, ``precision`` that of the rows taken for it; a dash
    if there are none. Of more than 20 classes the most frequent mistakes are listed instead.
    """
    short = [_short(printable(name)) for name in names]
    if len(names) > MOST_CLASSES:
        return _mistakes(counts, short)
    right, rows, taken = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    table = [["true \\ predicted", *short, "recall"]]
    table += [
        [name, *(f"{int(n):,}" for n in row), _share(right[i], rows[i])]
        for i, (name, row) in enumerate(zip(short, counts, strict=True))
    ]
    table.append(["precision", *(_share(a, b) for a, b in zip(right, taken, strict=True)), ""])
    return table_lines(table, numbers=True)


def _mistakes(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    pairs = [divmod(int(at), len(names)) for at in order]
    table = [
        [names[i], names[j], f"{int(wrong[i, j]):,}", _share(wrong[i, j], counts[i].sum())]
        for i, j in pairs
        if wrong[i, j]
    ]
    if not table:
        return ["no mistakes"]
    head = ["true", "predicted", "rows", "of its rows"]
    return [f"the most frequent of {int(wrong.sum()):,} mistakes", *table_lines([head, *table], numbers=True)]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"
