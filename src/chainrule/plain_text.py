"""Plain text: names from files and users without control characters and formulas, and what is listed or counted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# Spreadsheets take a cell for a formula that begins with one of these, full-width forms included. A program that splits
# lines at another sign, or knows no quotes, also begins cells within ours.
FORMULA = re.compile("(^|[,;|\"'])(\\s*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])")
# Not computed: a number, or a sign alone, which many tables have as a class.
HARMLESS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[=+@-]", re.ASCII)
MAX_SHOWN = 60  # characters of a value in a message
NAMES_SHOWN = 8  # of columns or classes, on a line of a repr


def printable(text: str) -> str:
    """``text`` with control characters, and all else that does not print, escaped: ``\\x1b``.

    A name may come from anywhere, and a terminal would obey control characters instead of showing them.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def show(value: object) -> str:
    """The repr of a value for a message: on one line, and cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return f"<{type(value).__name__} of too many digits>"
    return text if len(text) <= MAX_SHOWN else f"{text[:48]}... ({len(text)} characters)"


def list_names(names: Sequence[str], remarks: Mapping[str, str] | None = None) -> str:
    """The first names, each with its remark."""
    listed = ", ".join(show(name) + (remarks or {}).get(name, "") for name in names[:NAMES_SHOWN])
    return listed + ", ..." * (len(names) > NAMES_SHOWN)


def count_of(n: int, noun: str) -> str:
    """``1 class``, ``2 classes``, ``2,000 columns``."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def table_lines(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Rows of text as lines of aligned columns; with ``numbers`` all but the first are aligned to the right.

    A row may have fewer cells than others.
    """
    widths = [max(len(row[j]) for row in rows if j < len(row)) for j in range(max(map(len, rows)))]
    pad = [str.ljust, *[str.rjust if numbers else str.ljust] * (len(widths) - 1)]
    return ["  ".join(f(cell, n) for f, cell, n in zip(pad, row, widths, strict=False)).rstrip() for row in rows]


def csv_cell(text: str) -> str:
    """``text`` as a cell that no spreadsheet computes: printable, with a ``'`` before each sign that begins a formula.

    Numbers and single signs (``-1.5``, ``+``) are unchanged. Source: OWASP, CSV Injection.
    """
    text = printable(text)
    return text if HARMLESS.fullmatch(text) else FORMULA.sub(r"\1'\2", text)
