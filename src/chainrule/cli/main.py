"""The command line: parsing, exit codes, and errors as one line each.

0 ok, 1 a bug, 2 usage, 3 data or model file, 4 device or memory, 5 disk, 6 diverged, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from types import ModuleType

from chainrule.cli.console import output
from chainrule.cli.disk_errors import hint_of
from chainrule.cli.options.parser import Parser
from chainrule.errors import ChainruleError, OptionError
from chainrule.host_memory import out_of_memory
from chainrule.plain_text import printable
from chainrule.version import __version__

LONGEST = 4000  # characters of a message; one that names columns has half
BUG, DISK, INTERRUPTED = 1, 5, 130

COMMANDS = {
    "train": "read a table, train a net, save a run directory",
    "resume": "continue a run that was stopped, killed or cut off",
    "cv": "cross-validation: train on all folds of a table but one, score that one, each in turn",
    "predict": "predictions of a model for a table",
    "evaluate": "the metrics of a model on a table",
    "show": "what a model file, a run directory or a checkpoint holds",
    "export": "a model as an ONNX file, compared with the model before it is written",
    "explain": "the formulas of one training step, with shapes, each checked numerically",
    "verify": "check gradients, agreement of devices, and files; exit code 1 if something is wrong",
    "doctor": "what is installed, which devices work, and what to do about those that do not",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    output.open_closed()
    code = _guarded(argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has gone (`| head`): no error
        output.silence(sys.stdout)
    except OSError as error:
        output.silence(sys.stdout)
        return code or _fail(argv, f"stdout: {error.strerror or error}", hint_of(error), DISK)
    return code


def _guarded(argv: list[str]) -> int:
    """Run one command; the exit code, of an error too."""
    try:
        return _run(argv)
    except ChainruleError as error:
        if "--debug" in argv:
            raise
        return _fail(argv, error.message, error.hint, error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(argv, "interrupted", "", getattr(error, "exit_code", INTERRUPTED))
    except MemoryError as error:
        known = out_of_memory(error, "a smaller --batch-size or --hidden, fewer rows, or columns left out with --drop")
        return _fail(argv, known.message, known.hint, known.exit_code)
    except BrokenPipeError:
        output.silence(sys.stdout)  # as in main
        return 0
    except OSError as error:
        if "--debug" in argv:
            raise
        path = f"{output.cut(str(error.filename))}: " if error.filename else ""  # the reason is what must be read
        return _fail(argv, f"{path}{error.strerror or error}", hint_of(error), DISK)
    except Exception as error:
        if "--debug" in argv:
            raise
        return _fail(
            argv, f"a bug in chainrule: {type(error).__name__}: {error}", "run again with --debug and report it", BUG
        )


def _run(argv: list[str]) -> int:
    parser, command, module = _parsers(argv)
    args = _parsed(parser, command, argv)
    if module is None:
        parser.print_help()
        return 0 if not argv else OptionError.exit_code
    if (config := getattr(args, "config", None)) is not None:
        from chainrule.cli.options.config import take_defaults  # only for the commands that train

        take_defaults(command, config, trust=getattr(args, "trust_config", False))
        args = _parsed(parser, command, argv)
    args.argv = argv
    try:
        with output.warnings_as_notes(output.say):
            code: int = module.run(args)
    except OptionError as error:  # it may be an option that nobody typed here
        if config is None or printable(str(config)) in error.message:
            raise
        raise OptionError(f"{error.message} (with the options of {config})", hint=error.hint) from error
    return code


def _parsed(parser: Parser, command: Parser, argv: list[str]) -> argparse.Namespace:
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        command.error(f"unrecognized arguments: {' '.join(unknown)}")  # whose --help the hint then names
    return args


def _parsers(argv: list[str]) -> tuple[Parser, Parser, ModuleType | None]:
    """The parser of all commands, that of the one in ``argv``, and its module: only that is imported."""
    parser = Parser(prog="chainrule", description="Trains multilayer perceptrons on NumPy or CuPy arrays.")
    parser.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=Parser)
    chosen = next((a for a in argv if a in COMMANDS), None)
    module, parser_of_chosen = None, parser
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            module, parser_of_chosen = importlib.import_module(f"chainrule.cli.commands.{name}"), command
            module.add_arguments(command)
            command.usage = getattr(module, "USAGE", None)  # the list of fifty options follows it
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, parser_of_chosen, module


def _fail(argv: list[str], message: str, hint: str, code: int) -> int:
    if "--json" in argv:
        with contextlib.suppress(OSError):  # stdout may be what failed
            output.result_json({"ok": False, "error": message, "hint": hint, "exit_code": code})
    output.complain(f"error: {output.cut(printable(message), LONGEST)}")
    if hint:
        output.complain(f"hint: {output.cut(printable(hint), LONGEST)}")
    return code
