"""Files and folders by their paths: each is opened as a :class:`chainrule.files.folder.Folder`, and written within."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from chainrule.files.descriptors import naming, not_a_folder
from chainrule.files.folder import Folder, Place
from chainrule.files.regular_file import FilePath


def write_whole(path: FilePath, content: bytes) -> None:
    """As :meth:`Folder.write_whole`, in the folder of ``path``."""
    if isinstance(path, Place):
        path.folder.write_whole(path.name, content)
        return
    with naming(path), Folder(Path(path).parent) as folder:
        folder.write_whole(Path(path).name, content)


def make_folder(path: FilePath) -> list[Path]:
    """Make a folder, and those above it that are missing, to be there after a power cut too.

    Returns those that were made, the lowest first; if one cannot be made none of them stays. DataError if ``path`` is
    something else.
    """
    path, made = Path(path), list[Path]()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            if _is_made(folder):
                made.insert(0, folder)
        _is_made(path)  # it may be something else, and then none was missing
        for folder in missing:
            with naming(folder), Folder(folder.parent) as above:
                above.flush()
    except BaseException:
        remove_empty(made)
        raise
    return made


def _is_made(folder: Path) -> bool:
    """Make it; False if it is there, by now or before. DataError if something else is."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise not_a_folder(folder, folder.lstat().st_mode) from None
        return False
    return True


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove these folders, the lowest first, as long as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
