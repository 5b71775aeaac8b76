"""A file replaced in one step: a reader sees the old content or the new one, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from chainrule.files.descriptors import (
    LONGEST_NAME,
    Content,
    cut_name,
    flush_to_disk,
    has_content,
    has_sha256,
    owner_readable,
    path_in_errors,
    set_permissions,
    write_all,
    write_parts,
)
from chainrule.files.regular_file import AS_BYTES, NO_LINKS, NO_WAITING, refuse_irregular

TEMPORARY = ".tmp"  # how the name of a file ends that is not whole yet; it begins with a dot


def replace_file(path: Path, content: Content, dir_fd: int | None = None) -> None:
    """Replace the file ``path`` by ``content``, or make it.

    Parts of a content are written as they come, so that they never are in memory together; a part that raises leaves
    the old file as it was. They are compared with the disk by their SHA-256.

    The content goes to a temporary beside it, which nobody else can have made, is flushed to the disk and read back;
    only then is the temporary renamed. The permissions of a file that is replaced are kept; a link is replaced, not
    followed. The caller flushes the folder, so that the new name outlasts a power cut.

    Parameters
    ----------
    dir_fd : the descriptor of the folder: only the name of ``path`` is then looked up, in that folder

    Raises
    ------
    OSError   naming ``path``, also if it is a directory, a pipe or a device. The old file is as it was.
    """
    with path_in_errors(path):
        mode = _mode_of_file(path, dir_fd)
        temporary, number = _make_temporary(path, 0o666 if mode is None else mode, dir_fd)
        try:
            try:
                if mode is not None:
                    set_permissions(number, mode)
                is_content = _write(number, content)
                flush_to_disk(number)
            finally:
                os.close(number)
            _read_back(temporary, is_content, dir_fd)
            os.replace(at(temporary, dir_fd), at(path, dir_fd), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(at(temporary, dir_fd), dir_fd=dir_fd)
            raise


def at(path: Path, dir_fd: int | None) -> str:
    """What the calls of ``os`` take as a path beside ``dir_fd``: the name alone if there is such a descriptor."""
    return str(path) if dir_fd is None else path.name


def temporaries_of(names: Collection[str], found: Collection[str]) -> list[str]:
    """Those of the names ``found`` in a folder that :func:`replace_file` gives to temporaries of files ``names``."""
    ours = re.compile(rf"\.(?:{'|'.join(map(re.escape, names))})\.\d+-[0-9a-f]+{re.escape(TEMPORARY)}")
    return list(filter(ours.fullmatch, found))


def _mode_of_file(path: Path, dir_fd: int | None) -> int | None:
    """The permissions of the file that is replaced; None if there is none, or a link."""
    try:
        mode = os.stat(at(path, dir_fd), dir_fd=dir_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        return None
    refuse_irregular(mode, path)
    return owner_readable(mode)


def _make_temporary(path: Path, mode: int, dir_fd: int | None) -> tuple[Path, int]:
    """A new file beside ``path``: its path and its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS | AS_BYTES
    while True:
        end = f".{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}"
        temporary = path.parent / f".{cut_name(path.name, LONGEST_NAME - 1 - len(end))}{end}"
        with contextlib.suppress(FileExistsError):
            return temporary, os.open(at(temporary, dir_fd), flags, mode, dir_fd=dir_fd)


def _write(number: int, content: Content) -> Callable[[int], bool]:
    """Write all of ``content`` to a descriptor; returns what tells whether another descriptor reads the same."""
    if isinstance(content, bytes | Sequence):
        write_all(number, content)
        return functools.partial(has_content, content=content)
    return functools.partial(has_sha256, expected=write_parts(number, content))


def _read_back(path: Path, is_content: Callable[[int], bool], dir_fd: int | None) -> None:
    """OSError if the disk does not give back what was written to it."""
    number = os.open(at(path, dir_fd), os.O_RDONLY | NO_LINKS | NO_WAITING | AS_BYTES, dir_fd=dir_fd)
    try:
        is_same = is_content(number)
    finally:
        os.close(number)
    if not is_same:
        raise OSError(None, "the file does not hold what was written to it", str(path))
