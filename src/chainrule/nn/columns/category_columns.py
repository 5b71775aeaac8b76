"""What a model keeps of a column of text: its categories, and their columns of X or their codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.category_statistics import CategoryStatistics
from chainrule.nn.columns.category_sums import WeightedTarget
from chainrule.nn.columns.column_data import Categorical, ColumnData, KnownTexts, look_up, marks_in, refuse_long_names
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation, check_notation, describe_notation

MOST_OF_BYTE = 255  # the largest uint8
MAX_CATEGORIES = 32  # columns of X that one column of text may become; rarer categories share one more


@dataclass(frozen=True)
class _Categories:
    """What is known of a column of text: which categories have a slot of their own, and how frequent they are.

    A value that no training row had shares the slot "rarer" with the rarest ones of the training; a missing value has
    "missing".

    Parameters
    ----------
    name : of the table's column
    categories : those with a slot of their own, the most frequent of the training rows, in the order of their names
    rarer, missing : whether there are slots for these: only if training rows filled them
    shares : of the training rows, one for each slot; they sum to 1
    marks : words for missing values that were text in a column with nulls of its own; None for a column without them
        (of a text file), in which all such words were missing values
    notation : of its file, in which 7,0 and 7.0 may be the same name; None if the training data did not show it
    """

    name: str
    categories: tuple[str, ...]
    rarer: bool
    missing: bool
    shares: tuple[float, ...]
    marks: tuple[str, ...] | None = None
    notation: Notation | None = None

    def __post_init__(self) -> None:
        check_notation(self.name, self.notation)
        if self.marks is not None and not set(self.marks) <= MISSING | NOTHING:
            raise OptionError(f"expected words for holes as marks of {self.name!r:.60}, got {self.marks!r:.60}")
        texts = (self.name, *self.categories)
        if not all(isinstance(text, str) for text in texts) or len(set(self.categories)) < len(self.categories):
            raise OptionError(
                f"expected different texts as categories of {self.name!r:.60}, got {self.categories!r:.60}"
            )
        refuse_long_names("a name of a column", (self.name,))
        refuse_long_names(f"a category of column {self.name!r:.60}", self.categories)
        if not isinstance(self.rarer, bool) or not isinstance(self.missing, bool):
            raise OptionError(f"expected bools for rarer and missing, got {self.rarer!r:.60} and {self.missing!r:.60}")
        numbers = all(isinstance(share, int | float) and 0 <= share <= 1 for share in self.shares)
        if not self.slots or len(self.shares) != self.slots or not numbers or abs(sum(self.shares) - 1) > 1e-6:
            raise OptionError(f"expected {self.slots} shares that sum to 1, got {self.shares!r:.60}")

    @classmethod
    def fit(
        cls,
        name: str,
        data: Categorical,
        sample_weight: np.ndarray | None = None,
        *,
        max_categories: int = MAX_CATEGORIES,
        at_least: int = 1,
        notation: Notation | None = None,
    ) -> Self:
        """The ``max_categories`` most frequent by weight, ties by name, of those with ``at_least`` so many rows each;
        and the shares of the weight."""
        rows = np.bincount(data.codes + 1, minlength=len(data.names) + 1)
        frequencies = rows if sample_weight is None else np.bincount(data.codes + 1, sample_weight, len(rows))
        # Ten digits: ties by name, whatever the order in which the weights were added up.
        _, *of_names = np.round(frequencies / frequencies.sum(), 10).tolist()
        ranked = sorted(
            np.flatnonzero(rows[1:]).tolist(), key=lambda i: (rows[i + 1] < at_least, -of_names[i], data.names[i])
        )
        most = min(max_categories, int((rows[1:] >= at_least).sum()))
        kept, rarer = sorted(ranked[:most], key=lambda i: data.names[i]), ranked[most:]
        of_slots = [frequencies[1:][kept]]
        of_slots += [frequencies[1:][rarer].sum(keepdims=True)] * bool(rarer) + [frequencies[:1]] * bool(rows[0])
        shares = tuple((np.concatenate(of_slots) / frequencies.sum()).tolist())
        marks = tuple(marks_in(data.names[i] for i in ranked)) if data.typed else None
        return cls(name, tuple(data.names[i] for i in kept), bool(rarer), bool(rows[0]), shares, marks, notation)

    @property
    def slots(self) -> int:
        """How many: the categories, then "rarer" and "missing" if they are used."""
        return len(self.categories) + self.rarer + self.missing

    def slots_of(self, data: ColumnData) -> np.ndarray:
        """(n,) int64: the slot of each row, -1 if there is none for its value."""
        if not isinstance(data, Categorical):
            raise DataError(f"column {self.name!r}: expected categories, as in training, got numbers")
        return look_up(self._slot_of, data, other=self._rarer_slot, missing=self._missing_slot)

    def slot_of(self, name: str | None) -> int:
        """That of one category, or of a missing value, None; -1 if there is none for it."""
        return self._missing_slot if name is None else self._slot_of.get(name, self._rarer_slot)

    @property
    def _rarer_slot(self) -> int:
        return len(self.categories) if self.rarer else -1

    @property
    def _missing_slot(self) -> int:
        return len(self.categories) + self.rarer if self.missing else -1

    @cached_property
    def _slot_of(self) -> dict[str, int]:
        return {category: i for i, category in enumerate(self.categories)}

    @property
    def known_categories(self) -> tuple[str, ...]:
        """Those that the model tells apart."""
        return self.categories

    @cached_property
    def known(self) -> KnownTexts:
        """For reading such a column again."""
        return KnownTexts(frozenset(self.known_categories), None if self.marks is None else frozenset(self.marks))

    def unseen(self, data: Categorical) -> list[str]:
        """The values in ``data`` that the model does not tell apart from others."""
        present = np.bincount(data.codes + 1, minlength=len(data.names) + 1)[1:]
        known = set(self.known_categories)
        return [name for name, count in zip(data.names, present, strict=True) if count and name not in known]

    def _described(self, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "name": self.name,
            "categories": list(self.categories),
            "rarer": self.rarer,
            "missing": self.missing,
            "shares": list(self.shares),
            **({} if self.marks is None else {"marks": list(self.marks)}),
            **describe_notation(self.notation),
        }


@dataclass(frozen=True)
class CategoryColumn(_Categories):
    """A column of text as one column of X per slot, 1 in the rows that have it, else 0.

    The slots are the categories, one for all rarer values, and one for missing values. If no training row filled a slot
    for the value of a row, its weights would be noise: the row gets the ``shares`` instead, the means of these columns,
    which standardisation turns into zeros, that is, no information.

    With ``statistics`` there are columns of numbers behind them, which tell rarer categories apart: means of the target
    and the logarithm of the count.

    Parameters
    ----------
    name : of the table's column
    categories : those with a slot of their own, the most frequent of the training rows, in the order of their names
    rarer, missing : whether there are slots for these: only if training rows filled them
    shares : of the training rows, one for each slot; they sum to 1
    marks : words for missing values that were text in a typed column; None for a column of a text file
    notation : of its file, in which 7,0 and 7.0 may be the same name; None if the training data did not show it
    statistics : of the target for rarer categories, or None
    """

    statistics: CategoryStatistics | None = None
    kind: ClassVar[str] = "category"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.statistics is None:
            return
        same = set(self.categories) & set(self.statistics.categories)
        if not self.rarer or same or self.statistics.kept != len(self.categories):
            raise OptionError(f"expected statistics of the rarer categories of {self.name!r:.60}, got those of others")

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns of X."""
        extra = [f"{self.name} is rarer"] * self.rarer + [f"{self.name} is missing"] * self.missing
        numbers = () if self.statistics is None else self.statistics.names
        return (
            *(f"{self.name} = {category}" for category in self.categories),
            *extra,
            *(f"{self.name}: {name}" for name in numbers),
        )

    @property
    def name_characters(self) -> int:
        """Of :attr:`names` together, within ten per name."""
        numbers = () if self.statistics is None else self.statistics.names
        return (self.slots + len(numbers)) * len(self.name) + sum(map(len, (*self.categories, *numbers)))

    @property
    def known_categories(self) -> tuple[str, ...]:
        """Those with a slot of their own, and those with statistics."""
        return self.categories if self.statistics is None else (*self.categories, *self.statistics.categories)

    def with_statistics(self, data: Categorical, target: WeightedTarget) -> CategoryColumn:
        """The same with statistics of these training rows, if at least two categories are rarer."""
        return replace(self, statistics=CategoryStatistics.fit(self.categories, data, target))

    def are_bytes(self, data: ColumnData) -> bool:
        """Whether its columns of X hold whole numbers from 0 to 255 alone: no statistics, and no row with shares."""
        return self.statistics is None and bool((self.slots_of(data) >= 0).all())

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the columns of X, (n, len(names)), of new rows."""
        slots, shown = self.slots_of(data), out[:, : self.slots]
        shown[...] = 0
        known = np.flatnonzero(slots >= 0)
        shown[known, slots[known]] = 1
        if len(known) < len(slots):
            shown[slots < 0] = self.shares
        if self.statistics is not None and isinstance(data, Categorical):
            out[:, self.slots :] = self.statistics.table[self.positions(data)]

    def encode_cell(self, name: str | None, *, out: np.ndarray, at: int) -> None:
        """Write the columns of X of one row from ``at`` on, which are 0; None for a missing value."""
        slot = self.slot_of(name)
        if slot >= 0:
            out[at + slot] = 1
        else:
            out[at : at + self.slots] = self.shares
        if self.statistics is not None:
            table = self.statistics.table
            position = len(table) - 1 if name is None else self._position_of.get(name, len(table) - 1)
            out[at + self.slots : at + self.slots + table.shape[1]] = table[position]

    def positions(self, data: Categorical) -> np.ndarray:
        """(n,) int64: the position of each row's category in the statistics, the last for a missing or unknown one."""
        last = len(self._position_of)
        return look_up(self._position_of, data, other=last, missing=last)

    @cached_property
    def _position_of(self) -> dict[str, int]:
        return {category: i for i, category in enumerate(self.known_categories)}

    def describe(self) -> dict[str, Any]:
        """For the model file, which has the numbers of the statistics as arrays."""
        statistics = {} if self.statistics is None else {"statistics": self.statistics.describe()}
        return self._described(self.kind) | statistics


