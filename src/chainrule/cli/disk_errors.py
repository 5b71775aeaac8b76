"""What to do about an error of the operating system, by its number."""

from __future__ import annotations

import errno

FREE_SPACE = "free space, or another place to write to"
HINTS = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), FREE_SPACE),
    "EFBIG": "a limit on the size of files (`ulimit -f`) or of the file system: raise it, or another place to write to",
    **dict.fromkeys(("EACCES", "EPERM"), "this user may not read or write there: other permissions, or another place"),
    "EROFS": "the file system is mounted read-only: another place to write to",
    "ENAMETOOLONG": "a name or path is longer than the file system takes: a shorter one, or start in a folder nearer",
    "ENOENT": "a folder on the way is missing: make it, or look where it was moved to",
    "ENOTDIR": "something on the way is no folder",
    "ELOOP": "a link is in the place of the file: remove it",
    "EEXIST": "something else has this name: move it away, or another place to write to",
    "EISDIR": "a folder has this name: another one",
    **dict.fromkeys(("EMFILE", "ENFILE"), "too many files are open: raise `ulimit -n`, or end other programs"),
    **dict.fromkeys(
        ("EIO", "ESTALE", "ENXIO", "ENODEV", "EREMOTEIO", "ETIMEDOUT"),
        "the disk or its connection fails: look at it (`dmesg`), or another place to write to",
    ),
    **dict.fromkeys(("EBUSY", "ETXTBSY"), "another program holds the file: end it, or another place to write to"),
}
BY_NUMBER = {number: hint for name, hint in HINTS.items() if (number := getattr(errno, name, None)) is not None}


def hint_of(error: OSError) -> str:
    """One line, or nothing if the number says nothing."""
    return BY_NUMBER.get(error.errno or 0, "")
