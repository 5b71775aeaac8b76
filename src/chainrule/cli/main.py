"""The command line: parsing, exit codes, and errors as one line each.

0 ok, 1 a bug, 2 usage, 3 data or model file, 4 device or memory, 5 disk, 6 diverged, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from chainrule.cli.console import output
from chainrule.cli.disk_errors import hint_of
from chainrule.cli.options.parser import Parser
from chainrule.cli.parsers import parsers
from chainrule.errors import ChainruleError, OptionError
from chainrule.host_memory import out_of_memory
from chainrule.plain_text import printable

LONGEST = 4000  # characters of a message; one that names columns has half
BUG, DISK, INTERRUPTED = 1, 5, 130


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
    parser, command, module = parsers(argv)
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
    args: argparse.Namespace
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        command.refuse_unknown(next((text for text in unknown if text.startswith("-")), unknown[0]))
    return args


def _fail(argv: list[str], message: str, hint: str, code: int) -> int:
    if "--json" in argv:
        with contextlib.suppress(OSError):  # stdout may be what failed
            output.result_json({"ok": False, "error": message, "hint": hint, "exit_code": code})
    output.complain(f"error: {output.cut(printable(message), LONGEST)}")
    if hint:
        output.complain(f"hint: {output.cut(printable(hint), LONGEST)}")
    return code
