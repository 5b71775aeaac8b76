"""The columns of a Parquet, Arrow or Feather file, read on demand: a few at a time, each of them once.

Text stays dictionary-encoded: a file may hold a million rows of one long text in a few hundred bytes, and so do codes.
The claims of a file are compared with the free memory before any of it is read.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from chainrule.host_memory import require_free_memory
from chainrule.tables.frames.arrow_claims import check_rows, read_claims
from chainrule.tables.frames.foreign_columns import arrow_module, dictionary_encoded, is_arrow_text

CELLS_AT_ONCE = 1 << 22  # in memory besides the columns that are made of them
CELL_BYTES = 8  # of a table: a number, or a code and the Arrow index it is made of
USUAL_COMPRESSION = 16  # bytes per byte of a Parquet file, up to which its row groups are not checked
LARGE_BUFFERS = 2  # of a column, that may be as large as the largest: the offsets of texts, and the texts


class ColumnsOfFile(abc.ABC):
    """The columns of a file by position.

    Attributes
    ----------
    column_names, num_rows : of the file
    texts : names of the columns whose type is text, even if it is read as codes
    largest : bytes of the largest piece that is decompressed as a whole
    """

    column_names: list[str]
    num_rows: int
    texts: frozenset[str]
    largest: int

    def choose(self, order: Sequence[int], *, doing: str) -> None:
        """Announce which columns will be read, in which order.

        OutOfMemoryError if they take more than the free memory.
        """
        self._place = {position: i for i, position in enumerate(order)}
        self._order, self._read = list(order), dict[int, Any]()
        self._at_once = max(1, CELLS_AT_ONCE // max(1, self.num_rows))
        needed = (
            self.num_rows * CELL_BYTES * (len(order) + min(self._at_once, len(order))) + LARGE_BUFFERS * self.largest
        )
        require_free_memory(needed, doing=doing)

    def column(self, position: int) -> Any:
        """The column at this position as a chunked array, to which no reference is kept here."""
        if position not in self._read:
            first = self._place[position]
            wanted = self._order[first : first + self._at_once]
            # Arrow keeps freed memory, in the end half a table.
            arrow_module("pyarrow").default_memory_pool().release_unused()
            self._read = dict(zip(wanted, self._columns(wanted), strict=True))
        return self._read.pop(position)

    @abc.abstractmethod
    def _columns(self, positions: Sequence[int]) -> list[Any]: ...


class ParquetColumns(ColumnsOfFile):
    """Of a Parquet file."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        parquet = arrow_module("pyarrow.parquet")
        metadata = parquet.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        texts = _texts_of(schema)
        self._parquet = parquet.ParquetFile(file, metadata=metadata, read_dictionary=sorted(texts))
        self.column_names, self.num_rows, self.texts = schema.names, metadata.num_rows, texts
        size = file.seek(0, os.SEEK_END)
        check_rows(self.num_rows, size, source)
        # By row group: pyarrow ends the process if the metadata of a column contradicts the schema. In a file that
        # compresses as real data do, a page of a column is small beside the table.
        groups = (metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        self.largest = max((group for group in groups if group > USUAL_COMPRESSION * size), default=0)

    def _columns(self, positions: Sequence[int]) -> list[Any]:
        names = [self.column_names[i] for i in positions]
        content = self._parquet.read(columns=names)  # "a" also reads "a.b"
        return [content.column(name) for name in names]


class IpcColumns(ColumnsOfFile):
    """Of an Arrow file or stream; Feather is such a file."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file = file
        self.num_rows, self.largest = read_claims(file, source)
        schema = self._open(None).schema
        self.column_names, self.texts = schema.names, _texts_of(schema)

    def _columns(self, positions: Sequence[int]) -> list[Any]:
        pa = arrow_module("pyarrow")
        reader, ascending = self._open(sorted(positions)), sorted(positions)
        chunks: list[list[Any]] = [[] for _ in ascending]
        for batch in _batches(reader):
            batch.validate(full=True)  # else Arrow trusts the offsets of text, and reads wherever they point
            for chunk, array in zip(chunks, batch.columns, strict=True):
                chunk.append(dictionary_encoded(array))
        found = dict(zip(ascending, map(pa.chunked_array, chunks), strict=True))
        return [found[position] for position in positions]

    def _open(self, fields: list[int] | None) -> Any:
        ipc = arrow_module("pyarrow.ipc")
        options = ipc.IpcReadOptions(included_fields=fields or [])
        self._file.seek(0)
        try:
            return ipc.open_file(self._file, options=options)
        except arrow_module("pyarrow").ArrowInvalid:
            self._file.seek(0)
            return ipc.open_stream(self._file, options=options)


def _batches(reader: Any) -> Any:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def _texts_of(schema: Any) -> frozenset[str]:
    return frozenset(field.name for field in schema if is_arrow_text(field.type))
