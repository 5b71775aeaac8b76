"""What to do about an error of the operating system, by its number."""

from __future__ import annotations

import errno

FREE_SPACE = "free some space, or write to another place"
HINTS = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), FREE_SPACE),
    "EFBIG": "a limit on the size of files (`ulimit -f`) or of the file system: raise it, or write to another place",
    **dict.fromkeys(
        ("EACCES", "EPERM"), "this user may not read or write there: change the permissions, or take another place"
    ),
    "EROFS": "the file system is mounted read-only: write to another place",
    "ENAMETOOLONG": "the name or path is too long for the file system: take a shorter one, or start in a nearer folder",
    "ENOENT": "a folder on the way is missing: make it, or find where it was moved to",
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
    return BY_NUMBER.get(error.errno or 0, "")
