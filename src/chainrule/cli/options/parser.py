"""The argument parser of every command: its errors are ours, and a list on the command line replaces one of a file."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from chainrule.cli.options.examples import examples_text
from chainrule.cli.options.other_words import OTHER_COMMANDS, OTHER_OPTIONS
from chainrule.errors import OptionError
from chainrule.options import OTHER_NAMES, closest, suggest
from chainrule.plain_text import show

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
OptionGroup: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup
OPTION = re.compile(r"--?[A-Za-z][^ ]*\Z")  # a word that argparse takes for one; others may be values, as -1 is


class Parser(argparse.ArgumentParser):
    """Raises OptionError when argparse would print usage and exit.

    Parameters
    ----------
    about, examples : what its help begins with: a sentence, and commands that run as they stand
    """

    def __init__(self, *args: Any, about: str = "", examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.about, self.examples = about, examples

    def format_help(self) -> str:
        parts = [self.about, examples_text(self.examples) if self.examples else "", super().format_help()]
        return "\n\n".join(part for part in parts if part)

    def error(self, message: str) -> NoReturn:
        raise OptionError(message.removeprefix("argument "), hint=f"{self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option of a command is the first error: it may be why another is missing.

        OptionError.
        """
        if self._subparsers is None:
            for text in itertools.takewhile(lambda text: text != "--", args or ()):
                if OPTION.match(text) and not self._knows(text.partition("=")[0]):
                    self.refuse_unknown(text)
        return super().parse_known_args(args, namespace)

    def _knows(self, name: str) -> bool:
        known = self._option_string_actions
        return any(option.startswith(name) for option in known) or name[:2] in known

    def refuse_unknown(self, text: str) -> NoReturn:
        """OptionError for an argument that the command does not take."""
        name, help_of = text.partition("=")[0], f"{self.prog} --help"
        if not name.startswith("-"):
            raise OptionError(f"expected no further argument, got {show(text)}", hint=help_of)
        long = [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]
        near = closest(name.lstrip("-"), long, OTHER_OPTIONS)
        hint = f"did you mean --{near}? All options: {help_of}" if near else help_of
        raise OptionError(f"unknown option {show(name)}", hint=hint)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse for every value of an option that has choices."""
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            name = "/".join(action.option_strings) or str(action.dest)
            others = OTHER_COMMANDS if action.dest in {"command", "about"} else OTHER_NAMES
            hint = suggest(str(value), choices, others) or f"{self.prog} --help"
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
