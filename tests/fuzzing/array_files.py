"""Arrays in .npy files and .npz archives: headers that lie, members of any name, archives with right sums."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np

from campaigns import array_files as hostile
from chainrule.errors import DataError, OptionError
from fuzzing import values
from fuzzing.choices import Choices
from fuzzing.limits import Outcome, outcome_of
from fuzzing.targets import Target
from fuzzing.text_tables import use_table


def npy(choices: Choices) -> bytes:
    """An array as NumPy writes it, or data behind a header of which any part is another."""
    with warnings.catch_warnings(action="ignore"):
        match choices.randrange(4):
            case 0:
                return hostile.as_npy(values.array(choices, np.zeros(0)))
            case 1:
                return hostile.damaged_header(choices, choices.rest())
            case 2:
                return hostile.as_npy(hostile.whole_array(choices))
            case _:
                descr, shape = (
                    choices.choice(values.DTYPES),
                    [choices.randrange(6) for _ in range(choices.randrange(4))],
                )
                order, extra = choices.choice(["True", "False", "None", "0"]), values.text(choices)
                said = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {tuple(shape)}, {extra}}}"
                return hostile.header(said, choices.choice([(1, 0), (2, 0), (3, 0)])) + choices.rest()


class ArrayFiles(Target):
    """A .npy file, read and encoded."""

    good = frozenset({"read", "refused"})
    name = "a.npy"

    def seeds(self) -> list[bytes]:
        arrays = [np.ones((2, 3)), np.arange(6).reshape(3, 2), np.array(["a", "b"]), np.zeros((2, 2, 2))]
        return [b"\0" + hostile.as_npy(a) for a in arrays] + [bytes([1, i, *range(40)]) for i in range(4)]

    def content(self, choices: Choices) -> bytes:
        return npy(choices) if choices.randrange(2) else choices.rest()

    def outcome(self, data: bytes) -> Outcome:
        path = self.folder / self.name
        path.write_bytes(self.content(Choices(data)))
        return outcome_of(lambda: self._use(path), refusal=(DataError, OptionError))

    def _use(self, path: Path) -> str:
        said = use_table(path)
        left = [file.name for file in self.folder.iterdir() if file != path]  # something that was executed
        return f"there is {left[0]!r}" if left else said


class Archives(ArrayFiles):
    """A .npz file: drawn members in an archive whose sums are right, and whose fields may say something else."""

    name = "a.npz"

    def seeds(self) -> list[bytes]:
        whole = hostile.as_npz(
            [("X.npy", hostile.as_npy(np.ones((2, 2)))), ("y.npy", hostile.as_npy(np.ones(2)))], Choices(b"")
        )
        return [b"\0" + whole, b"\1" + whole] + [bytes([2, i, j, *range(60)]) for i in range(4) for j in range(3)]

    def content(self, choices: Choices) -> bytes:
        how = choices.randrange(4)
        if how == 0:
            return choices.rest()
        if how == 1:
            return resealed(choices.rest())
        names = [choices.choice(hostile.NAMES) + ".npy" for _ in range(1 + choices.randrange(3))]
        sizes = [choices.randrange(200) for _ in names]
        members = [(name, npy(Choices(choices.take(size)))) for name, size in zip(names, sizes, strict=True)]
        archive = hostile.as_npz(members, choices)
        return archive if how == 2 else hostile.damage_archive(choices, archive)


def resealed(content: bytes) -> bytes:
    """A stored archive whose members have the checksums that belong to them, wherever its directory is whole."""
    result = bytearray(content)
    with warnings.catch_warnings(action="ignore"):
        try:
            archive = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, struct.error):
            return content
    for info in archive.infolist():
        at = info.header_offset
        if not 0 <= at <= len(content) - 30 or info.compress_type != zipfile.ZIP_STORED:
            continue
        start = at + 30 + sum(struct.unpack_from("<HH", content, at + 26))
        total = struct.pack("<I", zipfile.crc32(content[start : start + info.file_size]))
        result[at + 14 : at + 18] = total
        entry = content.find(struct.pack("<I", info.CRC), archive.start_dir)
        if entry >= 0:
            result[entry : entry + 4] = total
    return bytes(result)
