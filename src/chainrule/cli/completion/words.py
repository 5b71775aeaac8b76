"""What can be typed after ``chainrule``, as the parsers have it: for scripts by which a shell completes it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.cli.options.types import held_out, picture, source
from chainrule.cli.parsers import COMMANDS, parser_of
from chainrule.tables.selection import BUILT_IN

PATHS = {Path, source, held_out, picture}  # types whose values are files or folders
DEVICES = ("auto", "cpu", "cuda")
LONGEST = 60  # characters of a description


@dataclass(frozen=True)
class Value:
    """What an option or a position takes: some words, paths, both, or (neither) what nobody can foresee."""

    name: str
    words: tuple[str, ...] = ()
    is_path: bool = False

    @classmethod
    def of(cls, action: argparse.Action) -> Value:
        """That of an argument."""
        words: tuple[Any, ...] = tuple(action.choices or ())
        if action.dest == "device":
            words = DEVICES
        elif action.type is source:
            words = tuple(BUILT_IN)
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        return cls(name.strip("."), tuple(map(str, words)), action.type in PATHS)


@dataclass(frozen=True)
class Option:
    """``flags`` with the short ones first; ``value`` is None for a switch."""

    flags: tuple[str, ...]
    about: str
    value: Value | None
    is_optional: bool
    is_repeated: bool


@dataclass(frozen=True)
class Command:
    """One command: its options, and what it takes by position."""

    name: str
    about: str
    options: tuple[Option, ...]
    positions: tuple[Value, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(flag for option in self.options for flag in option.flags)

    @property
    def words(self) -> tuple[str, ...]:
        """Those of all positions."""
        return tuple(dict.fromkeys(word for position in self.positions for word in position.words))

    @property
    def takes_paths(self) -> bool:
        return any(position.is_path for position in self.positions)


def commands() -> list[Command]:
    """All of them."""
    return [_command(name, about) for name, about in COMMANDS.items()]


def _command(name: str, about: str) -> Command:
    actions = parser_of(name)._actions
    options = tuple(_option(action) for action in actions if action.option_strings)
    positions = tuple(Value.of(action) for action in actions if not action.option_strings)
    return Command(name, _short(about), options, positions)


def _option(action: argparse.Action) -> Option:
    return Option(
        flags=tuple(action.option_strings),
        about=_short((action.help or "") % {"default": action.default}),
        value=None if action.nargs == 0 else Value.of(action),
        is_optional=action.nargs == "?",
        is_repeated=isinstance(action.default, list),
    )


def _short(text: str) -> str:
    """The beginning of a help text."""
    text = text.partition(";")[0].partition(" (")[0]
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} ..."
