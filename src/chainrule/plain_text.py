"""Names from files and users as plain text: without control characters, and without formulas in CSV."""

from __future__ import annotations

import re

# Spreadsheets take a cell for a formula that begins with one of these, full-width forms included. A program that splits
# lines at another sign, or knows no quotes, also begins cells within ours.
FORMULA = re.compile("(^|[,;|\"'])(\\s*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])")
# Not computed: a number, or a sign alone, which many tables have as a class.
HARMLESS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[=+@-]", re.ASCII)
MAX_SHOWN = 60  # characters of a value in a message


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


def csv_cell(text: str) -> str:
    """``text`` as a cell that no spreadsheet computes: printable, with a ``'`` before each sign that begins a formula.

    Numbers and single signs (``-1.5``, ``+``) are unchanged. Source: OWASP, CSV Injection.
    """
    text = printable(text)
    return text if HARMLESS.fullmatch(text) else FORMULA.sub(r"\1'\2", text)