@dataclass(frozen=True)
class EmbeddedColumn(_Categories):
    """A column of text as one column of X: the number of the slot, for an :class:`Embedding`.

    The slots are the categories, one for all rarer values, and one for missing values. If no training row filled a slot
    for the value of a row, it gets the number after the last, for which the embedding uses the mean of the slots'
    vectors by their ``shares``: an average row.

    Parameters
    ----------
    name, categories, rarer, missing, shares, marks, notation : as for :class:`CategoryColumn`
    """

    kind: ClassVar[str] = "embedding"

    @property
    def names(self) -> tuple[str, ...]:
        """Of its column of X: that of the table's."""
        return (self.name,)

    @property
    def is_complete(self) -> bool:
        """Whether there is a slot for every possible value."""
        return self.rarer and self.missing

    def are_bytes(self, data: ColumnData) -> bool:
        """Whether its column of X holds whole numbers from 0 to 255 alone."""
        return self.slots <= MOST_OF_BYTE

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the column of X, (n, 1)."""
        slots = self.slots_of(data)
        out[:, 0] = np.where(slots < 0, self.slots, slots)

    def encode_cell(self, name: str | None, *, out: np.ndarray, at: int) -> None:
        """Write the column of X of one row, the one at ``at``; None for a missing value."""
        slot = self.slot_of(name)
        out[at] = self.slots if slot < 0 else slot

    def describe(self) -> dict[str, Any]:
        """For the model file."""
        return self._described(self.kind)
