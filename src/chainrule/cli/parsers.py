"""The commands by name, and the parser of one; the module of a command is imported with its parser."""

from __future__ import annotations

import importlib
from types import ModuleType

from chainrule.cli.options.examples import EXAMPLE_RUN
from chainrule.cli.options.parser import Parser
from chainrule.version import __version__

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
    "completion": "a script for bash, zsh or fish, so that the Tab key completes commands, options and values",
    "help": "the options of a command",
}
EXAMPLES = (EXAMPLE_RUN, "chainrule doctor")


def parsers(argv: list[str]) -> tuple[Parser, Parser, ModuleType | None]:
    """The parser of all commands, that of the one in ``argv``, and its module: only that is imported."""
    about = "Trains multilayer perceptrons on NumPy or CuPy arrays."
    parser = Parser(prog="chainrule", about=about, examples=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=Parser)
    chosen = next((a for a in argv if a in COMMANDS), None)
    module, parser_of_chosen = None, parser
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, about=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            module, parser_of_chosen = importlib.import_module(f"chainrule.cli.commands.{name}"), command
            command.examples = module.EXAMPLES
            module.add_arguments(command)
            command.usage = getattr(module, "USAGE", None)  # the list of fifty options follows it
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, parser_of_chosen, module


def parser_of(name: str) -> Parser:
    """That of one command."""
    return parsers([name])[1]
