"""Nasty text files, read in blocks and cell by cell: the same table to the last bit, or the same refusal.

Each case draws columns (numbers in all forms that ``float`` and people know, words for holes, text, dates, truths),
a dialect (delimiter, ends of lines, encoding, quotes, spaces, empty lines) and sometimes a row of another width, and
reads the file by blocks of a few bytes and by whole ones, and once with the csv module alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

import chainrule as cr
from campaigns.tally import Tally
from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.notation import MISSING, Notation

TITLE = "nasty text files, in blocks and cell by cell"
CASES = 5_000

Cell = Callable[[random.Random], str]
SIGNS = "0123456789.,-+eE '\u2019\xa0_"
ODD = [
    "inf",
    "-Infinity",
    "1e999",
    "1e-999",
    "-0",
    "+.5",
    "5.",
    ".",
    "-",
    "+",
    "e5",
    "1e",
    "1e+",
    "1.2.3",
    "--1",
    "1_000",
    "0x10",
    "\u0661\u0662",
    "True",
    "false",
    "2026-11-30",
    "1/2/26",
    "1 kg",
    "nan ",
    "NaN.",
    "None",
    "<NA>",
    "1.5e3.2",
    "1,234",
    "1.234",
    "1 234",
    "12,34",
    "9007199254740993",
    "18446744073709551616",
    "0.1e1",
    "1E5",
    "\t7",
    "7\x0b",
    "\x1f3",
    "\u20282",
    "2\x85",
    "\xa05",
    "0" * 30 + "1",
    "1" + "0" * 30,
    "0." + "0" * 25 + "7",
    "x" * 50,
    "\u00e9\u00e8",
]


def whole(rng: random.Random) -> str:
    return str(rng.randint(-(10 ** rng.randint(0, 22)), 10 ** rng.randint(0, 22)))


def fixed(rng: random.Random) -> str:
    return f"{rng.gauss(0, 10 ** rng.randint(-3, 6)):.{rng.randint(0, 9)}f}"


def shortest(rng: random.Random) -> str:
    return repr(rng.gauss(0, 1) * 10.0 ** rng.choice([0, 0, 0, rng.randint(-300, 300)]))


def scientific(rng: random.Random) -> str:
    return f"{rng.gauss(0, 10.0 ** rng.randint(-30, 30)):.{rng.randint(0, 20)}{rng.choice('eE')}}"


def between(rng: random.Random) -> str:
    """Near the middle between two neighbours of float64, where the last bit is hard to find."""
    number = abs(rng.gauss(0, 1)) * 10.0 ** rng.randint(-3, 12)
    low, high = (int(part * 2**80) for part in (number, math.nextafter(number, math.inf)))
    digits = f"{(low + high) * 5**81:d}".rjust(82, "0")
    return f"{digits[:-81]}.{digits[-81:]}"[: rng.randint(16, 30)]


def three_places(rng: random.Random) -> str:
    return f"{rng.choice([1, 12, 123, 0, 1234])}.{rng.randint(0, 999):03}"


def comma(rng: random.Random) -> str:
    return fixed(rng).replace(".", ",")


def thousands(rng: random.Random) -> str:
    return f"{rng.randint(-(10**8), 10**8):,}".replace(",", rng.choice([".", " ", "'"]))


def word(rng: random.Random) -> str:
    return rng.choice(["red", "blue", "Zürich", "a b", "#1", "日本", "7", "7.0"])


def odd(rng: random.Random) -> str:
    return rng.choice(ODD) if rng.random() < 0.7 else "".join(rng.choices(SIGNS, k=rng.randint(0, 9)))


KINDS: list[Cell] = [whole, fixed, shortest, scientific, between, three_places, comma, thousands, word]


def column(rng: random.Random, n: int) -> list[str]:
    """Cells of mostly one kind."""
    kind, holes, others = rng.choice(KINDS), rng.choice([0, 0, 0.1, 0.9]), rng.choice([0, 0, 0, 0, 0, 0, 0.02, 0.2])
    cells = [kind(rng) for _ in range(n)]
    spaces = rng.choice([0, 0, 0, 0.3])
    for i in range(n):
        if rng.random() < holes:
            cells[i] = rng.choice([*sorted(MISSING), ""])
        if rng.random() < others:
            cells[i] = rng.choice([odd, *KINDS])(rng)
        if rng.random() < spaces:
            cells[i] = " " * rng.choice([0, 1, 2, 20]) + cells[i] + " " * rng.choice([0, 1, 19])
    return cells


def quoted(rng: random.Random, cell: str, share: float, delimiter: str) -> str:
    """The cell as it stands in the file; now and then in a way that no file may have."""
    if any(sign in cell for sign in (delimiter, "\n", "\r", '"')) or rng.random() < share:
        return '"' + cell.replace('"', '""') + '"' if rng.random() < 0.999 else f'"{cell}'
    return cell


def content(rng: random.Random) -> bytes:
    """A file."""
    n, width, delimiter = rng.randint(1, 60), rng.choice([1, 2, 3, 3, 5]), rng.choice(",,,;;\t|")
    columns = [column(rng, n) for _ in range(width)]
    end, quotes = rng.choice(["\n", "\n", "\n", "\r\n", "\r\n", "\r", "\r\r\n"]), rng.choice([0, 0, 0, 0, 0.02, 1])
    lines = [delimiter.join(f"c{j}" for j in range(width))]
    for row in zip(*columns, strict=True):
        lines.append(delimiter.join(quoted(rng, cell, quotes, delimiter) for cell in row))
        if rng.random() < rng.choice([0, 0, 0, 0, 0, 0.02]):
            lines.append(
                rng.choice(
                    [
                        "",
                        "",
                        "  ",
                        delimiter * (width - 1),
                        delimiter,
                        "1",
                        lines[-1] + delimiter,
                        '"a\nb"',
                        "\x00"[: n % 2],
                    ]
                )
            )
    ends = [end if rng.random() < 0.999 else rng.choice(["\n", "\r", "\r\n"]) for _ in lines]
    text = "".join(map(str.__add__, lines, ends))
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"])
    return (text.rstrip("\r\n") if rng.random() < 0.2 else text).encode(encoding, "replace")


def options(rng: random.Random) -> dict[str, object]:
    """What a reader is asked for."""
    found: dict[str, object] = {
        "target": rng.choice(["c0", "c1", "-1", "none", "none"]),
        "need_target": rng.random() < 0.2,
    }
    if rng.random() < 0.1:
        found["categorical"] = ["c0"]
    if rng.random() < 0.1:
        found["drop"] = ["c2"]
    return found


def reading(path: Path, arguments: dict[str, object]) -> tuple[object, ...]:
    """All that a reading says."""
    try:
        table = cr.read_table(path, **arguments)  # type: ignore[arg-type]
    except (DataError, OptionError) as error:
        return ("refused", str(error))
    columns = [
        (name, data.names, data.codes.tobytes()) if isinstance(data, Categorical) else (name, data.tobytes())
        for name, data in table.columns.items()
    ]
    target = table.target
    of_target = None if target is None else (target.dtype.str, [(type(y), y) for y in np.asarray(target).tolist()])
    notations = {name: signs(notation) for name, notation in table.columns.notations.items()}
    return ("read", columns, of_target, notations, signs(table.columns.target_notation), table.notes)


def signs(notation: Notation | None) -> tuple[str, str] | None:
    return None if notation is None else (notation.decimal, notation.thousands)


def outcome(number: int, folder: Path) -> str:
    """The outcome of a case."""
    from chainrule.tables.text import blocks, fill_builders
    from chainrule.tables.text.plain_rows import PlainRows

    rng, path = random.Random(number), folder / "t.csv"
    path.write_bytes(content(rng))
    arguments = options(rng)
    small = {"CELLS_PER_PART": rng.choice([1, 20]), "MIN_ROWS": rng.choice([1, 3])}
    found = []
    for size in (rng.choice([1, 7, 40]), 300, blocks.SIZE):
        with mock.patch.multiple(fill_builders, **small), mock.patch.object(blocks, "SIZE", size):
            found.append(reading(path, arguments))
    with mock.patch.object(PlainRows, "of", return_value=None):
        by_cell = reading(path, arguments)
    if any(one != by_cell for one in found):
        return f"{next(one for one in found if one != by_cell)} is not {by_cell}"
    return "the same table" if by_cell[0] == "read" else "the same refusal"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """The count of each outcome, and what went wrong, by number."""
    tally = Tally("the same table", "the same refusal")
    for number in numbers:
        tally.add(number, outcome(number, folder))
    return tally.result()
