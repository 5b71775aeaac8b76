"""``chainrule train``: the main job."""

from __future__ import annotations

import argparse
from pathlib import Path

from chainrule.cli.job import do_job
from chainrule.cli.run_directory import RunDirectory
from chainrule.cli.train_options import add_arguments

__all__ = ["USAGE", "add_arguments", "run"]

USAGE = "chainrule train DATA --target COLUMN [options], or chainrule train --config FILE [options]"


def run(args: argparse.Namespace) -> int:
    name = Path(args.data or "run").stem  # without data the job is refused
    return do_job(args, RunDirectory(args.run_dir, name=name, overwrite=args.overwrite))
