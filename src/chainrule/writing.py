"""Files and folders by their paths: each is opened as a :class:`chainrule.folder.Folder`, and written within."""

from __future__ import annotations

from pathlib import Path

from chainrule.folder import Folder, Place
from chainrule.open_file import naming, not_a_folder
from chainrule.regular_file import FilePath


def write_whole(path: FilePath, content: bytes) -> None:
    """As :meth:`Folder.write_whole`, in the folder of ``path``."""
    if isinstance(path, Place):
        path.folder.write_whole(path.name, content)
        return
    with naming(path), Folder(Path(path).parent) as folder:
        folder.write_whole(Path(path).name, content)


def make_folder(path: FilePath) -> list[Path]:
    """Make a folder, and those above it that are missing, to be there after a power cut too.

    Returns those that were made, the lowest first. DataError if ``path`` is something else.
    """
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise not_a_folder(path, path.lstat().st_mode) from None
    for made in missing:
        with naming(made), Folder(made.parent) as above:
            above.flush()
    return missing
