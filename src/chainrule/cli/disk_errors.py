"""What to do about an error of the operating system, by its number and its path."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from chainrule.plain_text import printable

FREE_SPACE = "free some space, or write to another place"
HINTS = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), FREE_SPACE),
    "EFBIG": "a limit on the size of files (`ulimit -f`) or of the file system: raise it, or write to another place",
    **dict.fromkeys(
        ("EACCES", "EPERM"), "this user may not read or write there: change the permissions, or take another place"
    ),
    "EROFS": "the file system is mounted read-only: write to another place",
    "ENAMETOOLONG": "the name or path is too long for the file system: take a shorter one, or start in a nearer folder",
    "ENOENT": "it was there a moment ago: find where it was moved to",
    "ENOTDIR": "a part of the path is no folder",
    "ELOOP": "a link is in the place of the file: remove it",
    "EEXIST": "something else has this name: move it away, or write to another place",
    "EISDIR": "a folder has this name: take another name",
    **dict.fromkeys(("EMFILE", "ENFILE"), "too many files are open: raise `ulimit -n`, or end other programs"),
    **dict.fromkeys(
        ("EIO", "ESTALE", "ENXIO", "ENODEV", "EREMOTEIO", "ETIMEDOUT"),
        "the disk or its connection fails: check it (`dmesg`), or write to another place",
    ),
    **dict.fromkeys(("EBUSY", "ETXTBSY"), "another program holds the file: end it, or write to another place"),
}
BY_NUMBER = {number: hint for name, hint in HINTS.items() if (number := getattr(errno, name, None)) is not None}


def hint_of(error: OSError) -> str:
    """One line, or nothing if the number says nothing."""
    if error.filename and (obstacle := _find_obstacle(error.filename)) and obstacle[0] == error.errno:
        return _hint_of_obstacle(*obstacle)
    return BY_NUMBER.get(error.errno or 0, "")


def hint_of_folders(path: Path) -> str:
    """The first folder on the way to ``path`` that is missing, or is none; nothing if all of them are there."""
    obstacle = _find_obstacle(path)
    return "" if obstacle is None else _hint_of_obstacle(*obstacle)


def refuse_missing_folder(path: Path | None) -> None:
    """FileNotFoundError or NotADirectoryError if the folder is not there that ``path`` will be written to in the end.

    So that nothing is computed in vain.
    """
    if path is not None and (obstacle := _find_obstacle(path)):
        raise OSError(obstacle[0], os.strerror(obstacle[0]), str(path))


def _find_obstacle(path: str | bytes | os.PathLike[str]) -> tuple[int, Path] | None:
    """The first folder on the way that is missing (ENOENT), or is something else (ENOTDIR)."""
    for folder in reversed(Path(os.fsdecode(path)).parents):
        try:
            if not folder.is_dir():
                return (errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT), folder
        except OSError:  # it may not be looked at, or its name is too long
            return None
    return None


def _hint_of_obstacle(number: int, folder: Path) -> str:
    name = printable(str(folder))
    if number == errno.ENOTDIR:
        return f"{name} is no folder"
    return f"the folder {name} does not exist: make it, or find where it was moved to"
