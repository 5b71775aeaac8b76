"""What a column of a table holds, and how a trained model turns it into columns of X."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.notation import MISSING, NOTHING, Notation
from chainrule.options import whole_number

MAX_CATEGORIES = 32  # columns of X that one column of text may become; rarer categories share one more
MAX_VECTORS = 1 << 16  # categories of an embedded column that may have a vector of their own
LONGEST_NAME = 1 << 16  # characters of a name of a column, class or category
TWICE = 2  # rows that a category must have for one: what one row alone has seen it cannot tell from that row's chance


@dataclass(frozen=True, eq=False)
class Categorical:
    """A column of text.

    Parameters
    ----------
    codes : (n,) int32, positions in ``names``; -1 where the cell is missing
    names : the different texts
    typed : whether the column had nulls of its own, so that no word in it stood for one: "NA" is text there
    """

    codes: np.ndarray
    names: tuple[str, ...]
    typed: bool = False

    def __len__(self) -> int:
        return len(self.codes)


def refuse_long_names(what: str, names: Iterable[str]) -> None:
    """DataError for one of more than 65,536 characters, which no model file takes."""
    longest = max(names, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise DataError(
            f"expected {what} of at most {LONGEST_NAME:,} characters, got {longest[:40]!r}... of {len(longest):,}",
            hint="shorten it, or leave it out",
        )


ColumnData = np.ndarray | Categorical  # numbers: (n,) float64, nan where missing


@dataclass(frozen=True)
class KnownTexts:
    """What is known of a column of text before it is read.

    Parameters
    ----------
    names : its categories
    marks : words for holes that stood in it as text; None if such words were holes
    """

    names: frozenset[str]
    marks: frozenset[str] | None = None

    @classmethod
    def of(cls, data: Categorical) -> KnownTexts:
        """Of a column that was read."""
        return cls(frozenset(data.names), frozenset(marks_in(data.names)) if data.typed else None)


def marks_in(names: Iterable[str]) -> list[str]:
    """Those of the texts that would be a hole in a text file, or are how nothing is printed."""
    return sorted({*names} & (MISSING | NOTHING))


@dataclass(frozen=True)
class NumberColumn:
    """Numbers, and after them, where training rows had holes, 1 for a hole and 0 for a number.

    Parameters
    ----------
    name : of the table's column
    fill : stands for what is missing: the median of the training rows
    indicator : whether holes have a column of X of their own. It exists only where training rows had holes; without it
        a hole is the fill and nothing else, because nothing was learnt about holes
    notation : how numbers are written in text files of such a table; None if the training did not say
    """

    name: str
    fill: float = 0.0
    indicator: bool = False
    notation: Notation | None = None
    kind: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.fill, int | float) or isinstance(self.fill, bool):
            raise OptionError(f"a column {self.name!r:.60} with fill {self.fill!r:.60} came, text and number expected")
        refuse_long_names("a name of a column", (self.name,))
        if not np.isfinite(self.fill) or not isinstance(self.indicator, bool):
            raise OptionError(f"fill {self.fill!r:.60}, indicator {self.indicator!r:.60} of {self.name!r:.60} came")
        _check_notation(self.name, self.notation)

    @classmethod
    def fit(
        cls, name: str, values: np.ndarray, sample_weight: np.ndarray | None = None, *, notation: Notation | None = None
    ) -> NumberColumn:
        """The median by weight, and whether there are holes; a column without any number is filled with 0."""
        holes = np.isnan(values)
        present = values[~holes] if holes.any() else values
        weights = sample_weight if sample_weight is None or not holes.any() else sample_weight[~holes]
        return cls(name, _median(present, weights) if present.size else 0.0, bool(holes.any()), notation)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns of X."""
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the columns of X, (n, len(names))."""
        if isinstance(data, Categorical):
            raise DataError(f"column {self.name!r} holds text, numbers were expected as in training")
        holes = np.isnan(data)
        out[:, 0] = data
        if holes.any():
            out[holes, 0] = self.fill
        if self.indicator:
            out[:, 1] = holes

    def describe(self) -> dict[str, Any]:
        """For the model file."""
        return {
            "kind": self.kind, "name": self.name, "fill": self.fill, "indicator": self.indicator,
            **_describe_notation(self.notation),
        }  # fmt: skip


def _check_notation(name: str, notation: Any) -> None:
    if not isinstance(notation, Notation | None):
        raise OptionError(f"expected a Notation or None for {name!r:.60}, got {notation!r:.60}")


def _describe_notation(notation: Notation | None) -> dict[str, Any]:
    return {} if notation is None else {"notation": notation.describe()}


def _median(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Half of the weight is on either side of it; the mean of two values if that holds between them.

    Also of numbers so large that the sum of the two in the middle overflows.
    """
    if weights is not None:
        order = np.argsort(values, kind="stable")
        below = np.cumsum(weights[order])
        # Sums of weights that are the same by their ratios may differ by their roundings.
        middle = np.searchsorted(below, below[-1] / 2 * np.array([1 - 1e-12, 1 + 1e-12])).clip(max=len(order) - 1)
        values = values[order[middle]]
    with np.errstate(over="ignore"):
        median = float(np.median(values))
    return median if np.isfinite(median) else 2 * float(np.median(values / 2))


