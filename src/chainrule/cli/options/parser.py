"""The argument parser of every command: its errors are ours, and a list on the command line replaces one of a file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from chainrule.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
OptionGroup: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup


class Parser(argparse.ArgumentParser):
    """Raises OptionError when argparse would print usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message, hint=f"{self.prog} --help")


class Listed(argparse.Action):
    """An option that may be given several times; each adds to those before it, and the first replaces the default.

    ``extend=True``: each is a list, and they are joined.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, *, extend: bool = False, **options: Any) -> None:
        super().__init__(option_strings, dest, **{"default": [], **options})
        self.extend = extend

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        before = getattr(namespace, self.dest)
        before = [] if before is self.default else before
        setattr(namespace, self.dest, [*before, *(values if self.extend else [values])])


def typed(kind: type[Options], args: argparse.Namespace) -> Options:
    """The options of one topic: a dataclass with a field for each of its arguments, by the same name."""
    return kind(**{field.name: getattr(args, field.name) for field in dataclasses.fields(kind)})
