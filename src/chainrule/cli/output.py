"""Streams: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.train.loggers import plain


def say(label: str, text: str) -> None:
    """One line on stderr: a word, padded, and what there is to say.

    Where nobody reads it any more (a pipe or a terminal that has gone), nothing is said from now on: no work is lost
    for want of a reader.
    """
    try:
        print(f"{label:<8} {printable(text)}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def result(text: str) -> None:
    """One line of a command's result on stdout."""
    print(printable(text))


def result_json(value: Mapping[str, Any]) -> None:
    """A command's result as one JSON object on one line, with escapes for all that is not printable."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    print(text if text.isprintable() else json.dumps(plain(value), allow_nan=False))


def result_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text in columns, as wide as they need to be."""
    cells = [[cut(printable(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells)))]
    for row in cells:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip())


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """A table of numbers as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[j]) for row in table) for j in range(len(table[0]))]
    padded = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in table]
    return ["  ".join(row).rstrip() for row in padded]


def cut(text: str, longest: int = 1000) -> str:
    """``text``, and of a very long one the beginning: files may hold names of any length."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def printable(text: str) -> str:
    """``text`` without control characters: a column name may come from anywhere, and a terminal obeys escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
