"""The options of one call of a command that trains, which say nothing of what is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TITLE = "what is written and said"


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What a training writes beside its run directory, and says. ``argv`` is the command line."""

    log_json: Path | None
    tensorboard: Path | None
    quiet: bool
    json: bool
    argv: list[str]


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where ``chainrule train`` writes, and the file of options that it reads."""

    config: Path | None
    run_dir: Path | None
    overwrite: bool
