"""``chainrule completion``: a script by which a shell completes what is typed."""

from __future__ import annotations

import argparse

from chainrule.cli.completion import bash, fish, zsh
from chainrule.cli.completion.words import commands
from chainrule.cli.console import output

SCRIPTS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
EXAMPLES = ("chainrule completion bash", "chainrule completion zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell", choices=SCRIPTS, metavar="SHELL", help="bash, zsh or fish; the script says how to install it"
    )


def run(args: argparse.Namespace) -> int:
    output.write(SCRIPTS[args.shell](commands()))
    return 0
