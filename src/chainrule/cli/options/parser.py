"""The argument parser of every command: its errors are ours, and a list on the command line replaces one of a file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from chainrule.errors import OptionError
from chainrule.options import suggest
from chainrule.plain_text import show

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
OptionGroup: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup


class Parser(argparse.ArgumentParser):
    """Raises OptionError when argparse would print usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message.removeprefix("argument "), hint=f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse for every value of an option that has choices."""
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            name = "/".join(action.option_strings) or str(action.dest)
            hint = suggest(str(value), choices) or f"{self.prog} --help"
            raise OptionError(f"{name}: expected one of {', '.join(choices)}, got {show(value)}", hint=hint)


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
