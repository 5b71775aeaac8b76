"""``chainrule help``: the help of a command, as its ``--help`` prints it."""

from __future__ import annotations

import argparse

from chainrule.cli.parsers import COMMANDS, parser_of, parsers

EXAMPLES = ("chainrule help", "chainrule help train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "about", nargs="?", choices=COMMANDS, metavar="COMMAND", help="one of those that `chainrule help` lists"
    )


def run(args: argparse.Namespace) -> int:
    parser = parsers([])[0] if args.about is None else parser_of(args.about)
    parser.print_help()
    return 0
