"""``chainrule train``: the main job."""

from __future__ import annotations

import argparse
from pathlib import Path

from chainrule.cli.options.examples import EXAMPLE_RUN
from chainrule.cli.options.train_options import TrainCommand, add_arguments
from chainrule.cli.runs.directory import RunDirectory
from chainrule.cli.runs.job import do_job

__all__ = ["EXAMPLES", "USAGE", "add_arguments", "run"]

EXAMPLES = (EXAMPLE_RUN, "chainrule train digits --hidden 64,32 --epochs 20 --valid 0.25")
USAGE = "chainrule train DATA --target COLUMN [options], or chainrule train --config FILE [options]"


def run(args: argparse.Namespace) -> int:
    command = TrainCommand.of(args)
    name = Path(command.training.data.data or "run").stem  # without data the job is refused
    directory = RunDirectory(command.place.run_dir, name=name, overwrite=command.place.overwrite)
    return do_job(command.training, command.output, directory, config=command.place.config)
