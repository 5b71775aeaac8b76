"""Names from files and users as plain text: without control characters, and in CSV without formulas."""

from __future__ import annotations

import re

# What spreadsheets take for a formula: a cell that begins with one of these, the full-width ones included. A program
# that splits lines at another sign, or does not know quotes, begins cells inside of ours.
FORMULA = re.compile("(^|[,;|\"'])(\\s*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])")
# A number, or a sign alone, as classes are called in many tables: neither is computed.
HARMLESS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[=+@-]", re.ASCII)
LONGEST = 60  # characters of a value in a message


def printable(text: str) -> str:
    """``text`` with control characters, and all else that does not print, spelt out: an escape as ``\\x1b``.

    A name may come from anywhere, and terminals, logs and readers obey what they should only show.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelt_out(c) for c in text)


def _spelt_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def show(value: object) -> str:
    """The repr for a message: on one line, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"<{type(value).__name__} of too many digits>"
    return text if len(text) <= LONGEST else f"{text[:48]}... ({len(text)} characters)"


def csv_cell(text: str) -> str:
    """``text`` as a cell that no spreadsheet computes: printable, with a ``'`` before each sign that begins a formula.

    Numbers stay as they are, and a sign alone: ``-1.5``, ``+``. Source: OWASP, CSV Injection.
    """
    text = printable(text)
    return text if HARMLESS.fullmatch(text) else FORMULA.sub(r"\1'\2", text)
