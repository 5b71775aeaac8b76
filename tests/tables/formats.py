"""Every format that a table may come in: how a case is written in it, or why it cannot hold that case."""

from __future__ import annotations

import csv
import datetime
import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Data = dict[str, list[Any]]


class CannotHoldError(Exception):
    """The format has no room for such values."""


@dataclass(frozen=True)
class Format:
    """``write(data, folder, target)`` gives what ``read_table`` takes. ``needs`` are modules that may be absent."""

    family: str
    write: Callable[[Data, Path, str | None], Any]
    needs: tuple[str, ...] = ()
    comma: bool = False  # decimals are written with one

    @property
    def missing(self) -> str:
        """The first module that is not installed; empty where all are."""
        for name in self.needs:
            try:
                importlib.import_module(name)
            except ImportError:
                return name
        return ""


def written(value: Any, decimal: str = ".") -> str:
    """A value as it stands in a text file."""
    if value is None:
        return ""
    if isinstance(value, float):
        if np.isnan(value):
            return ""
        return repr(value).replace(".", decimal)
    return value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime.datetime) else str(value)


def text_file(
    name: str,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    end: str = "\n",
    quoting: Any = csv.QUOTE_MINIMAL,
    decimal: str = ".",
) -> Callable[[Data, Path, str | None], Path]:
    """A writer of text in one dialect."""

    def write(data: Data, folder: Path, target: str | None) -> Path:
        content = io.StringIO(newline="")
        writer = csv.writer(content, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerow(data)
        writer.writerows([written(value, decimal) for value in row] for row in zip(*data.values(), strict=True))
        (folder / name).write_bytes(content.getvalue().encode(encoding))
        return folder / name

    return write


# ---- DataFrames -----------------------------------------------------------------------------------


def pandas_frame(data: Data, folder: Path, target: str | None) -> Any:
    """As pandas takes Python's values."""
    return importlib.import_module("pandas").DataFrame(data)


def pandas_objects(data: Data, folder: Path, target: str | None) -> Any:
    """Python's values themselves, of no dtype."""
    pd = importlib.import_module("pandas")
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in data.items()})


def pandas_nullable(data: Data, folder: Path, target: str | None) -> Any:
    """With masks for holes."""
    frame = pandas_frame(data, folder, target)
    try:
        return frame.convert_dtypes()
    except (TypeError, OverflowError):  # of complex numbers and very large ones, in pandas before 3
        return frame


def polars_frame(data: Data, folder: Path, target: str | None) -> Any:
    """Strict: what has no common type is refused by Polars itself."""
    pl = importlib.import_module("polars")
    if len({_kind(value) for values in data.values() for value in values} & {"set", "complex"}):
        raise CannotHoldError
    try:
        return pl.DataFrame(data)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise CannotHoldError from error


def arrow_table(data: Data, folder: Path, target: str | None) -> Any:
    """Every column of its own type."""
    pa = importlib.import_module("pyarrow")
    try:
        return pa.table([pa.array(values) for values in data.values()], names=list(data))
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise CannotHoldError from error


def arrow_file(ending: str) -> Callable[[Data, Path, str | None], Path]:
    """A writer of the Arrow table of the same data."""

    def write(data: Data, folder: Path, target: str | None) -> Path:
        pa, table, path = importlib.import_module("pyarrow"), arrow_table(data, folder, target), folder / f"t{ending}"
        try:
            if ending == ".parquet":
                importlib.import_module("pyarrow.parquet").write_table(table, path)
            elif ending == ".feather":
                importlib.import_module("pyarrow.feather").write_feather(table, path)
            else:
                with importlib.import_module("pyarrow.ipc").new_stream(path, table.schema) as writer:
                    writer.write_table(table)
        except pa.ArrowException as error:
            raise CannotHoldError from error
        return path

    return write


def _kind(value: Any) -> str:
    return type(value).__name__


# ---- arrays -----------------------------------------------------------------------------------------


def numbers(values: list[Any]) -> np.ndarray:
    """One column of an array: bool, int64 or float64, nan for None; CannotHoldError for all else."""
    kinds = {type(value) for value in values}
    if not kinds <= {int, float, bool, type(None)} or (bool in kinds and kinds != {bool}):
        raise CannotHoldError
    if kinds <= {bool}:
        return np.array(values, bool if values else float)
    if kinds == {int}:
        if not all(-(2**63) <= value < 2**63 for value in values):
            raise CannotHoldError
        return np.array(values, np.int64)
    if any(isinstance(value, int) and float(value) != value for value in values):
        raise CannotHoldError
    return np.array([np.nan if value is None else value for value in values], float)


def matrix_of(columns: list[np.ndarray]) -> np.ndarray:
    """The columns side by side; CannotHoldError where they would not keep what they are."""
    dtype = np.result_type(*columns)
    if any(
        (column.astype(dtype).astype(column.dtype) != column).any() for column in columns if column.dtype.kind == "i"
    ):
        raise CannotHoldError
    if dtype.kind != "b" and any(column.dtype.kind == "b" for column in columns):
        raise CannotHoldError  # a truth that became a number
    return np.stack(columns, axis=1).astype(dtype)


def npy_file(data: Data, folder: Path, target: str | None) -> Path:
    """One matrix with the target among its columns."""
    np.save(folder / "t.npy", matrix_of([numbers(values) for values in data.values()]))
    return folder / "t.npy"


def npz_file(data: Data, folder: Path, target: str | None) -> Path:
    """X, and y if there is a target: numbers or text."""
    features = [numbers(values) for name, values in data.items() if name != target]
    arrays = {"X": matrix_of(features) if features else np.zeros((len(data[target or ""]), 0))}
    if target is not None:
        text = data[target] and all(isinstance(value, str) for value in data[target])
        arrays["y"] = np.array(data[target]) if text else numbers(data[target])
    np.savez(folder / "t.npz", **arrays)
    return folder / "t.npz"


FORMATS: dict[str, Format] = {
    "CSV": Format("text", text_file("t.csv")),
    "CSV with semicolons and decimal commas": Format(
        "text", text_file("t.csv", delimiter=";", decimal=","), comma=True
    ),
    "CSV with CRLF and a mark": Format("text", text_file("t.csv", encoding="utf-8-sig", end="\r\n")),
    "TSV, all quoted": Format("text", text_file("t.tsv", delimiter="\t", quoting=csv.QUOTE_ALL)),
    "pipes in UTF-16": Format("text", text_file("t.txt", delimiter="|", encoding="utf-16")),
    "pandas": Format("objects", pandas_frame, ("pandas",)),
    "pandas of objects": Format("objects", pandas_objects, ("pandas",)),
    "pandas with masks": Format("objects", pandas_nullable, ("pandas",)),
    "Polars": Format("frames", polars_frame, ("polars",)),
    "Arrow table": Format("frames", arrow_table, ("pyarrow",)),
    "Parquet": Format("frames", arrow_file(".parquet"), ("pyarrow",)),
    "Feather": Format("frames", arrow_file(".feather"), ("pyarrow",)),
    "Arrow stream": Format("frames", arrow_file(".arrow"), ("pyarrow",)),
    "npy": Format("arrays", npy_file),
    "npz": Format("arrays", npz_file),
}
