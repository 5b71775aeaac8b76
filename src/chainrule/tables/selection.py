"""Which columns of a table a reader is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from chainrule.nn.columns.column_data import KnownTexts
from chainrule.nn.columns.notation import Notation

TIME = "time"  # the kind of a column of numbers or dates
BUILT_IN = ("digits",)  # names of data sets; "./digits" is a file or folder of that name


@dataclass(frozen=True)
class Selection:
    """The arguments of a reader; see :func:`chainrule.tables.readers.read_table`."""

    target: str | None = None
    feature_names: tuple[str, ...] = ()
    need_target: bool = True
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    texts: Mapping[str, KnownTexts] = field(
        default_factory=lambda: MappingProxyType({})
    )  # of columns that were read before
    notations: Mapping[str, Notation] = field(
        default_factory=lambda: MappingProxyType({})
    )  # of columns that were read before
    target_notation: Notation | None = None
    classes: frozenset[str] = frozenset()  # names of the target, if they are known
    learned: bool = False  # a model or another table says how columns are read

    def kind(self, name: str) -> str:
        """ "number", "category" or "time" if the kind of the column is given, else empty."""
        return "category" if name in self._categorical else self.kinds.get(name, "")

    @property
    def kind_of_target(self) -> str:
        """The kind of the target, by its name or position, if it is given; else empty."""
        return "" if self.target is None else self.kinds.get(self.target, "")

    @cached_property
    def _categorical(self) -> frozenset[str]:
        return frozenset(self.categorical)
