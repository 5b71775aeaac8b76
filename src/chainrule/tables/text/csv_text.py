"""Delimited text as rows: encoding, delimiter, header."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from chainrule.errors import DataError
from chainrule.plain_text import show
from chainrule.tables.choose_columns import show_names
from chainrule.tables.text.blocks import Blocks
from chainrule.tables.text.plain_rows import PlainRows
from chainrule.tables.text.records import DELIMITERS, Records

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WESTERN = "cp1252"  # Windows-1252: latin-1 with letters in place of control characters
BLOCK = 1 << 18  # bytes checked at a time
LONGEST_LINE = 1 << 24  # characters of a line of the header: 250,000 names of sixty
ROWS_PER_BLOCK = 4  # at least, of a very wide table
LONGEST_HEADER = 1 << 20  # characters of several lines; a quote that is still open then was never closed


class CsvText:
    """A text file with a header and records of its width; anything else is a DataError. Each iteration reads it again.

    UTF-8, or UTF-16 with a byte order mark; anything else is read as Windows-1252, with a note.

    Attributes
    ----------
    source : the path, for messages
    notes : assumptions that the user should know of
    names : the columns, stripped of spaces, none empty, all different
    expected_rows : about how many there are, by the first of them; 0 while these are read
    header_line : the line on which the header begins, from 1
    delimiter : comma, semicolon, tab or pipe, whichever is most frequent in the header outside quotes. csv.Sniffer
        guesses from the cells, and errs
    """

    def __init__(self, path: Path) -> None:
        self.source, self._path = str(path), path
        self.notes: list[str] = []
        self.expected_rows = 0
        self._encoding = self._find_encoding()
        self.delimiter = self._choose_delimiter()
        first = next(self._records(), None)
        if first is None:
            raise self._empty()
        self.header_line = first[0]
        self.names = [name.strip() for name in first[1]]
        self._check_names()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each row below the header with the line on which it begins. Empty lines between rows are skipped."""
        return islice(self._records(), 1, None)

    def parts(self, n_rows: int, decimal: Callable[[], str]) -> Iterator[list[list[str]] | PlainRows]:
        """All rows below the header, in parts: rows as lists, the first ``n_rows`` at least, and plain ones.

        Parameters
        ----------
        n_rows : that are lists of one part
        decimal : the decimal sign by which plain rows are read, asked for when a part is
        """
        with Blocks(self._path, self._encoding) as blocks:
            records = Records(blocks, self.delimiter, self.refuse)
            rows = self._first_rows(blocks, records, n_rows)
            next(rows, None)  # the header
            while part := list(islice(rows, n_rows)):
                yield part
            while block := blocks.next():
                plain = self._plain_rows(block, decimal())
                if plain is not None:
                    records.skip(len(plain))
                    yield plain
                    continue
                rows = (row for _, row in records.of(block))
                while part := list(islice(rows, n_rows)):
                    yield part

    def _first_rows(self, blocks: Blocks, records: Records, n_rows: int) -> Iterator[list[str]]:
        """The rows of the first blocks, until they are more than ``n_rows``; from then on blocks have several rows."""
        n = n_bytes = 0
        while n <= n_rows and (block := blocks.next()):
            n_bytes += len(block)
            for _, row in records.of(block):
                n += 1
                yield row
        bytes_per_row = n_bytes / max(1, n)
        blocks.size = max(blocks.size, int(ROWS_PER_BLOCK * bytes_per_row))
        self.expected_rows = int(self._path.stat().st_size / max(1, bytes_per_row))

    def _plain_rows(self, block: bytes, decimal: str) -> PlainRows | None:
        """None also for a single column, in which an empty line may be a hole or none."""
        width = len(self.names)
        return PlainRows.of(block, self.delimiter, decimal, width) if width > 1 else None

    def row(self, index: int) -> tuple[int, list[str]]:
        """The row of that index, from 0."""
        return next(islice(self.rows(), index, None))

    def refuse(self, message: str, hint: str = "") -> DataError:
        """The error to raise, naming the file."""
        return DataError(f"{self.source}, {message}", hint=hint)

    def refuse_cell(self, line: int, row: list[str], column: int, expected: str, hint: str = "") -> DataError:
        """The error for one cell of a row that begins on ``line``."""
        line += sum(len(re.findall(r"\r\n|\r|\n", cell)) for cell in row[:column])
        given = show(row[column].strip()) if row[column].strip() else "an empty cell"
        return self.refuse(f"line {line}, column {show(self.names[column])}: expected {expected}, got {given}", hint)

    def _empty(self) -> DataError:
        return DataError(f"{self.source}: expected a header and rows, got an empty file")

    def _find_encoding(self) -> str:
        with self._path.open("rb") as file:
            head = file.read(4)
        if head in {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}:
            raise self.refuse("line 1: expected text in UTF-8, got UTF-32", "save the file as UTF-8")
        encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "utf-8")
        at = self._first_undecodable(encoding)
        if at is None:
            return encoding
        if encoding == "utf-8" and at[1] != 0 and self._first_undecodable(WESTERN) is None:
            self.notes.append(
                f"{self.source} is not UTF-8 (byte {at[1]:#04x} on line {at[0]}): read as Windows-1252 (latin-1)"
            )
            return WESTERN
        given = "a NUL byte" if at[1] == 0 else f"the byte {at[1]:#04x}"
        expected = f"text in {encoding.removesuffix('-sig').upper()}"
        raise self.refuse(f"line {at[0]}: expected {expected}, got {given}", "save the file as UTF-8")

    def _first_undecodable(self, encoding: str) -> tuple[int, int] | None:
        """Line and value of the first byte that is no text in this encoding; None if all bytes are."""
        decoder = codecs.getincrementaldecoder(encoding)()
        done, memory = 0, bytearray(BLOCK)  # the same for each block: new memory takes longer than to look at it
        with self._path.open("rb") as file:
            while n := file.readinto(memory):
                block = memory if n == BLOCK else memory[:n]
                held = decoder.getstate()[0]  # the start of a character that the end of the last block cut
                nul = block.find(b"\0") if encoding != "utf-16" else -1
                try:
                    if held or nul >= 0 or encoding == "utf-16" or not block.isascii():
                        decoder.decode(bytes(block if nul < 0 else block[:nul]))
                except UnicodeDecodeError as error:
                    return self._line_and_byte(done - len(held) + error.start, encoding)
                if nul >= 0:
                    return self._line_and_byte(done + nul, encoding)
                done += n
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError as error:
                return self._line_and_byte(done - len(error.object) + error.start, encoding)
        return None

    def _line_and_byte(self, position: int, encoding: str) -> tuple[int, int]:
        """The line, from 1, and the value of a byte of the file, before which all is text."""
        decoder = codecs.getincrementaldecoder(encoding)()  # in UTF-16 the byte of a line end may be half of a letter
        line, last, left = 1, "", position
        with self._path.open("rb") as file:
            while left and (block := file.read(min(BLOCK, left))):
                text, left = decoder.decode(block), left - len(block)
                line += _line_ends(text, last)
                last = text[-1:] or last
            return line, file.read(1)[0]

    def _lines(self) -> io.TextIOWrapper:
        return self._path.open(encoding=self._encoding, newline="")

    def _choose_delimiter(self) -> str:
        counts, number = self._count_delimiters()
        most = max(counts.values())
        best = [sign for sign in DELIMITERS if counts[sign] == most]
        if most and len(best) > 1:
            signs = " and ".join(DELIMITERS[sign] for sign in best)
            raise self.refuse(
                f"line {number}: expected one delimiter, got {signs} equally often in the header ({most})",
                "put names that contain the other sign into double quotes",
            )
        return best[0]

    def _count_delimiters(self) -> tuple[dict[str, int], int]:
        """How often each delimiter is in the header outside quotes, and the line on which the header ends."""
        counts = dict.fromkeys(DELIMITERS, 0)
        length, quoted, may_open, number = 0, False, True, 0
        with self._lines() as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), ""), 1):
                if len(line) > LONGEST_LINE:
                    raise self.refuse(
                        f"line {number}: expected a header of at most {LONGEST_LINE:,} characters, got more"
                    )
                for sign in line:
                    if sign == '"' and (quoted or may_open):
                        quoted, may_open = not quoted, True
                        continue
                    if not quoted and sign in counts:
                        counts[sign] += 1
                    may_open = not quoted and (sign in counts or (may_open and sign == " "))
                length += len(line.strip())
                if length > LONGEST_HEADER or (length and not quoted):
                    break
        if not length:
            raise self._empty()
        return counts, number

    def _check_names(self) -> None:
        where = f"line {self.header_line}"
        if "" in self.names:
            position = f"column {self.names.index('') + 1} of {len(self.names)}"
            raise self.refuse(
                f"{where}: {position} has no name", "name every column; one without a name is often the row number"
            )
        if len(set(self.names)) < len(self.names):
            count = dict.fromkeys(self.names, 0)
            for name in self.names:
                count[name] += 1
            twice = show_names([name for name in count if count[name] > 1])
            raise self.refuse(
                f"{where}: expected columns of different names, got {twice} more than once",
                "give each column a name of its own",
            )

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        with Blocks(self._path, self._encoding) as blocks:
            records = Records(blocks, self.delimiter, self.refuse)
            while block := blocks.next():
                yield from records.of(block)


def _line_ends(text: str, last: str) -> int:
    """How many lines end in ``text``, which follows the character ``last``: each of LF, CR and CRLF ends one."""
    return text.count("\n") + text.count("\r") - (last + text).count("\r\n")
