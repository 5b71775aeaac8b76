"""A folder opened by its descriptor, and by its path as on Windows."""

from __future__ import annotations

import pytest

from chainrule.files import folder
from chainrule.files.folder import Folder


@pytest.fixture(params=["by descriptor", "by path"])
def opened(request, tmp_path, monkeypatch):
    """An open folder, and one as it is where the platform opens nothing relative to a folder (Windows)."""
    monkeypatch.setattr(folder, "HAS_DESCRIPTORS", request.param == "by descriptor")
    (tmp_path / "home").mkdir()
    with Folder(tmp_path / "home") as found:
        yield found
