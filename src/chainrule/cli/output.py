"""Streams: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from chainrule.open_file import naming
from chainrule.train.loggers import plain


def say(label: str, text: str) -> None:
    """One line on stderr: a word, padded, and what there is to say."""
    complain(f"{label:<8} {printable(text)}")


def complain(line: str) -> None:
    """One line on stderr.

    Where nobody reads it any more (a pipe or a terminal that has gone), nothing is said from now on: no work is lost
    for want of a reader.
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is written to it from now on goes nowhere, what it still holds included."""
    number = os.open(os.devnull, os.O_WRONLY)
    os.dup2(number, stream.fileno())
    os.close(number)


def open_closed() -> None:
    """Streams that were closed before the process began (``>&-``) go nowhere.

    Else there would be none to write to, and the first file to be opened would have the number of one.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


def result(text: str) -> None:
    """One line of a command's result on stdout."""
    write(f"{printable(text)}\n")


def write(text: str) -> None:
    """``text`` on stdout as it is; an OSError says that it was stdout."""
    with naming("stdout"):
        sys.stdout.write(text)


def result_json(value: Mapping[str, Any]) -> None:
    """A command's result as one JSON object on one line, with escapes for all that is not printable."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    write(f"{text if text.isprintable() else json.dumps(plain(value), allow_nan=False)}\n")


def result_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text in columns, as wide as they need to be."""
    cells = [[cut(printable(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells)))]
    for row in cells:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        write(f"{line.rstrip()}\n")


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """A table of numbers as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[j]) for row in table) for j in range(len(table[0]))]
    padded = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in table]
    return ["  ".join(row).rstrip() for row in padded]


def command(word: str, path: Path) -> str:
    """``chainrule WORD PATH`` as a shell takes it, whatever the path is called."""
    text = str(path)
    return f"chainrule {word} {shlex.quote(f'./{text}' if text.startswith('-') else text)}"


def cut(text: str, longest: int = 1000) -> str:
    """``text``, and of a very long one the beginning: files may hold names of any length."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def printable(text: str) -> str:
    """``text`` without control characters: a column name may come from anywhere, and a terminal obeys escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
