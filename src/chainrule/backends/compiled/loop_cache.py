"""Compiled loops on disk: sealed, read only if this user or root wrote them, and never needed. Imports no numba.

numba's own cache reads pickles, and in them machine code, without a checksum: a damaged file ends the process, or the
step that called the loop, and a file that another user left there is that user's code. So here a file is

    MAGIC, stamp (32 bytes), sha256 of the rest (32 bytes), the rest

and counts as missing if one of these differs, or if it belongs to another user or another user may write to it. What
cannot be read is compiled and written again; what cannot be written is compiled again in the next process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Final

from chainrule.environment import cache_directory
from chainrule.errors import first_line
from chainrule.files.regular_file import AS_BYTES, NO_LINKS, NO_WAITING

MAGIC: Final = b"chainrule loop 1\n"
DIGEST: Final = 32  # bytes of a sha256
LARGEST: Final = 1 << 24  # bytes; a loop has some ten thousand
HERE: Final = Path(__file__).parent
LISTS: Final = "ahead-"  # files that begin so hold the names of others
OPTIMISER_LOOPS: Final = ("optimisers.adam-*", "optimisers.sgd*")  # every training has one of them


def folder() -> Path | None:
    """Where the loops of this installation lie: the cache directory, or ``$NUMBA_CACHE_DIR`` if only that is set."""
    numbas = os.environ.get("NUMBA_CACHE_DIR")
    directory = Path(numbas) if numbas and not os.environ.get("CHAINRULE_CACHE_DIR") else cache_directory()
    # One folder for each installation, as each overwrites what the stamp of another is on.
    return None if directory is None else directory / f"loops-{hashlib.sha256(bytes(HERE)).hexdigest()[:12]}"


@functools.cache
def stamp() -> bytes:
    """Of all that a compiled loop depends on but the processor: the sources that hold its constants, and versions."""
    import importlib.metadata  # takes longer to import than all else here

    digest = hashlib.sha256(sys.version.encode())
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f" {package} {importlib.metadata.version(package)}".encode())
    for path in sources():
        digest.update(path.read_bytes())
    return digest.digest()


def sources() -> list[Path]:
    """The files that a compiled loop may have been made from: the loops, and what has their constants."""
    rooms = (HERE.parent / name for name in ("contract", "reference", "numpy"))
    return sorted([*HERE.rglob("*.py"), *(path for room in rooms for path in room.glob("*.py"))])


def has_loops() -> bool:
    """Whether an earlier process has left loops that this one can use, by those of the optimisers."""
    try:
        place = folder()
        found = [] if place is None else [path for name in OPTIMISER_LOOPS for path in place.glob(name)]
        return any(read(path) for path in found)
    except Exception:  # whatever is there instead
        return False


def size() -> tuple[int, int]:
    """How many loops are kept, also stale ones and those of other processors, and in how many bytes."""
    place = folder()
    try:
        files = [] if place is None else [p for p in place.iterdir() if not p.name.startswith((LISTS, "."))]
        return len(files), sum(path.stat().st_size for path in files)
    except OSError:
        return 0, 0


def read(path: Path) -> bytes | None:
    """What was written there; None if that is nothing, stale, damaged or not to be trusted. OSError if unreadable."""
    try:
        number = os.open(path, os.O_RDONLY | NO_LINKS | NO_WAITING | AS_BYTES)
    except FileNotFoundError:
        return None
    with os.fdopen(number, "rb") as file:
        about = os.fstat(number)
        if not (stat.S_ISREG(about.st_mode) and about.st_size <= LARGEST and _is_trusted(about)):
            return None
        content = file.read(LARGEST)
    head = MAGIC + stamp()
    sealed, rest = content[len(head) : len(head) + DIGEST], content[len(head) + DIGEST :]
    return rest if content.startswith(head) and hashlib.sha256(rest).digest() == sealed else None


def _is_trusted(about: os.stat_result) -> bool:
    """Whether only this user or root can have written the file. Windows, whose profiles are private, is not asked."""
    if not hasattr(os, "geteuid"):
        return True
    return about.st_uid in {0, os.geteuid()} and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def write(path: Path, content: bytes) -> None:
    """Whole or not at all, for this user to write and for others to read at most. OSError when it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | AS_BYTES, 0o644)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(MAGIC + stamp() + hashlib.sha256(content).digest() + content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def find_problem() -> str:
    """Why loops cannot be kept on this host, found out without writing; empty if nothing is known to be in the way."""
    place = folder()
    if place is None:
        return "there is no home directory"
    try:
        nearest = next(p for p in (place, *place.parents) if p.exists())
    except OSError as error:
        return f"{place}: {error.strerror}"
    if not nearest.is_dir():
        return f"{nearest} is no directory"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written to"


def describe(error: Exception) -> str:
    """What went wrong with the cache, on one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or first_line(error)}"
    return f"{type(error).__name__}: {first_line(error)}"
