"""The files of a run directory, by name: which there are, and what may stand in their place."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from chainrule.cli.runs.record import RECORD
from chainrule.errors import DataError
from chainrule.files.folder import Folder
from chainrule.files.model_file import MODEL
from chainrule.json_values import json_line
from chainrule.train.checkpoints.writer import BEST, LAST
from chainrule.train.records.history import History

METRICS = "metrics.jsonl"
HISTORY = "history.csv"
CURVES = "curves.svg"
GRADIENT_NORMS = "gradient_norms.svg"
CONFIG = "config.toml"
CHECKPOINTS = "checkpoints"
CHECKPOINT_FILES = (LAST, BEST)
FILES = (RECORD, MODEL, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG)  # the record first: it describes the others


def refuse_folders(folder: Folder, names: Sequence[str]) -> None:
    """DataError for a folder in the place of one of these files."""
    for name in names:
        if (facts := folder.lstat(name)) is not None and stat.S_ISDIR(facts.st_mode):
            raise DataError(f"{folder / name}: expected a file, got a directory", hint="move it away")


def remove(folder: Folder, names: Sequence[str]) -> None:
    """Remove these files, or whatever has their names, and the temporaries that their writers have left."""
    for name in names:
        folder.unlink(name)
    folder.remove_temporaries(names)


def tidy(folder: Folder, names: Sequence[str]) -> None:
    """Keep these files; remove links and pipes with their names, which are not written to, and temporaries."""
    for name in names:
        if (facts := folder.lstat(name)) is not None and not stat.S_ISREG(facts.st_mode):
            folder.unlink(name)
    folder.remove_temporaries(names)


def remove_run(folder: Folder) -> None:
    """Remove all files of a run that is to be overwritten, but for its lock."""
    remove(folder, FILES)
    facts = folder.lstat(CHECKPOINTS)
    if facts is not None and stat.S_ISLNK(facts.st_mode):
        folder.unlink(CHECKPOINTS)  # the link, and nothing of where it leads
    elif facts is not None:
        with folder.open_folder(CHECKPOINTS) as checkpoints:
            remove(checkpoints, CHECKPOINT_FILES)


def tidy_run(folder: Folder) -> None:
    """:func:`tidy` of a run that is resumed."""
    tidy(folder, FILES)
    if folder.lstat(CHECKPOINTS) is not None:
        with folder.open_folder(CHECKPOINTS) as checkpoints:
            tidy(checkpoints, CHECKPOINT_FILES)


def refuse_other_kinds(folder: Folder, *, but_links: bool) -> None:
    """DataError for a folder in the place of a file, or something else in that of the folder of checkpoints.

    ``but_links``: a link there is about to be replaced.
    """
    facts = folder.lstat(CHECKPOINTS)
    if facts is not None and not (but_links and stat.S_ISLNK(facts.st_mode)):
        with folder.open_folder(CHECKPOINTS) as checkpoints:
            refuse_folders(checkpoints, CHECKPOINT_FILES)
    refuse_folders(folder, FILES)


def write_metrics(folder: Folder, history: History) -> None:
    """metrics.jsonl of all epochs so far."""
    epochs = enumerate(zip(*history.values(), strict=True), start=1)
    lines = [{"epoch": epoch, **dict(zip(history, values, strict=True))} for epoch, values in epochs]
    folder.write_atomically(METRICS, "".join(map(json_line, lines)).encode())


def append_metrics(folder: Folder, line: str, *, is_first: bool = False) -> bool:
    """False if somebody has removed metrics.jsonl, or put a link in its place."""
    exists = is_first or folder.lstat(METRICS) is not None
    return exists and folder.append(METRICS, line.encode())
