"""Files and folders written by their paths, through a :class:`chainrule.files.folder.Folder` that is opened for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from chainrule.files.descriptors import not_a_folder, path_in_errors
from chainrule.files.folder import FileInFolder, Folder
from chainrule.files.regular_file import FilePath


def write_atomically(path: FilePath, content: bytes | Iterable[bytes]) -> None:
    """Replace a file in one step, or make it, as :meth:`Folder.write_atomically` in the folder of ``path``."""
    if isinstance(path, FileInFolder):
        path.folder.write_atomically(path.name, content)
        return
    with path_in_errors(path), Folder(Path(path).parent) as folder:
        folder.write_atomically(Path(path).name, content)


def make_folder(path: FilePath) -> list[Path]:
    """Create a folder and its missing parents, and flush them to the disk.

    Returns the created folders, the deepest first; if one cannot be created, none stays. DataError if ``path`` is
    something else than a folder.
    """
    path, made = Path(path), list[Path]()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            if _is_made(folder):
                made.insert(0, folder)
        _is_made(path)  # if nothing was missing it may still be something else
        for folder in missing:
            with path_in_errors(folder), Folder(folder.parent) as above:
                above.flush()
    except BaseException:
        remove_empty(made)
        raise
    return made


def _is_made(folder: Path) -> bool:
    """Create it; False if it exists already. DataError if something else has its name."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise not_a_folder(folder, folder.lstat().st_mode) from None
        return False
    return True


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove these folders, deepest first, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
