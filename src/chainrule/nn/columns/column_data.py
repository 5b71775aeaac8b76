"""The data in the columns of a table: numbers, or text by its distinct values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation
from chainrule.plain_text import list_names

LONGEST_NAME = 1 << 16  # characters of a name of a column, class or category


@dataclass(frozen=True, eq=False)
class Categorical:
    """A column of text.

    Parameters
    ----------
    codes : (n,) int32, positions in ``names``; -1 for a missing cell
    names : the distinct texts
    typed : whether the column had nulls of its own, so that no word in it meant one: "NA" is text there
    """

    codes: np.ndarray
    names: tuple[str, ...]
    typed: bool = False

    def __len__(self) -> int:
        return len(self.codes)


ColumnData = np.ndarray | Categorical  # numbers: (n,) float64, nan for a missing one


class TableColumns(dict[str, ColumnData]):
    """The columns of a table by name, in order, and how the numbers were written.

    Parameters
    ----------
    columns : name to column
    notations : of the columns whose cells showed how their numbers are written, or that share a file with such cells;
        of a typed column (Parquet, a DataFrame) only if it is text with units
    target : the same of the target
    """

    def __init__(
        self,
        columns: Mapping[str, ColumnData],
        *,
        notations: Mapping[str, Notation] | None = None,
        target: Notation | None = None,
    ) -> None:
        super().__init__(columns)
        self.notations: Mapping[str, Notation] = dict(notations or {})
        self.target_notation = target

    def __repr__(self) -> str:
        """The names by kind; the data would fill the screen."""
        texts = [name for name, data in self.items() if isinstance(data, Categorical)]
        kinds = {"numbers": [name for name in self if name not in set(texts)], "categories": texts}
        listed = "; ".join(f"{kind} ({len(names):,}): {list_names(names)}" for kind, names in kinds.items() if names)
        return f"<TableColumns: {listed or 'none'}>"

    def copy(self) -> TableColumns:
        """The same columns with their notations."""
        return TableColumns(self, notations=self.notations, target=self.target_notation)


@dataclass(frozen=True)
class KnownTexts:
    """What is known of a column of text before it is read.

    Parameters
    ----------
    names : its categories
    marks : words for missing values that were text in it; None if such words were missing values
    """

    names: frozenset[str]
    marks: frozenset[str] | None = None

    @cached_property
    def kept(self) -> frozenset[str]:
        """The texts that stay what they are."""
        return self.names | (self.marks or frozenset())

    @classmethod
    def of(cls, data: Categorical) -> KnownTexts:
        """Of a column that was read."""
        return cls(frozenset(data.names), frozenset(marks_in(data.names)) if data.typed else None)


def marks_in(names: Iterable[str]) -> list[str]:
    """Those of the texts that would be missing values in a text file, or that Python or pandas print for them."""
    return sorted({*names} & (MISSING | NOTHING))


def take(data: ColumnData, rows: np.ndarray | slice) -> ColumnData:
    """Those rows of a column."""
    return Categorical(data.codes[rows], data.names, data.typed) if isinstance(data, Categorical) else data[rows]


def positions(rows: np.ndarray, n: int) -> np.ndarray:
    """Positions from 0 of these rows of ``n``, given as positions or as a mask; DataError for anything else."""
    found = np.asarray(rows)
    if found.dtype.kind == "b" and found.shape == (n,):
        return np.flatnonzero(found)
    if not found.size and found.ndim == 1:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataError(f"rows: expected positions of {n:,} rows, or a mask of them, got {found.dtype} {found.shape}")
    outside = (found < -n) | (found >= n)
    if outside.any():
        raise DataError(f"rows: expected positions from 0 to {n - 1}, got {found[outside.argmax()]}")
    return found % n if found.min() < 0 else found


def look_up(numbers: Mapping[str, int], data: Categorical, *, other: int, missing: int) -> np.ndarray:
    """(n,) int64: the number of each row's text, ``other`` for a text that has none."""
    # -1 of a missing cell finds the last entry.
    of_names = np.array([*(numbers.get(name, other) for name in data.names), missing], np.int64)
    found: np.ndarray = of_names[data.codes]
    return found


def shorten(data: ColumnData, n: int) -> None:
    """Keep the first ``n`` rows, in place, and free the rest; nothing happens if the array does not own its memory."""
    array = data.codes if isinstance(data, Categorical) else data
    if array.flags.owndata:
        array.resize(n, refcheck=False)


def refuse_long_names(what: str, names: Iterable[str]) -> None:
    """DataError for one of more than 65,536 characters, the most that a model file takes."""
    longest = max(names, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise DataError(
            f"expected {what} of at most {LONGEST_NAME:,} characters, got {longest[:40]!r}... of {len(longest):,}",
            hint="shorten it, or leave it out",
        )
