"""Files of one folder, written and removed by the folder's descriptor, never through a link.

Every call looks a path up again: between two calls a folder may be renamed, or a link put in its place, and the write
goes elsewhere. A descriptor stands for the folder itself. On a platform that opens nothing relative to a descriptor
(Windows) paths are used instead, and checked first.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from chainrule.files.atomic_write import at, replace_file, temporaries_of
from chainrule.files.descriptors import (
    FLUSH_UNSUPPORTED,
    flush_to_disk,
    is_owned_by_user,
    is_singly_linked_file,
    not_a_folder,
    path_in_errors,
    path_of_descriptor,
    write_all,
)
from chainrule.files.regular_file import AS_BYTES, NO_LINKS, NO_WAITING, FilePath, open_regular

HAS_DESCRIPTORS = {os.open, os.mkdir, os.rename, os.unlink, os.stat} <= os.supports_dir_fd
IS_FOLDER = getattr(os, "O_DIRECTORY", 0)


class Folder:
    """An open folder: ``with Folder("runs/a") as folder: folder.write_atomically("b", content)``.

    A link in the path, or a link as the folder itself, is followed once, when the folder is opened: the user named it.
    Links inside the folder are never followed when something is written.
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)
        self.number: int | None = None
        if HAS_DESCRIPTORS:
            self.number = os.open(self.path, os.O_RDONLY | IS_FOLDER)
        elif not stat.S_ISDIR(self.path.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; the object cannot be used afterwards."""
        if self.number is not None:
            number, self.number = self.number, None
            with path_in_errors(self.path):
                os.close(number)

    def __truediv__(self, name: str) -> FileInFolder:
        return FileInFolder(self, name)

    def _at(self, name: str) -> str:
        """What the calls of ``os`` take as the path of a name, beside the descriptor."""
        return at(self.path / name, self.number)

    # ---- reading ----------------------------------------------------------------------------------

    def is_at(self, path: FilePath) -> bool:
        """Whether ``path`` leads to this folder."""
        try:
            return self.number is None or os.path.samestat(os.fstat(self.number), Path(path).stat())
        except OSError:
            return False

    def current_path(self) -> Path:
        """The path now, if somebody has renamed the folder and the platform knows; else the path it was opened by."""
        if self.number is None or self.is_at(self.path):
            return self.path
        path = path_of_descriptor(self.number)
        return path if path is not None and self.is_at(path) else self.path

    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        return sorted(os.listdir(self.path if self.number is None else self.number))  # noqa: PTH208 - of a descriptor

    def lstat(self, name: str) -> os.stat_result | None:
        """``os.lstat`` of an entry (a link is not followed); None if there is no such entry."""
        try:
            return os.stat(self._at(name), dir_fd=self.number, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_descriptor(self, name: str, flags: int, mode: int = 0o666) -> int:
        """``os.open`` of an entry; a new file gets ``mode`` less the umask."""
        return os.open(self._at(name), flags, mode, dir_fd=self.number)

    def open_regular(self, name: str) -> io.BufferedReader:
        """Open a file for reading, as :func:`chainrule.files.regular_file.open_regular`."""
        return open_regular(self.path / name, name=self._at(name), folder=self.number)

    # ---- writing ----------------------------------------------------------------------------------

    def open_folder(self, name: str, *, make: bool = False) -> Folder:
        """Open a folder within this one; with ``make`` it is created if it is missing.

        DataError if the entry is anything else, also a link to a folder: what is written stays in this folder.
        """
        path = self.path / name
        if make:
            with path_in_errors(path), contextlib.suppress(FileExistsError):
                os.mkdir(self._at(name), dir_fd=self.number)
                self.flush()
        if (facts := self.lstat(name)) is not None and not stat.S_ISDIR(facts.st_mode):
            raise not_a_folder(path, facts.st_mode)
        found = Folder.__new__(Folder)
        found.path, found.number = path, None
        if self.number is not None:
            with path_in_errors(path):
                found.number = os.open(name, os.O_RDONLY | IS_FOLDER | NO_LINKS, dir_fd=self.number)
        elif facts is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def unlink(self, name: str) -> None:
        """Remove a file, or a link but not its target; nothing happens if there is no such entry."""
        with path_in_errors(self.path / name), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self.number)

    def write_atomically(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Replace a file by ``content`` in one step, or make it: :func:`chainrule.files.atomic_write.replace_file`.

        Then the folder is flushed, so that after a power cut too the name stands for the old file or the new one.
        OSError naming the file if that fails: the old file is as it was, unless only the flush of the folder failed.
        """
        replace_file(self.path / name, content, self.number)
        with path_in_errors(self.path / name):
            self.flush()

    def append(self, name: str, content: bytes) -> bool:
        """Append to a file, which is created if it is missing.

        False, and nothing is written, if the file may lie outside the folder: if it is a link, has another name (a hard
        link), or is no regular file.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINKS | NO_WAITING | AS_BYTES
        with path_in_errors(self.path / name):
            facts = self.lstat(name)
            if facts is not None and not is_singly_linked_file(facts):
                return False
            number = self.open_descriptor(name, flags)
            try:
                if not is_singly_linked_file(os.fstat(number)):
                    return False
                write_all(number, content)
            finally:
                os.close(number)
        return True

    def flush_file(self, name: str) -> None:
        """Flush a file to the disk."""
        with path_in_errors(self.path / name):
            number = self.open_descriptor(name, os.O_RDWR | NO_LINKS | NO_WAITING | AS_BYTES)
            try:
                flush_to_disk(number)
            finally:
                os.close(number)

    def flush(self) -> None:
        """Flush created, renamed and removed entries to the disk; does nothing if the platform opens no folders."""
        if self.number is not None:
            try:
                flush_to_disk(self.number)
            except OSError as error:
                if error.errno not in FLUSH_UNSUPPORTED:
                    raise

    def remove_temporaries(self, names: Collection[str]) -> None:
        """Remove temporaries of these files that killed processes left behind; only while nobody writes here.

        Only regular files of this user are removed, under names that :meth:`write_atomically` gives to temporaries.
        """
        for name in temporaries_of(names, self.names()):
            facts = self.lstat(name)
            if facts is not None and stat.S_ISREG(facts.st_mode) and is_owned_by_user(facts):
                self.unlink(name)


@dataclass(frozen=True)
class FileInFolder:
    """A file in an open folder, for functions that take a path to write to: they then write by the descriptor."""

    folder: Folder
    name: str

    def __fspath__(self) -> str:
        return str(self.folder.path / self.name)

    __str__ = __fspath__