@dataclass(frozen=True)
class _Categories:
    """What is known of a column of text: which categories have a slot of their own, and how frequent they are.

    A value that no training row had goes to "rarer", which learnt from the rarest; a missing one to "missing".

    Parameters
    ----------
    name : of the table's column
    categories : those with a slot of their own, the most frequent of the training rows, in the order of their names
    rarer, missing : whether there are slots for these; only where training rows filled them
    shares : of the training rows, one for each slot; they sum to 1
    marks : words for holes that stood in a column with nulls of its own, as text; None for a column without nulls of
        its own (of a text file), where all such words were holes
    notation : of the file that it came from, which names 7,0 and 7.0 alike; None if the training did not say
    """

    name: str
    categories: tuple[str, ...]
    rarer: bool
    missing: bool
    shares: tuple[float, ...]
    marks: tuple[str, ...] | None = None
    notation: Notation | None = None

    def __post_init__(self) -> None:
        _check_notation(self.name, self.notation)
        if self.marks is not None and not set(self.marks) <= MISSING | NOTHING:
            raise OptionError(f"expected words for holes as marks of {self.name!r:.60}, got {self.marks!r:.60}")
        texts = (self.name, *self.categories)
        if not all(isinstance(text, str) for text in texts) or len(set(self.categories)) < len(self.categories):
            raise OptionError(f"categories {self.categories!r:.60} of {self.name!r:.60} came, different texts expected")
        refuse_long_names("a name of a column", (self.name,))
        refuse_long_names(f"a category of column {self.name!r:.60}", self.categories)
        if not isinstance(self.rarer, bool) or not isinstance(self.missing, bool):
            raise OptionError(f"rarer {self.rarer!r:.60} and missing {self.missing!r:.60} came, two of true and false")
        numbers = all(isinstance(share, int | float) and 0 <= share <= 1 for share in self.shares)
        if not self.slots or len(self.shares) != self.slots or not numbers or abs(sum(self.shares) - 1) > 1e-6:
            raise OptionError(f"shares {self.shares!r:.60} came, {self.slots} that sum to 1 were expected")

    @classmethod
    def fit(
        cls, name: str, data: Categorical, sample_weight: np.ndarray | None = None, *,
        max_categories: int = MAX_CATEGORIES, at_least: int = 1, notation: Notation | None = None,
    ) -> Self:  # fmt: skip
        """The ``max_categories`` most frequent by weight, equals by name, of those with ``at_least`` so many rows each;
        and the shares of the weight."""
        rows = np.bincount(data.codes + 1, minlength=len(data.names) + 1)
        frequencies = rows if sample_weight is None else np.bincount(data.codes + 1, sample_weight, len(rows))
        # Ten digits: equals by name, whatever the order in which the weights were added up.
        _, *of_names = np.round(frequencies / frequencies.sum(), 10).tolist()
        ranked = sorted(
            np.flatnonzero(rows[1:]).tolist(), key=lambda i: (rows[i + 1] < at_least, -of_names[i], data.names[i])
        )
        most = min(max_categories, int((rows[1:] >= at_least).sum()))
        kept, rarer = sorted(ranked[:most], key=lambda i: data.names[i]), ranked[most:]
        slots = [*([i + 1] for i in kept), *([[i + 1 for i in rarer]] if rarer else []), *([[0]] if rows[0] else [])]
        shares = tuple(float(frequencies[slot].sum() / frequencies.sum()) for slot in slots)
        marks = tuple(marks_in(data.names[i] for i in ranked)) if data.typed else None
        return cls(name, tuple(data.names[i] for i in kept), bool(rarer), bool(rows[0]), shares, marks, notation)

    @property
    def slots(self) -> int:
        """Of the categories, then "rarer" and "missing" where they are used."""
        return len(self.categories) + self.rarer + self.missing

    def slots_of(self, data: ColumnData) -> np.ndarray:
        """(n,) int64: the slot of each row, -1 where there is none for what it holds."""
        if not isinstance(data, Categorical):
            raise DataError(f"column {self.name!r} holds numbers, categories were expected as in training")
        last = len(self.categories)
        slot = {category: i for i, category in enumerate(self.categories)}
        rarer, missing = (last if self.rarer else -1), (last + self.rarer if self.missing else -1)
        # -1 of a missing cell finds the last entry.
        of_names = np.array([*(slot.get(name, rarer) for name in data.names), missing], np.int64)
        found: np.ndarray = of_names[data.codes]
        return found

    @property
    def known(self) -> KnownTexts:
        """For who reads the column again."""
        return KnownTexts(frozenset(self.categories), None if self.marks is None else frozenset(self.marks))

    def unseen(self, data: Categorical) -> list[str]:
        """What stands in ``data`` and had no slot of its own in training."""
        there = np.bincount(data.codes + 1, minlength=len(data.names) + 1)[1:]
        known = set(self.categories)
        return [name for name, count in zip(data.names, there, strict=True) if count and name not in known]

    def _described(self, kind: str) -> dict[str, Any]:
        return {
            "kind": kind, "name": self.name, "categories": list(self.categories), "rarer": self.rarer,
            "missing": self.missing, "shares": list(self.shares),
            **({} if self.marks is None else {"marks": list(self.marks)}), **_describe_notation(self.notation),
        }  # fmt: skip


