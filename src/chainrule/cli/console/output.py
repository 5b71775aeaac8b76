"""Streams: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from chainrule.files.descriptors import path_in_errors
from chainrule.json_values import json_text, plain
from chainrule.plain_text import printable, table_lines

Say: TypeAlias = Callable[[str, str], None]


def say(label: str, text: str) -> None:
    """One line on stderr: a word, padded, and a text."""
    complain(f"{label:<8} {printable(text)}")


def speaker(*, quiet: bool) -> Say:
    """:func:`say`, or nothing with ``quiet``."""
    return (lambda *_: None) if quiet else say


@contextlib.contextmanager
def warnings_as_notes(say: Say) -> Iterator[None]:
    """Each UserWarning is a line of ``say``; run.json has those of a fit by ``Run.notes``."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, UserWarning):
                say("note", str(message))
            else:
                shown(message, category, *place, **options)

        warnings.showwarning = show
        yield


def complain(line: str) -> None:
    """One line on stderr.

    If nobody reads it any more (a pipe or a terminal that has gone), nothing is said from now on: no work is lost
    for want of a reader.
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def last_words(*lines: str) -> None:
    """Lines on stderr within a signal handler, just before the process ends; empty ones are left out.

    By the descriptor, since the stream may be in the middle of a line; not if a pipe is full, since nothing may wait.
    A progress line has hidden the cursor of a terminal.
    """
    number = 2
    with contextlib.suppress(OSError, ValueError):
        if os.name == "posix" and number not in select.select([], [number], [], 0)[1]:
            return
        begin = "\r\x1b[K\x1b[?25h" if os.isatty(number) else ""
        text = "".join(f"{cut(printable(line))}\n" for line in lines if line)
        os.write(number, f"{begin}{text}".encode("utf-8", "backslashreplace"))


def silence(stream: TextIO) -> None:
    """What is written to it from now on goes nowhere, what it still holds included."""
    number = os.open(os.devnull, os.O_WRONLY)
    os.dup2(number, stream.fileno())
    os.close(number)


def open_closed() -> None:
    """Streams that were closed before the process began (``>&-``) go nowhere.

    Else there would be none to write to, and the first file to be opened would have the number of one: what a library
    in C says on stderr (LLVM's warnings) would be written into a model.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # has the lowest number that is free
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


def result(text: str) -> None:
    """One line of a command's result on stdout, with escapes for what its encoding has not."""
    write(f"{_encodable(printable(text))}\n")


def write(text: str) -> None:
    """``text`` on stdout as it is; an OSError says that it was stdout, also if its encoding lacks a character."""
    with path_in_errors("stdout"):
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError as error:
            what = f"its encoding, {error.encoding}, has no {error.object[error.start]!a}"
            raise OSError(errno.EILSEQ, f"{what}: set PYTHONIOENCODING=utf-8") from error


def _encodable(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def result_json(value: Mapping[str, Any]) -> None:
    """A command's result as one JSON object on one line, with escapes for all that is not printable."""
    text = json_text(value)
    write(f"{text if _encodable(text) == text else json.dumps(plain(value), allow_nan=False)}\n")


def result_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text in columns, as wide as they need to be."""
    for line in table_lines([[cut(printable(cell)) for cell in row] for row in rows]):
        result(line)


def command(word: str, path: Path) -> str:
    """``chainrule WORD PATH`` as a shell takes it, whatever the path is called."""
    text = f"./{path}" if str(path).startswith("-") else str(path)
    return f"chainrule {word} {shlex.quote(text) if text.isprintable() else _spelt_out(text)}"


def _spelt_out(text: str) -> str:
    """As bash, ksh, zsh and POSIX since 2024 read it: bytes by three octal digits, which end where the next begins."""
    plain = (c if c.isprintable() and c not in "\\'" else "".join(f"\\{b:03o}" for b in os.fsencode(c)) for c in text)
    return f"$'{''.join(plain)}'"


def cut(text: str, longest: int = 1000) -> str:
    """``text``, and of a very long one the beginning: files may hold names of any length."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
