"""Contents of .npy and .npz files, valid and not."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import DataError
from chainrule.tables.readers import read_table
from tables.messages import check_message

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 1, 0])
NAN = np.where(X == 7, np.nan, X)


def npy(array: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with any words in its header."""
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return np.lib.format.magic(*version) + size + text.encode("latin-1") + data


def describe(descr: str, shape: str, *, fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}\n"


def npz(members: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return file.getvalue()


def check_refusal(path: Path, parts: list[str], **kwargs) -> None:
    with pytest.raises(DataError) as caught:
        read_table(path, **{"target": None, "need_target": False} | kwargs)
    check_message(caught.value, str(path), *parts)
    assert len(caught.value.message) < 400 + len(str(path))


def patch(content: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """``content`` with the bytes at ``offset`` after the last ``signature`` replaced."""
    at = content.rindex(signature) + offset
    return content[:at] + value + content[at + len(value) :]