@dataclass(frozen=True)
class CategoryColumn(_Categories):
    """One column of X a slot, 1 in the rows that have it, else 0; see :class:`_Categories` for the parameters.

    Where training rows filled no slot for what a row holds, its weights would be noise: then the row gets the
    ``shares`` instead, the means of these columns, which standardisation makes zeros. They say nothing.
    """

    kind: ClassVar[str] = "category"

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns of X."""
        extra = [f"{self.name} is rarer"] * self.rarer + [f"{self.name} is missing"] * self.missing
        return (*(f"{self.name} = {category}" for category in self.categories), *extra)

    @property
    def name_characters(self) -> int:
        """Of :attr:`names` together, within ten a name."""
        return self.slots * len(self.name) + sum(map(len, self.categories))

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the columns of X, (n, len(names))."""
        slots = self.slots_of(data)
        out[...] = 0
        known = np.flatnonzero(slots >= 0)
        out[known, slots[known]] = 1
        if len(known) < len(slots):
            out[slots < 0] = self.shares

    def describe(self) -> dict[str, Any]:
        """For the model file."""
        return self._described(self.kind)


@dataclass(frozen=True)
class EmbeddedColumn(_Categories):
    """One column of X: the number of the slot, for an :class:`Embedding`; see :class:`_Categories` for the parameters.

    Where training rows filled no slot for what a row holds, it gets the number after the last, for which the embedding
    has the mean of the slots' vectors by their ``shares``: an average row.
    """

    kind: ClassVar[str] = "embedding"

    @property
    def names(self) -> tuple[str, ...]:
        """Of its column of X: that of the table's."""
        return (self.name,)

    @property
    def is_complete(self) -> bool:
        """Whether there is a slot for whatever may come."""
        return self.rarer and self.missing

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the column of X, (n, 1)."""
        slots = self.slots_of(data)
        out[:, 0] = np.where(slots < 0, self.slots, slots)

    def describe(self) -> dict[str, Any]:
        """For the model file."""
        return self._described(self.kind)


Column = NumberColumn | CategoryColumn | EmbeddedColumn


def fit_column(
    name: str, data: ColumnData, sample_weight: np.ndarray | None = None, *, max_categories: int | None = None,
    embed_above: int | None = None, notation: Notation | None = None,
) -> Column:  # fmt: skip
    """The columns of X for these rows of a table's column; see :meth:`TableEncoder.fit`."""
    if not isinstance(data, Categorical):
        return NumberColumn.fit(name, data, sample_weight, notation=notation)
    for option, value in (("max_categories", max_categories), ("embed_above", embed_above)):
        if value is not None:
            whole_number(option, value)
    distinct = len(np.unique(data.codes[data.codes >= 0])) if embed_above is not None else 0
    if embed_above is not None and distinct > embed_above:
        most = max_categories or MAX_VECTORS
        return EmbeddedColumn.fit(
            name, data, sample_weight, max_categories=most, at_least=TWICE, notation=notation
        )  # fmt: skip
    most = max_categories or embed_above or MAX_CATEGORIES
    return CategoryColumn.fit(name, data, sample_weight, max_categories=most, notation=notation)


def take(data: ColumnData, rows: np.ndarray | slice) -> ColumnData:
    """Those rows of a column."""
    return Categorical(data.codes[rows], data.names, data.typed) if isinstance(data, Categorical) else data[rows]


def shorten(data: ColumnData, n: int) -> None:
    """Keep the first ``n`` rows, in place, where the memory is the array's own: the rest of it is given back."""
    array = data.codes if isinstance(data, Categorical) else data
    if array.flags.owndata:
        array.resize(n, refcheck=False)


_OF_TEXT: dict[str, type[CategoryColumn] | type[EmbeddedColumn]] = {
    column.kind: column for column in (CategoryColumn, EmbeddedColumn)
}


def column_from(description: dict[str, Any]) -> Column:
    """The column that ``describe`` described; LookupError, TypeError or ValueError where it is none."""
    fields = dict(description)
    kind = fields.pop("kind")
    if "notation" in fields:
        fields["notation"] = Notation.from_description(fields["notation"])
    if kind == NumberColumn.kind:
        return NumberColumn(**fields)
    if kind not in _OF_TEXT:
        raise ValueError(f"unknown kind of column: {kind!r:.80}")
    for name in ("categories", "shares", *(["marks"] if "marks" in fields else [])):
        if not isinstance(fields[name], list):
            raise TypeError(f"{name} of a column should be a list")
        fields[name] = tuple(fields[name])
    return _OF_TEXT[kind](**fields)
