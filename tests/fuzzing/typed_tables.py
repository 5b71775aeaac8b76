"""Arrow, Feather and Parquet files of columns of any type, and such files with some bytes changed."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import functools
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from campaigns.damage import damage_bytes
from chainrule.errors import DataError, OptionError
from fuzzing import values
from fuzzing.choices import Choices
from fuzzing.limits import Outcome, outcome_of
from fuzzing.targets import Target
from fuzzing.text_tables import CELLS, use_table

TYPES = [
    pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(),
    pa.large_string(), pa.string_view(), pa.binary(), pa.binary(3), pa.null(), pa.date32(), pa.date64(),
    pa.timestamp("ns"), pa.timestamp("s", "Europe/Vienna"), pa.time32("s"), pa.duration("us"), pa.decimal128(9, 2),
    pa.decimal256(60, 3), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.float64()),
    pa.list_(pa.int8()), pa.list_(pa.float32(), 2), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()),
    pa.run_end_encoded(pa.int16(), pa.string()), pa.month_day_nano_interval(),
]  # fmt: skip


def _cell(choices: Choices, kind: Any) -> Any:
    """A value that may well be of this type; None for a hole."""
    if choices.randrange(6) == 0:
        return None
    n = values.real(choices)
    whole = int(n) % (1 << 16) if abs(n) < 1e300 else 0
    text = choices.choice([*CELLS, values.text(choices, 9)])
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return whole % 100 if choices.randrange(2) else int(whole)
    if pa.types.is_floating(kind):
        return n
    if pa.types.is_decimal(kind):
        return decimal.Decimal(whole) / 100
    if pa.types.is_boolean(kind):
        return bool(whole % 2)
    if pa.types.is_temporal(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        moment = datetime.datetime(2026, 11, 23) + datetime.timedelta(seconds=whole)
        return text.encode("utf-8", "replace")[:3].ljust(3) if "binary" in str(kind) else moment
    nested = {"list": [whole % 9] * 2, "fixe": [1.5, 2.5], "stru": {"a": whole % 9}, "map<": [("k", 1)]}
    return nested.get(str(kind)[:4], text)


def column(choices: Choices, n: int) -> pa.ChunkedArray:
    """A column of a drawn type, in one part or two; of text where such values are not of the type."""
    kind = choices.choice(TYPES)
    cells = [_cell(choices, kind) for _ in range(n)]
    if pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        cells = [None if cell is None else i for i, cell in enumerate(cells)]
    try:
        made = pa.array(cells, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        made = pa.array([None if cell is None else str(cell).encode("utf-8", "replace").decode() for cell in cells])
    cut = choices.randrange(n + 1)
    return pa.chunked_array([made[:cut], made[cut:]]) if choices.randrange(3) == 0 else pa.chunked_array([made])


def table(choices: Choices) -> pa.Table:
    """Up to four columns of up to seven rows, whose names may be the same, empty or odd."""
    n = choices.randrange(8)
    columns = [column(choices, n) for _ in range(choices.choice([1, 2, 3, 4, 0]))]
    names = [f"c{j}" if choices.randrange(4) else values.text(choices, 8) for j in range(len(columns))]
    names = [name.encode("utf-8", "replace").decode() for name in names]
    return pa.table(columns, names=names)


class TypedTables(Target):
    """A file of one kind, read, read again like itself, and encoded."""

    good = frozenset({"read", "refused", "not written"})

    def __init__(self, folder: Any, ending: str) -> None:
        super().__init__(folder)
        self.ending = ending

    def seeds(self) -> list[bytes]:
        small = self._written(pa.table({"a": [1.5, None], "b": ["x", "y"], "y": [1, 2]}), Choices(b""))
        return [b"\0" + small] + [bytes([1 + i % 2, 3, *([i] * 3), *range(50)]) for i in range(24)]

    def _written(self, whole: pa.Table, choices: Choices) -> bytes:
        sink = pa.BufferOutputStream()
        if self.ending == ".parquet":
            pa.parquet.write_table(
                whole,
                sink,
                compression=choices.choice(["none", "snappy", "zstd"]),
                use_dictionary=bool(choices.randrange(2)),
                version=choices.choice(["1.0", "2.6"]),
                data_page_version=choices.choice(["1.0", "2.0"]),
                store_schema=bool(choices.randrange(2)),
            )
        elif choices.randrange(3) == 0:
            with pa.ipc.new_stream(sink, whole.schema) as writer:
                writer.write_table(whole)
        else:
            packed = choices.choice(["uncompressed", "lz4", "zstd"])
            pa.feather.write_feather(whole, sink, compression=packed, chunksize=2 + choices.randrange(9))
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def outcome(self, data: bytes) -> Outcome:
        choices = Choices(data)
        how, content = choices.randrange(3), b""
        if how == 0:
            content = choices.rest()
        else:
            with contextlib.suppress(pa.ArrowException, OSError, ValueError):  # such a column has no form there
                content = self._written(table(choices), choices)
            if not content:
                return Outcome("not written")
        if how == 2:
            content = damage_bytes(choices, content)
        path = self.folder / f"t{self.ending}"
        path.write_bytes(content)
        return outcome_of(lambda: use_table(path), refusal=(DataError, OptionError))


ArrowFiles = functools.partial(TypedTables, ending=".arrow")
ParquetFiles = functools.partial(TypedTables, ending=".parquet")
