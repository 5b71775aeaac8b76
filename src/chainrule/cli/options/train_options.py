"""The options of ``chainrule train``, by what they are about."""

from __future__ import annotations

import argparse
from pathlib import Path

from chainrule.cli.options import architecture, fitting, optimisation, training_data
from chainrule.cli.options.types import add_device, seed

OUTPUT = "what is written and said"  # the options of one call, which say nothing of what is trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options_of_a_fit(parser)
    add = parser.add_argument_group(OUTPUT).add_argument
    add("--config", type=Path, metavar="FILE", help="options from a TOML file, those of a run: RUN/config.toml")
    add(
        "--trust-config",
        action="store_true",
        help="take from --config also where to write: run-dir, overwrite, log-json, tensorboard",
    )
    add("--run-dir", type=Path, metavar="DIR", help="by default runs/NAME-DATE-TIME")
    add("--overwrite", action="store_true", help="use --run-dir even if it holds files")
    add("--log-json", type=Path, metavar="FILE", help="settings and each epoch as one JSON object a line")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files for TensorBoard")
    add("--quiet", action="store_true", help="say nothing on stderr but errors")
    add("--json", action="store_true", help="one JSON object on stdout at the end")


def add_options_of_a_fit(parser: argparse.ArgumentParser) -> None:
    """All that decides which net comes out: what a run's config.toml holds."""
    training_data.add_arguments(parser.add_argument_group("data"))
    architecture.add_arguments(parser.add_argument_group("net and loss"))
    optimisation.add_arguments(parser.add_argument_group("updates"))
    fitting.add_arguments(parser.add_argument_group("epochs"))
    device = parser.add_argument_group("device and seed")
    add_device(device)
    device.add_argument("--seed", type=seed, default=0, metavar="N", help="of weights, shuffles and the split (0)")
