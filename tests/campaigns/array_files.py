"""Array files that someone made to do harm, or that a disk did.

Each case is drawn from its own number. What a file comes to is a DataError or a table whose numbers are finite or
holes, in memory that its size bounds and within a second.
"""

from __future__ import annotations

import contextlib
import io
import random
import struct
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np

from campaigns.tally import Tally
from chainrule.errors import DataError, OptionError
from chainrule.tables.readers import read_table

TITLE = "hostile npy and npz files"
CASES = 20_000

MEMORY = 1 << 20  # bytes beside twice the arrays that are really there
SECONDS = 1.0

DESCRS = [
    "|O", "<c8", "|V8", "|S4", "<U3", "<U0", "<M8[D]", "<m8[s]", "|b1", "|i1", ">u2", "<f2", ">f8", "<f16", "<f77",
    "<i999999999", "f4,f4", "(3,)f4", "object", "<U999999999", "<M8[" + "s" * 50 + "]", "\\x3cf4", "", "<f4\0", "d",
]  # fmt: skip
SHAPES = [
    "()", "(4,)", "(4, 3)", "(3, 4)", "(12, 1)", "(4, 3, 1)", "(0, 3)", "(4, 0)", "(-4, -3)", "(1099511627776, 1)",
    "(4294967296, 4294967296)", "(18446744073709551615,)", "(4, 3, 0, 1099511627776)", "(4L, 3L)", "(4)", "4", "[4, 3]",
    f"({'1, ' * 70})", f"({'9' * 400},)", "('4', 3)", "(True, 12)", "(4., 3)", "(1e1, 1)", "(None, 3)", "(4 * 1, 3)",
]  # fmt: skip
WORDS = [
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", "(" * 3000, "[" * 9000, "-" * 9000 + "1",
    "{" * 5000, "lambda: " * 1000 + "0", "__import__('os').mkdir('executed')", "{'descr': ''' ", "{'descr': '<f4'",
    "{'descr': '<f4', 'fortran_order': __import__('os').mkdir('executed'), 'shape': (4, 3)}", " " * 9990, "\0" * 118,
    "{" + "'descr': '<f4', " * 400 + "'shape': (4, 3), 'fortran_order': False}", "{}",
    "1 if " * 1500, "\\\n" * 3000, "'" * 4001, "0x" + "f" * 9000, "9" * 9000, "{**" * 1000,
]  # fmt: skip
NAMES = [
    "X", "y", "../X", "/tmp/X", "..\\X", "", "X/", "\x1b[31mX", "X.npy", "é", "x" * 3000, "con", "__pycache__/X", "a",
]  # fmt: skip


def header(text: str, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """The beginning of a .npy file with any words in its header."""
    size = len(text) if length is None else length
    how, top = ("<H", 0xFFFF) if version[0] == 1 else ("<I", 0xFFFFFFFF)
    return b"\x93NUMPY" + bytes(version) + struct.pack(how, min(size, top)) + text.encode("latin-1", "replace")


def whole_array(rng: random.Random) -> np.ndarray:
    """A small array as it may well be."""
    kinds = ["f2", "<f4", "<f8", ">f8", "g", "i1", "<u4", ">i8", "?"]
    rows, columns = rng.randint(1, 6), rng.randint(1, 4)
    array = np.array([[rng.randint(0, 9) for _ in range(columns)] for _ in range(rows)]).astype(rng.choice(kinds))
    if array.dtype.kind == "f" and rng.random() < 0.3:
        array.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, np.nan])
    return np.asfortranarray(array) if rng.random() < 0.3 else array


def whole_target(rng: random.Random, n: int) -> np.ndarray:
    """One value per row, of any kind that a target may have."""
    values = [rng.randint(0, 2) for _ in range(n)]
    return rng.choice(
        [
            np.array(values),
            np.array(values, float),
            np.array([f" {v}x" for v in values]),
            np.array(values) > 0,
            np.array([values, values]).T,
            np.array([f"{v}" for v in values], ">U9"),
        ]
    )


def as_npy(array: np.ndarray) -> bytes:
    """As NumPy writes it."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        np.lib.format.write_array(file, array)
    return file.getvalue()


def damaged_header(rng: random.Random, data: bytes) -> bytes:
    """A header that says something else than what follows it."""
    descr, shape = rng.choice(["<f4", "<f8", *DESCRS]), rng.choice(SHAPES)
    text = f"{{'descr': {rng.choice([repr(descr), repr(descr), descr])}, 'fortran_order': False, 'shape': {shape}, }}\n"
    if rng.random() < 0.4:
        text = rng.choice(WORDS)
    if rng.random() < 0.2:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(["(", ")", "'", "\\", "\0", "L", ",", "{", "\xe9", "#", "9" * 30]) + text[at:]
    length = rng.choice([None, None, None, 0, len(text) + 1, len(text) - 1, 2**31, 2**32 - 1])
    version = rng.choice([(1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 1), (255, 255)])
    return header(text, version, length if length is None else max(length, 0)) + data


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bits turned, a piece cut out, doubled, exchanged for noise, or something after the end."""
    at, length = rng.randrange(len(content) + 1), rng.choice([1, 1, 2, 4, 40])
    noise = rng.choice([rng.randbytes(length), b"\xff" * length, b"\0" * length])
    return rng.choice(
        [
            content[:at] + noise + content[at + length :],
            content[:at] + noise + content[at + length :],
            content[:at],
            content[:at] + content[at + length :],
            content[: at + length] + content[at:],
            content + noise,
            noise + content,
        ]
    )


def bomb(rng: random.Random) -> bytes:
    """Much for little: zeros, and an archive of them."""
    array = as_npy(np.zeros((rng.choice([1000, 30_000]), 20), np.uint8))
    return rng.choice([array, as_npz([("X.npy", array)], rng)])


def as_npz(members: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    """An archive of these members, packed in any way."""
    file = io.BytesIO()
    kinds = [zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, 14]
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w", rng.choice(kinds)) as archive:
        for name, content in members:
            archive.writestr(name, content)
        if rng.random() < 0.1:
            archive.comment = rng.randbytes(rng.randint(1, 60))
    return file.getvalue()


def damage_archive(rng: random.Random, content: bytes) -> bytes:
    """One field of a header, of the directory or of the end says something else."""
    fields = {
        b"PK\3\4": [(4, "H"), (6, "H"), (8, "H"), (14, "I"), (18, "I"), (22, "I"), (26, "H"), (28, "H")],
        b"PK\1\2": [(6, "H"), (8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (30, "H"), (42, "I")],
        b"PK\5\6": [(4, "H"), (8, "H"), (10, "H"), (12, "I"), (16, "I"), (20, "H")],
    }
    for _ in range(rng.randint(1, 3)):
        signature = rng.choice(list(fields))
        places = [i for i in range(len(content) - 3) if content[i : i + 4] == signature] if len(content) < 9000 else []
        if not places:
            continue
        offset, kind = rng.choice(fields[signature])
        at, size = rng.choice(places) + offset, struct.calcsize(kind)
        now = int.from_bytes(content[at : at + size], "little")
        value = rng.choice([0, 1, 8, 12, 99, now + 1, now - 1, 2 * now, 2**15, 2**31 - 1, 2**31, 2**32 - 1])
        content = content[:at] + (value % (1 << (8 * size))).to_bytes(size, "little") + content[at + size :]
    return content


def case(number: int) -> tuple[str, bytes]:
    """Name and content of the file of this number."""
    rng = random.Random(number)
    X = whole_array(rng)
    content = as_npy(X)
    match rng.randrange(10):
        case 0:
            return "a.npy", content
        case 1 | 2:
            return "a.npy", damaged_header(rng, X.tobytes())
        case 3 | 4:
            return "a.npy", damage_bytes(rng, content)
    y = as_npy(whole_target(rng, len(X) + (rng.random() < 0.1)))
    members = [("X.npy", content), ("y.npy", y)]
    inside = rng.randrange(8)
    if inside == 0:
        members[rng.randrange(2)] = (rng.choice(["X.npy", "y.npy"]), damaged_header(rng, X.tobytes()))
    elif inside == 1:
        members = [(name, damage_bytes(rng, part)) for name, part in members]
    elif inside == 2:
        members = [(rng.choice(NAMES) + rng.choice([".npy", ".npy", ".txt"]), part) for _, part in members]
    elif inside == 3:
        members.append(
            (rng.choice(["X.npy", "y.npy", "z.npy"]), rng.choice([as_npz(members, rng), b"", b"\x80\x04]\x94."]))
        )
    elif inside == 4:
        return rng.choice(["a.npy", "a.npz"]), bomb(rng)
    archive = as_npz(members, rng)
    outside = rng.randrange(6)
    if outside == 0:
        archive = damage_bytes(rng, archive)
    elif outside < 4:
        archive = damage_archive(rng, archive)
    return ("a.npy" if rng.random() < 0.02 else "a.npz"), archive


def outcome(path: Path) -> str:
    """The outcome of reading the file: "read", "refused", or what went wrong."""
    tracemalloc.start()
    start, size = time.process_time(), path.stat().st_size
    try:
        table = read_table(path, need_target=False)
        parts = list(table.columns.values()) if table.matrix is None else [table.matrix]
        said = "read" if not any(np.isinf(part).any() for part in parts) else "read, with inf"
        if table.matrix is not None and not np.isfinite(table.matrix).all():
            said = "read, with nan in a matrix"
        size = max(size, sum(part.nbytes for part in parts))
    except (DataError, OptionError) as error:
        said = "refused" if "\n" not in error.message and len(error.message) < 1000 else f"words: {error!s:.300}"
        if str(path) not in error.message:
            said = f"a message without the file: {error!s:.200}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{type(error).__name__}: {error!s:.200}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if peak > 2 * size + MEMORY:
        return f"{said}, with {peak:,} bytes for {size:,}"
    took = time.process_time() - start
    return said if took < SECONDS else f"{said}, after {took:.1f} s"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were read and refused, and what went wrong, by number."""
    tally = Tally("read", "refused")
    whole = io.BytesIO()
    np.savez(whole, X=np.ones((2, 2)), y=np.array(["a", "b"]))
    (folder / "a.npz").write_bytes(whole.getvalue())
    outcome(folder / "a.npz")  # imports and caches do not count as memory of a case
    (folder / "a.npz").unlink()
    with contextlib.chdir(folder):  # in which anything that was executed would leave a file
        for number in numbers:
            name, content = case(number)
            path = folder / name
            path.write_bytes(content)
            said = outcome(path)
            path.unlink()
            if left := list(folder.iterdir()):
                said = f"{said}, and there is {left[0].name!r}"
            tally.add(number, said)
    return tally.result()
