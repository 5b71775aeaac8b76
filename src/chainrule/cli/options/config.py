"""``config.toml``: the options of a run as a file that ``chainrule train --config`` takes.

A key is an option without its dashes (``batch-size = 64``), the table is ``data``; lists are arrays, the options of a
loss an inline table. Relative paths count from the folder of the file; one that is no UTF-8, which TOML cannot hold,
is a file URI. The file of a run has every option that decides which net comes out, with the value used, and absolute
paths; those of one call (:mod:`chainrule.cli.options.output`: the folder, logs, what is printed) are not written. In a
file of the user's those that say where to write are refused, unless the file is trusted: it may be somebody else's.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from chainrule.cli.disk_errors import hint_of_folders
from chainrule.cli.options import train_options
from chainrule.cli.options.fitting import interval
from chainrule.cli.options.other_words import OTHER_OPTIONS
from chainrule.cli.options.parser import Parser
from chainrule.cli.options.toml_text import toml_value
from chainrule.cli.options.train_options import TrainCommand, TrainingOptions
from chainrule.cli.options.types import column_names, held_out, names, option, positive_int, seed, source, widths
from chainrule.errors import OptionError
from chainrule.files.regular_file import open_regular
from chainrule.options import suggest
from chainrule.plain_text import printable, show
from chainrule.tables.selection import BUILT_IN
from chainrule.version import __version__

MOST_BITS = 4096  # of a whole number: Python reads more of them (0xfff...) than it writes in a message
LARGEST = 1 << 20  # bytes of a file of options
# A key of a hundred parts. tomllib takes the square of their number: a megabyte of "a.a.a" would take hours.
DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""", re.ASCII)
WRITES = ("run_dir", "overwrite", "log_json", "tensorboard")  # the options by which files are written or replaced
OF_A_FILE = ("config", "trust_config")  # no keys
URI = "file:///"


def command_from(path: Path) -> TrainCommand:
    """The options of ``chainrule train --config path``, if nothing else is typed.

    OptionError naming the file, and the key if one is wrong.
    """
    parser = Parser(prog="chainrule train")
    train_options.add_arguments(parser)
    take_defaults(parser, path, trust=True)  # the run has its folder, and says itself what else it writes
    args = parser.parse_args([])
    args.argv = ["train", "--config", str(path)]
    return TrainCommand.of(args)


def take_defaults(parser: argparse.ArgumentParser, path: Path, *, trust: bool = False) -> None:
    """Make what the file says a parser's defaults, so that what is typed wins; other options stay as they are.

    OptionError for an option that says where to write, unless ``trust``: the file may be somebody else's.
    """
    values = read_config(path)
    known = {action.dest for action in parser._actions} | parser._defaults.keys()
    for name in () if trust else WRITES:
        if name in values and name in known:
            key = name.replace("_", "-")
            raise OptionError(
                f"{path}: {key} says where to write, so it is taken from the command line alone",
                hint=f"type --{key}, or --trust-config if you know who wrote {path.name}",
            )
    parser.set_defaults(**{name: value for name, value in values.items() if name in known})


# ---- reading --------------------------------------------------------------------------------------


def read_config(path: Path) -> dict[str, Any]:
    """{destination of the option: value as its argument would give it}."""
    parser = Parser(add_help=False)
    train_options.add_arguments(parser)
    actions = {key_of(action): action for action in parser._actions if action.dest not in OF_A_FILE}
    found = {}
    for key, value in _load(path).items():
        if key not in actions:
            raise OptionError(f"{path}: unknown key {show(key)}", hint=suggest(key, list(actions), OTHER_OPTIONS))
        found[actions[key].dest] = _value(f"{path}: {key}", actions[key], value, path.parent)
    return found


def key_of(action: argparse.Action) -> str:
    """``batch-size`` for ``--batch-size``."""
    return action.option_strings[-1].removeprefix("--") if action.option_strings else action.dest


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OptionError(f"{path} has more than {LARGEST:,} bytes: expected a file of options")
        text = content.decode()
        if DOTTED.search(text):
            raise OptionError(f"{path}: expected keys of one word, got one of very many with dots between them")
        return tomllib.loads(text)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise OptionError(f"{path} does not exist", hint=hint_of_folders(path)) from None
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{path} cannot be read as TOML: {error}") from error


