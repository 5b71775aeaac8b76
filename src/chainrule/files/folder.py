"""Files of one folder, written and removed by the folder's descriptor, never through a link.

A path is looked up anew by every call: between two of them a folder may be renamed, or a link put in its place, and
what is written then goes elsewhere. A descriptor stands for the folder itself. Where the platform opens nothing
relative to one (Windows), paths are used, and checked before.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from chainrule.files.descriptors import (
    LONGEST_NAME,
    NO_FLUSH,
    holds,
    is_here_alone,
    is_mine,
    naming,
    not_a_folder,
    path_of_descriptor,
    readable,
    shortened,
    take_permissions,
    to_disk,
    write_all,
)
from chainrule.files.regular_file import AS_BYTES, NO_LINKS, NO_WAITING, FilePath, open_regular, refuse_irregular

TEMPORARY = ".tmp"  # how the name of a file ends that is not whole yet; it begins with a dot
HAS_DESCRIPTORS = {os.open, os.mkdir, os.rename, os.unlink, os.stat} <= os.supports_dir_fd
IS_FOLDER = getattr(os, "O_DIRECTORY", 0)


class Folder:
    """An open folder: ``with Folder("runs/a") as folder: folder.write_whole("b", content)``.

    Links on the way to it, and one that it is itself, are followed once, when it is opened: who named them meant them.
    Of what is in it no link is followed when something is written.
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
        """Close the descriptor; the object is of no use afterwards."""
        if self.number is not None:
            number, self.number = self.number, None
            with naming(self.path):
                os.close(number)

    def __truediv__(self, name: str) -> Place:
        return Place(self, name)

    def _at(self, name: str) -> str:
        """What the calls take as the path of a name, beside the descriptor."""
        return name if self.number is not None else str(self.path / name)

    # ---- what it is -------------------------------------------------------------------------------

    def is_at(self, path: FilePath) -> bool:
        """Whether this folder is what stands at ``path``."""
        try:
            return self.number is None or os.path.samestat(os.fstat(self.number), Path(path).stat())
        except OSError:
            return False

    def found(self) -> Path:
        """Where it is now, if somebody has renamed it and the platform knows; else the path it was opened by."""
        if self.number is None or self.is_at(self.path):
            return self.path
        path = path_of_descriptor(self.number)
        return path if path is not None and self.is_at(path) else self.path

    def names(self) -> list[str]:
        """The names of all that is in it, sorted."""
        return sorted(os.listdir(self.path if self.number is None else self.number))  # noqa: PTH208 - of a descriptor

    def facts(self, name: str) -> os.stat_result | None:
        """``lstat`` of a name in it, of a link itself; None if there is no such name."""
        try:
            return os.stat(self._at(name), dir_fd=self.number, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_descriptor(self, name: str, flags: int, mode: int = 0o666) -> int:
        """``os.open`` of a name in it, a new file with what the umask leaves of these permissions."""
        return os.open(self._at(name), flags, mode, dir_fd=self.number)

    def open_regular(self, name: str) -> io.BufferedReader:
        """A file of it, to be read; as :func:`chainrule.files.regular_file.open_regular`."""
        return open_regular(self.path / name, name=self._at(name), folder=self.number)

    # ---- what is changed in it --------------------------------------------------------------------

    def within(self, name: str, *, make: bool = False) -> Folder:
        """A folder in it, opened; made if it is missing and ``make`` is set.

        DataError if the name is something else, a link to a folder included: what is written stays in this folder.
        """
        path = self.path / name
        if make:
            with naming(path), contextlib.suppress(FileExistsError):
                os.mkdir(self._at(name), dir_fd=self.number)
                self.flush()
        if (facts := self.facts(name)) is not None and not stat.S_ISDIR(facts.st_mode):
            raise not_a_folder(path, facts.st_mode)
        found = Folder.__new__(Folder)
        found.path, found.number = path, None
        if self.number is not None:
            with naming(path):
                found.number = os.open(name, os.O_RDONLY | IS_FOLDER | NO_LINKS, dir_fd=self.number)
        elif facts is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def unlink(self, name: str) -> None:
        """Remove a file, or a link and not what it leads to; nothing happens if there is none."""
        with naming(self.path / name), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self.number)

    def write_whole(self, name: str, content: bytes) -> None:
        """Replace a file by ``content`` in one step, whatever happens meanwhile: a reader sees the old file or the new.

        The content goes to a temporary beside it, which nobody else can have made, is flushed to the disk and read
        back; only then is the temporary renamed, and the folder flushed, so that after a power cut too the name stands
        for one of the two. The permissions of a file that is replaced are kept; a link is replaced, not followed.
        OSError naming the file if that fails: the old file is as it was; if only the flush of the folder failed, the
        new one is there. OSError for a directory, a pipe or a device.
        """
        path = self.path / name
        with naming(path):
            facts = self.facts(name)
            if facts is not None and not stat.S_ISLNK(facts.st_mode):
                refuse_irregular(facts.st_mode, path)
            mode = None if facts is None or not stat.S_ISREG(facts.st_mode) else readable(facts.st_mode)
            temporary, number = self._make_temporary(name, 0o666 if mode is None else mode)
            try:
                try:
                    if mode is not None:
                        take_permissions(number, mode)
                    write_all(number, content)
                    to_disk(number)
                finally:
                    os.close(number)
                self._read_back(temporary, content)
                source, target = self._at(temporary), self._at(name)
                os.replace(source, target, src_dir_fd=self.number, dst_dir_fd=self.number)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(self._at(temporary), dir_fd=self.number)
                raise
            self.flush()

    def _make_temporary(self, name: str, mode: int) -> tuple[str, int]:
        """A new file: its name and its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS | AS_BYTES
        while True:
            end = f".{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}"
            temporary = f".{shortened(name, LONGEST_NAME - 1 - len(end))}{end}"
            with contextlib.suppress(FileExistsError):
                return temporary, self.open_descriptor(temporary, flags, mode)

    def _read_back(self, name: str, content: bytes) -> None:
        number = self.open_descriptor(name, os.O_RDONLY | NO_LINKS | NO_WAITING | AS_BYTES)
        try:
            is_same = holds(number, content)
        finally:
            os.close(number)
        if not is_same:
            raise OSError(None, "what was written is not what is read", str(self.path / name))

    def append(self, name: str, content: bytes) -> bool:
        """Add to the end of a file, made if it is missing. False, and nothing is written, if it may lie elsewhere:

        if it is a link, has another name besides (a hard link), or is no regular file.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINKS | NO_WAITING | AS_BYTES
        with naming(self.path / name):
            facts = self.facts(name)
            if facts is not None and not is_here_alone(facts):
                return False
            number = self.open_descriptor(name, flags)
            try:
                if not is_here_alone(os.fstat(number)):
                    return False
                write_all(number, content)
            finally:
                os.close(number)
        return True

    def flush_file(self, name: str) -> None:
        """Bring what was written to a file to the disk."""
        with naming(self.path / name):
            number = self.open_descriptor(name, os.O_RDWR | NO_LINKS | NO_WAITING | AS_BYTES)
            try:
                to_disk(number)
            finally:
                os.close(number)

    def flush(self) -> None:
        """Bring names that were made, changed or removed to the disk; nothing to do if the platform opens no folder."""
        if self.number is not None:
            try:
                to_disk(self.number)
            except OSError as error:
                if error.errno not in NO_FLUSH:
                    raise

    def remove_temporaries(self, names: Collection[str]) -> None:
        """Remove what killed writers of these files have left. Only for a caller that knows that nobody writes there.

        Only regular files of this user with a name that :meth:`write_whole` makes are removed.
        """
        ours = re.compile(rf"\.(?:{'|'.join(map(re.escape, names))})\.\d+-[0-9a-f]+{re.escape(TEMPORARY)}")
        for name in filter(ours.fullmatch, self.names()):
            facts = self.facts(name)
            if facts is not None and stat.S_ISREG(facts.st_mode) and is_mine(facts):
                self.unlink(name)


@dataclass(frozen=True)
class Place:
    """A name in an open folder. What takes a path to write to takes one too, and then writes by the descriptor."""

    folder: Folder
    name: str

    def __fspath__(self) -> str:
        return str(self.folder.path / self.name)

    __str__ = __fspath__
