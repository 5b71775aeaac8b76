"""``read_table``: a table from any file, DataFrame or built-in data set."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainrule.errors import DataError, OptionError
from chainrule.files.regular_file import file_type
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.columns.column_data import Categorical, KnownTexts
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.network import Network
from chainrule.options import suggest
from chainrule.plain_text import show
from chainrule.tables.arrays.array_reader import read_npy, read_npz
from chainrule.tables.choose_columns import choose_columns
from chainrule.tables.frames.frame_reader import is_frame, read_arrow_file, read_frame
from chainrule.tables.selection import BUILT_IN, TIME, Selection
from chainrule.tables.table import Table
from chainrule.tables.text.csv_reader import read_csv
from chainrule.tables.text_arrays import TEXT
from chainrule.tables.unchanged import unchanged

READERS = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_csv),
    ".npy": read_npy,
    ".npz": read_npz,
    **dict.fromkeys((".parquet", ".arrow", ".feather"), read_arrow_file),
}
SMALLER = "a .npy file of float32 takes 4 bytes per number; or leave columns out"


def read_table(
    source: Any,
    *,
    target: str | None = None,
    feature_names: Sequence[str] = (),
    need_target: bool = True,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    like: Network | Table | None = None,
) -> Table:
    """A table from a file, a DataFrame or, by its name, a built-in data set ("digits").

    Files: .csv, .tsv, .txt, .npy, .npz; with pyarrow .parquet, .arrow, .feather. DataFrames: pandas, Polars, Arrow
    tables, and any object with ``__arrow_c_stream__``. The same data gives the same table in every format, except that
    text files have neither types nor nulls: there a word such as NA is a missing value, and 7.0 is 7.

    Every value is checked here, and nothing is guessed silently; see
    :mod:`chainrule.tables.text.csv_reader`, :mod:`chainrule.tables.frames.frame_reader` and
    :mod:`chainrule.tables.arrays.array_reader`.

    Parameters
    ----------
    source : path, data set name, or DataFrame
    target : the name of a column or, if no column has that name, a position such as "-1"; of a .npy file a position;
        of a .npz file the name of an array, "y" by default
    feature_names : the columns that a trained model needs, in its order; others are ignored. Empty: all but the
        target. Arrays have no names: only the number of their columns is checked
    need_target : if False, a missing target is no error
    drop : names of columns to leave out
    categorical : names of columns that are categories even if their cells look like numbers
    kinds : {column: "number" or "category"} if that is known; other columns are inferred from their cells
    like : a net trained on such a table, or such a table: its columns are read as they were then, whatever they look
        like now, and a target only if one is given

    Returns
    -------
    Table

    Raises
    ------
    OutOfMemoryError   if the table does not fit.
    DataError          if the file is no such table, or changes meanwhile; names file, line or row, and column.
    OptionError        if ``target`` is needed and not given, or does not exist; lists the columns.
    """
    _check_options(target, like, kinds, drop=drop, categorical=categorical, feature_names=feature_names)
    selection = Selection(target, tuple(feature_names), need_target, tuple(drop), tuple(categorical), kinds or {})
    if isinstance(like, Table):
        selection = _like_table(selection, like)
    elif like is not None:
        selection = _like_trained(selection, like.preparation)
    if isinstance(source, str | os.PathLike) and str(source) in BUILT_IN:
        return _read_digits(selection)
    if is_frame(source):
        with out_of_memory_hint(SMALLER, doing="reading a DataFrame"):
            return read_frame(source, selection)
    if not isinstance(source, str | os.PathLike):
        raise DataError(f"expected a path, a data set's name or a DataFrame, got {type(source).__name__}")
    return _read_file(Path(source), selection)


def _read_file(path: Path, selection: Selection) -> Table:
    try:
        if "\0" in str(path):
            raise FileNotFoundError
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise DataError(f"{path}: expected a file, got {file_type(mode)}")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            known = ", ".join(READERS)
            raise DataError(f"{path}: expected one of {known}, got the ending {show(path.suffix)}")
        if reader in {read_npy, read_npz} and (selection.drop or selection.categorical):
            raise OptionError(f"{path}: drop and categorical name columns, which an array does not have")
        with out_of_memory_hint(SMALLER, doing=f"reading {path}"), unchanged(path):
            return reader(path, selection)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", hint=suggest(str(path), BUILT_IN)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_options(target: Any, like: Any, kinds: Mapping[str, str] | None, **lists: Sequence[str]) -> None:
    """OptionError for options of another type; a text would be taken for a list of its letters."""
    for name, listed in lists.items():
        if isinstance(listed, str):
            raise OptionError(
                f"{name}: expected a list of columns, got {show(listed)}", hint=f"{name}=[{show(listed)}]"
            )
    if not isinstance(target, str | None):
        raise OptionError(f"target: expected the name of a column or a position as text, got {show(target)}")
    if not isinstance(like, Network | Table | None):
        raise OptionError(f"like: expected a net or a table, got {type(like).__name__}", hint="like=cr.load(PATH)")
    for column, kind in (kinds or {}).items():
        if kind not in {"number", "category", TIME}:
            raise OptionError(f"kinds[{show(column)}]: expected 'number' or 'category', got {show(kind)}")


def _like_trained(selection: Selection, p: Preparation) -> Selection:
    """The selection with the columns of a net, each read as it was in training."""
    encoder = p.encoder
    names = p.feature_names if encoder is None else encoder.table_names
    return replace(
        selection,
        need_target=selection.target is not None,
        feature_names=tuple(names),
        kinds=dict.fromkeys(names, "number") if encoder is None else encoder.kinds,
        texts={} if encoder is None else encoder.texts,
        notations={} if encoder is None else encoder.notations,
        target_notation=p.target_notation or (None if encoder is None else encoder.notation),
        classes=frozenset(p.classes),
        learned=True,
    )


def _like_table(selection: Selection, table: Table) -> Selection:
    """The selection with the columns of another table, each read as it was there."""
    texts = {name: data for name, data in table.columns.items() if isinstance(data, Categorical)}
    target = table.target
    return replace(
        selection,
        feature_names=table.feature_names,
        kinds={name: "category" if name in texts else "number" for name in table.columns},
        texts={name: KnownTexts.of(data) for name, data in texts.items()},
        notations=table.columns.notations,
        target_notation=table.columns.target_notation,
        classes=frozenset(target.tolist()) if target is not None and target.dtype == TEXT else frozenset(),
        learned=True,
    )


def _read_digits(selection: Selection) -> Table:
    """1,797 handwritten digits of 8 x 8 pixels, 0 to 16; see data/ATTRIBUTION.md."""
    if selection.need_target and selection.target not in {None, "", "digit"}:
        raise OptionError(f"digits has no target {show(selection.target)}", hint="its target is digit")
    from importlib import resources  # slow to import

    with resources.as_file(resources.files("chainrule") / "data" / "digits.npz") as path:
        table = read_npz(path, Selection("y"))
    names = [f"pixel{i}" for i in range(table.width)]
    chosen, _ = choose_columns("digits", names, replace(selection, target=None, need_target=False))
    return replace(
        table,
        matrix=table.features.take(chosen, axis=1),
        feature_names=tuple(names[i] for i in chosen),
        target_name="digit",
        source="digits",
    )
