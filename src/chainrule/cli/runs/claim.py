"""The folder of a run, taken for one process when it is named, long before training, and given back if none starts."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from chainrule.cli.runs.lock import LOCK, RunLock
from chainrule.errors import OptionError
from chainrule.files.descriptors import LONGEST_NAME, cut_name, path_in_errors
from chainrule.files.folder import Folder
from chainrule.files.regular_file import file_type
from chainrule.files.writing import make_folder, remove_empty

RUNS = Path("runs")
NUMBERS = len("-YYYYMMDD-HHMM-100000")  # bytes after a name
ATTEMPTS = 100  # to take a folder that others remove
NOT_ON_WINDOWS = '<>:"/\\|?*'


class Claim:
    """A folder that is open, and locked by this process for itself alone.

    Parameters
    ----------
    path : of the folder
    made : the folders that were made for it, the innermost first

    FileNotFoundError if the folder has been removed again.
    """

    def __init__(self, path: Path, made: list[Path]) -> None:
        self._made = made
        with path_in_errors(path):
            self.folder = Folder(path)
        try:
            self._lock = RunLock(self.folder)
            if not self.folder.is_at(path):  # whoever had made it has removed it
                self._lock.release()
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        except BaseException:
            self.folder.close()
            raise

    def release(self) -> None:
        """Let others in; what was made is removed, unless there is a run in it by now, or anything else."""
        self._lock.release()
        made, self._made = self._made, []
        is_there = self.folder.is_at(self.folder.path)  # another may be by now
        self.folder.close()
        if is_there:
            remove_empty(made)


def claim(path: Path, *, overwrite: bool) -> Claim:
    """The folder of ``--run-dir``, made if it is missing.

    OptionError if it holds files, or another process trains there.
    """

    def make() -> tuple[Path, list[Path]]:
        _refuse_files(path, overwrite=overwrite)
        return path, make_folder(path)

    found = _claimed(make)
    try:
        _refuse_files(path, overwrite=overwrite)  # once more: another process may have been here since
    except BaseException:
        found.release()
        raise
    return found


def claim_new(name: str) -> Claim:
    """A new folder runs/NAME-YYYYMMDD-HHMM, with -2, -3, ... after it if that is taken."""

    def make() -> tuple[Path, list[Path]]:
        made = make_folder(RUNS)
        path = _make_first(default_paths(name))
        return path, [path, *made]

    return _claimed(make)


def _claimed(make: Callable[[], tuple[Path, list[Path]]]) -> Claim:
    """What ``make`` has made, taken; once more if another process, which was refused, has removed it meanwhile."""
    for attempt in range(ATTEMPTS):
        made: list[Path] = []
        try:
            path, made = make()
            return Claim(path, made)
        except BaseException as error:
            remove_empty(made)
            if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt has raised")


def default_paths(name: str) -> Iterator[Path]:
    """The names that a run of ``name`` may have, the best first: printable, and as long as a file system takes."""
    printable = "".join(c if c.isprintable() and c not in NOT_ON_WINDOWS else "_" for c in name)
    short = cut_name(printable.lstrip("."), LONGEST_NAME - NUMBERS) or "run"
    stem, number = f"{short}-{time.strftime('%Y%m%d-%H%M')}", 2
    yield RUNS / stem
    while True:
        yield RUNS / f"{stem}-{number}"
        number += 1


def _make_first(paths: Iterator[Path]) -> Path:
    for path in paths:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            with Folder(path.parent) as above:
                above.flush()
            return path
    raise AssertionError("there is always another name")


def _refuse_files(path: Path, *, overwrite: bool) -> None:
    try:
        mode = path.stat().st_mode  # once: another process may make the folder at any time
    except OSError:
        if not path.is_symlink():  # a link that leads nowhere is refused all the same
            return  # nothing is, or why is said when the folder is made
        mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise OptionError(f"{path}: expected a folder, got {file_type(mode)}", hint="give another --run-dir")
    with contextlib.suppress(FileNotFoundError):
        if not overwrite and any(file.name != LOCK for file in path.iterdir()):
            raise OptionError(
                f"{path}: expected a new or an empty folder, got one with files",
                hint="give another --run-dir, or --overwrite to replace its files",
            )
