"""The argument parser of every command: its errors are ours, and a list on the command line replaces one of a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

from chainrule.errors import OptionError

OptionGroup: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup


class Parser(argparse.ArgumentParser):
    """Raises OptionError where argparse would print usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message, hint=f"{self.prog} --help")


class Listed(argparse.Action):
    """An option that may come several times; each adds to those before it, and the first replaces the default.

    ``extend=True``: each brings a list, all of which make one.
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