def _value(key: str, action: argparse.Action, value: Any, folder: Path) -> Any:
    kind = FLAG if action.nargs == 0 else KINDS[action.type]
    try:
        found = kind.convert(value, folder) if kind.accepts(value) else None
    except argparse.ArgumentTypeError as error:
        raise OptionError(f"{key}: {error}") from None
    if found is None:
        raise OptionError(f"{key}: expected {kind.expected}, got {show(value)}")
    if action.choices is not None and found not in action.choices:
        known = list(map(str, action.choices))
        raise OptionError(
            f"{key}: expected one of {', '.join(known)}, got {show(value)}", hint=suggest(str(value), known)
        )
    return found


class Kind(NamedTuple):
    """What TOML may say of an option: in words, as a test, and how it becomes the option's value."""

    expected: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any, Path], Any]


def _path(text: str) -> str:
    """A path, or a file URI (RFC 8089), which has a form for the bytes of every path, as a path."""
    path = os.fsdecode(unquote_to_bytes(text.removeprefix("file://"))) if text.startswith(URI) else text
    if "\0" in path:
        raise argparse.ArgumentTypeError(f"expected a path, got {text!a:.80} with a null character")
    return path


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= MOST_BITS


def _is_number(value: Any) -> bool:
    return (_is_whole(value) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_loss_option(value: Any) -> bool:
    return _is_number(value) or _is_text(value) or (_is_list(_is_number)(value) and bool(value))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_loss_option, value.values()))


def _loss_options(table: dict[str, Any]) -> list[tuple[str, Any]]:
    """As :func:`chainrule.cli.options.types.option` reads them one by one."""
    numbers = {name: tuple(map(float, value)) for name, value in table.items() if isinstance(value, list)}
    return [
        (name, numbers.get(name, value if isinstance(value, str | list) else float(value)))
        for name, value in table.items()
    ]


FLAG = Kind("true or false", lambda value: isinstance(value, bool), lambda value, _: value)
TEXT_LIST = Kind("an array of texts", _is_list(_is_text), lambda value, _: list(value))
KINDS: Mapping[Any, Kind] = {
    None: Kind("text", _is_text, lambda value, _: value),
    Path: Kind("a path", _is_text, lambda value, folder: folder / _path(value)),
    source: Kind(
        "a path or a built-in data set",
        _is_text,
        lambda value, folder: value if value in BUILT_IN else str(folder / _path(value)),
    ),
    held_out: Kind(
        "a fraction or a path",
        lambda value: _is_number(value) or _is_text(value),
        lambda value, folder: str(folder / _path(value)) if isinstance(value, str) else float(value),
    ),
    float: Kind("a finite number", _is_number, lambda value, _: float(value)),
    positive_int: Kind("a whole number from 1 up", _is_whole, lambda value, _: positive_int(str(value))),
    interval: Kind(
        "a number of steps or a time",
        lambda value: _is_text(value) or _is_whole(value),
        lambda value, _: interval(str(value)),
    ),
    seed: Kind("a whole number from 0 up", _is_whole, lambda value, _: seed(str(value))),
    widths: Kind("an array of whole numbers", _is_list(_is_whole), lambda value, _: widths(",".join(map(str, value)))),
    names: TEXT_LIST,
    column_names: TEXT_LIST,
    option: Kind("a table of numbers, texts and arrays of numbers", _is_table, lambda value, _: _loss_options(value)),
}


# ---- writing --------------------------------------------------------------------------------------


def config_text(options: TrainingOptions, remarks: Mapping[str, str]) -> str:
    """The file for these options, as :func:`chainrule.cli.training.used_options.used_options` gives them."""
    parser = Parser(add_help=False)
    train_options.add_options_of_a_fit(parser)
    values = options.values()
    lines = [
        f"# What a run of chainrule {__version__} used. The same net once more:",
        "# chainrule train --config THIS_FILE --run-dir FOLDER",
    ]
    for group in parser._action_groups:
        if group._group_actions:
            lines += ["", f"# {group.title}"]
        for action in group._group_actions:
            value = values[action.dest]
            remark = f"  # {printable(remarks[action.dest])}" if action.dest in remarks else ""
            if value is None:
                lines.append(f"# {key_of(action)}: none")
            else:
                lines.append(f"{key_of(action)} = {toml_value(_writable(action, value))}{remark}")
    return "\n".join(lines) + "\n"


def _writable(action: argparse.Action, value: Any) -> Any:
    """Of an option's value what TOML can hold: a path that is not UTF-8 as a URI."""
    if action.type is option:
        return dict(value)
    if action.type in {source, held_out} and isinstance(value, str) and not _is_unicode(value):
        return f"file://{quote_from_bytes(os.fsencode(value))}"
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
