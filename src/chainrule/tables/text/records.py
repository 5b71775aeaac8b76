"""Rows of delimited text by the csv module, block by block, with the lines on which they begin."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator

from chainrule.errors import DataError
from chainrule.tables.text.blocks import Blocks, lines_of

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a pipe"}
NO_HEADER = -1


class Records:
    """Reads rows, the header among them, and refuses those that are not as wide as it.

    Parameters
    ----------
    refuse : makes the error of a message and a hint

    Attributes
    ----------
    line : where the next row begins, from 1
    width : cells of a row; NO_HEADER before the header
    """

    def __init__(self, blocks: Blocks, delimiter: str, refuse: Callable[[str, str], DataError]) -> None:
        self._blocks, self._delimiter, self._refuse = blocks, delimiter, refuse
        self.line, self.width = 1, NO_HEADER
        self._gap = 0  # the first of the empty lines before this one

    def of(self, block: bytes) -> Iterator[tuple[int, list[str]]]:
        """The rows that begin in the block, with their lines. A quoted cell may end in a later block, which is read."""
        lines = _Lines(block, self._blocks)
        reader = csv.reader(iter(lines), delimiter=self._delimiter, strict=True, skipinitialspace=True)
        before = self.line - 1
        try:
            for row in reader:
                if (len(row) == self.width and not self._gap) or self._is_row(row):
                    yield self.line, row
                self.line = before + reader.line_num + 1
                if reader.line_num == lines.n:  # further lines would be those of the next block
                    return
        except csv.Error as error:
            open_quote = "unexpected end of data" in str(error)
            what = "its quote is not closed" if open_quote else str(error)
            hint = "look for a double quote without its partner" if open_quote or "limit" in what else ""
            raise self._refuse(f"line {self.line}: the row that begins here cannot be read: {what}", hint) from None

    def skip(self, n_rows: int) -> None:
        """Go on behind so many rows of a line each, which were read otherwise."""
        self.line += n_rows

    def _is_row(self, row: list[str]) -> bool:
        """Whether this is a row, and not an empty line; a row of another width is refused."""
        if len(row) == self.width:
            if self.width == 1:  # with more columns an empty line can be no row
                raise self._refuse(f"line {self._gap}: expected a value, got an empty line", "")
            self._gap = 0
            return True
        if not row or (self.width != 1 and len(row) == 1 and not row[0].strip()):
            self._gap = self._gap or self.line
            return False
        if self.width != NO_HEADER:
            raise self._refuse(
                f"line {self.line}: expected {self.width} cells, got {len(row)}, as in "
                f"the header (cells are separated by {DELIMITERS[self._delimiter]})",
                "",
            )
        self.width, self._gap = len(row), 0
        return True


class _Lines:
    """The lines of a block, and of those behind it for as long as anybody asks; ``n`` are known so far."""

    def __init__(self, block: bytes, blocks: Blocks) -> None:
        self._block, self._blocks, self.n = block, blocks, 0

    def __iter__(self) -> Iterator[str]:
        block = self._block
        while block:
            lines = lines_of(block)
            self.n += len(lines)
            yield from lines
            block = self._blocks.next()
