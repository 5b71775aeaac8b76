"""How data is prepared before it enters the net; kept with the net, so that predictions prepare it identically."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.column_data import ColumnData, refuse_long_names
from chainrule.nn.columns.notation import Notation, check_notation
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.standardization import Standardization
from chainrule.plain_text import count_of, show


class TableLike(Protocol):
    """What a table must have: columns by name, or a matrix, or (if all columns hold numbers) both."""

    @property
    def source(self) -> str:
        """For messages."""

    @property
    def columns(self) -> Mapping[str, ColumnData]:
        """Empty if there are no names."""

    @property
    def features(self) -> np.ndarray:
        """(n, d) finite numbers; DataError if a column holds anything else."""


@dataclass(frozen=True, repr=False)
class Preparation:
    """How a table becomes X, the standardisation of X and of targets, and the names that the table had.

    Parameters
    ----------
    features, targets : Standardization or None
    feature_names : the columns of X, in order; empty if they had no names
    target_name : the column that is predicted; empty if it had no name
    classes : the names of the classes 0, 1, ..., all different; empty for a regression or classes without names
    encoder : makes X from a table with names, if the net was trained on one; ``feature_names`` are then its names
    target_notation : how the numbers of the target are written in text files; None if the training data did not show it

    DataError for a name of more than 65,536 characters. OptionError for parts that contradict each other.
    """

    features: Standardization | None = None
    targets: Standardization | None = None
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    classes: tuple[str, ...] = ()
    encoder: TableEncoder | None = None
    target_notation: Notation | None = None

    def __post_init__(self) -> None:
        refuse_long_names("a name of a target", (self.target_name,))
        refuse_long_names("a name of a class", self.classes)
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name, count in Counter(self.classes).items() if count > 1)
            raise OptionError(f"expected classes with different names, got {twice!r:.60} twice")
        check_notation("the target", self.target_notation)
        if not isinstance(self.encoder, TableEncoder | None):
            raise OptionError(f"encoder: expected a TableEncoder or None, got {type(self.encoder).__name__}")
        if self.encoder is None:
            refuse_long_names("a name of a feature", self.feature_names)
            return
        if not self.feature_names:
            object.__setattr__(self, "feature_names", self.encoder.names)
        elif self.feature_names != self.encoder.names:
            raise OptionError(
                f"feature_names: expected those of the encoder, got {self.feature_names!r:.60}", hint="leave them out"
            )

    def __repr__(self) -> str:
        facts = [self._features(), *["targets standardised"] * (self.targets is not None)]
        facts += [count_of(len(self.classes), "class")] * bool(self.classes)
        table = "no table" if self.encoder is None else f"a table of {count_of(len(self.encoder.columns), 'column')}"
        return f"<Preparation: {', '.join([*facts, table])}>"

    def _features(self) -> str:
        standardization = self.features
        if standardization is None:
            many = count_of(len(self.feature_names), "feature") if self.feature_names else "features"
            return f"{many} not standardised"
        limit = f" (limit {standardization.limit:g})" if math.isfinite(standardization.limit) else ""
        return f"{count_of(len(standardization.mean), 'feature')} standardised{limit}"

    def describe_names(self) -> dict[str, Any]:
        """The names of what comes in and goes out, as values of JSON."""
        return {
            "feature_names": list(self.feature_names),
            "target_name": self.target_name,
            "classes": list(self.classes),
        }

    def describe(self) -> dict[str, Any]:
        """All of it but the standardisations, which are arrays, as values of JSON: what a model file keeps."""
        description = self.describe_names()
        if self.encoder is not None:
            description["columns"] = [column.describe() for column in self.encoder.columns]
        if self.target_notation is not None:
            description["target_notation"] = self.target_notation.describe()
        return description

    def refuse_other_codes(self, codes: Mapping[int, int]) -> None:
        """OptionError if the encoder writes codes that a net which takes ``codes`` does not embed."""
        embedding = None if self.encoder is None else self.encoder.embedding()
        wanted = {} if embedding is None else embedding.codes(training=False)
        if any(codes.get(column) != count for column, count in wanted.items()):
            raise OptionError(
                f"the encoder writes codes to columns {list(wanted)!s:.60} of X, which the net does not embed as such",
                hint="cr.MLP(..., embedding=encoder.embedding())",
            )

    def refuse_another_net(self, n_in: int, n_out: int, n_targets: int) -> None:
        """OptionError unless the parts are for a net of ``n_in`` features, ``n_out`` outputs and ``n_targets`` target
        columns: a model file with others would not open.
        """
        for name, part, columns, taker in (
            ("features", self.features, n_in, "the net"),
            ("targets", self.targets, n_targets, "the loss"),
        ):
            if not isinstance(part, Standardization | None):
                raise OptionError(
                    f"preparation: expected a Standardization as {name}, got {show(part)}",
                    hint="cr.Standardization.fit(X)",
                )
            if part is not None and len(part.mean) != columns:
                raise OptionError(
                    f"preparation: expected {name} of {columns} columns, as {taker} takes, got {len(part.mean)}"
                )
        if self.targets is not None and math.isfinite(self.targets.limit):
            raise OptionError(
                f"preparation: expected targets without a limit, got {self.targets.limit:g}",
                hint="predictions in their units would not be linear in the logits",
            )
        for name, names, count in (
            ("feature_names", self.feature_names, n_in),
            ("classes", self.classes, max(2, n_out)),
        ):
            if len(names) not in {0, count}:
                raise OptionError(f"preparation: expected {count} {name}, as the net has, or none, got {len(names)}")

    def encode(self, table: TableLike, *, compact: bool = False) -> np.ndarray:
        """X (n, n_in) before standardisation, ``compact`` as for :meth:`TableEncoder.encode`.

        DataError if a column is missing or of the wrong kind.
        """
        if not isinstance(getattr(table, "source", None), str):  # a DataFrame has columns too, of another kind
            raise DataError(
                f"expected a table of chainrule.read_table, got {type(table).__name__}",
                hint="chainrule.read_table(it, like=net), or net.predict for an array of numbers",
            )
        encoder = self.encoder
        if encoder is None:
            return table.features
        if table.columns:
            return encoder.encode(table.columns, compact=compact)
        texts = [name for name, kind in encoder.kinds.items() if kind == "category"]
        if texts:
            raise DataError(
                f"{table.source}: expected column names, as the model has columns of text ({texts[0]!r:.60}), got none"
            )
        X, names = table.features, encoder.table_names
        if X.shape[1] != len(names):
            raise DataError(f"{table.source}: expected {len(names)} columns, got {X.shape[1]}")
        return encoder.encode(dict(zip(names, X.T.astype(np.float64), strict=True)), compact=compact)
