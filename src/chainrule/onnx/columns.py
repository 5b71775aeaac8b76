"""From the columns of a table to X, as :class:`TableEncoder` makes it: one input per column, (n, 1) each.

Numbers are floats, nan if missing. Text is strings, and onnxruntime has no missing string: it is the empty string,
or what onnxruntime makes of Python's own (``None``, ``nan``), or, if the training column was read from a text file, one
of the marks of a missing value there (``NA``, ``?``, ...). A mark that was text in training is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.notation import MISSING, NOTHING
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.onnx.graph import Graph

DOUBLE = np.dtype(np.float64)
INTEGER = np.dtype(np.int64)
TEXT = np.dtype(object)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
FRACTION = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
OTHER = -1  # the code of a row for whose text there is no slot
TextColumn = CategoryColumn | EmbeddedColumn


def encoded(g: Graph, encoder: TableEncoder, input_dtype: np.dtype) -> str:
    """X (n, len(encoder.names)) in float64.

    Parameters
    ----------
    input_dtype : of the inputs that hold numbers

    Raises
    ------
    OptionError   for a kind of column that has no ONNX form, or text whose missing values would be ambiguous.
    """
    inputs = [g.input(c.name, TEXT if isinstance(c, TextColumn) else input_dtype, 1) for c in encoder.columns]
    parts: list[str] = []
    for column, x in zip(encoder.columns, inputs, strict=True):
        match column:
            case NumberColumn():
                parts += _number(g, column, g.cast(x, input_dtype, DOUBLE))
            case CategoryColumn():
                parts += [_category(g, column, x), *_statistics(g, column, x)]
            case EmbeddedColumn():
                parts.append(_embedded(g, column, x))
            case _:
                raise OptionError(
                    f"column {column.name!r:.60} is of kind {column.kind!r:.60}, which has no ONNX form",
                    hint="encode it before the net, or leave it out",
                )
    return str(g.node("Concat", *parts, axis=1)) if len(parts) > 1 else parts[0]


def feeds_of(encoder: TableEncoder, table: Mapping[str, ColumnData], input_dtype: np.dtype) -> dict[str, np.ndarray]:
    """The inputs of onnxruntime for a table: {input: (n, 1)}, numbers of dtype ``input_dtype`` and text."""
    feeds = {}
    for name in encoder.table_names:
        data = table[name]
        if isinstance(data, Categorical):
            feeds[name] = np.array([*data.names, ""], TEXT)[data.codes][:, None]  # -1 of a hole finds the last
        else:
            feeds[name] = data.astype(input_dtype)[:, None]
    return feeds


def _number(g: Graph, column: NumberColumn, x: str) -> list[str]:
    hole = g.node("IsNaN", x)
    filled = str(g.node("Where", hole, g.scalar(column.fill, DOUBLE), x))
    return [filled, g.cast(hole, np.dtype(np.bool_), DOUBLE)] if column.indicator else [filled]


def _category(g: Graph, column: CategoryColumn, x: str) -> str:
    """1 in the column of X for the text's slot; the shares for text that has none."""
    codes = _slot(g, column, x, OTHER)
    hit = g.node("Equal", codes, g.integers(range(column.slots)))
    one_hot = g.cast(hit, np.dtype(np.bool_), DOUBLE)
    if column.rarer and column.missing:
        return one_hot
    shares = g.constant(f"{column.name}.shares", np.array(column.shares), DOUBLE)
    return str(g.node("Where", g.node("Equal", codes, g.integers(OTHER)), shares, one_hot))


def _statistics(g: Graph, column: CategoryColumn, x: str) -> list[str]:
    """The statistics of the text's category, from a table of them; the last row is for holes and new text."""
    if column.statistics is None:
        return []
    categories = column.known_categories
    table = g.constant(f"{column.name}.statistics", column.statistics.table, DOUBLE)
    position = g.codes(x, _codes_of(column, categories), len(categories))
    return [str(g.node("Gather", table, g.node("Squeeze", position, g.integers([1])), axis=0))]


def _embedded(g: Graph, column: EmbeddedColumn, x: str) -> str:
    """The number of the text's slot; the one after the last for text that has none."""
    return g.cast(_slot(g, column, x, column.slots), INTEGER, DOUBLE)


def _slot(g: Graph, column: TextColumn, x: str, other: int) -> str:
    """int64 (n, 1): the slot of each text, ``other`` if it has none."""
    codes = {text: other if slot == OTHER else slot for text, slot in _codes(column).items()}
    return g.codes(x, codes, len(column.categories) if column.rarer else other)


def _also_written(name: str, decimal: str) -> list[str]:
    """Other ways in which a text file with this decimal sign may write a category whose name is a number."""
    if WHOLE.fullmatch(name):
        thousands = (
            [f"{int(name):,}".replace(",", ".")] if decimal == "," and len(name) < 20 and str(int(name)) == name else []
        )
        return [f"{name}{decimal}", f"{name}{decimal}0", *thousands]
    return [name.replace(".", ",")] if decimal == "," and FRACTION.fullmatch(name) else []


def _codes(column: TextColumn) -> dict[str, int]:
    """The slots of all text that has one, and of the marks for a missing value."""
    hole = len(column.categories) + column.rarer if column.missing else OTHER
    codes = dict.fromkeys(_holes(column), hole)
    rare = dict.fromkeys(column.marks or (), len(column.categories) if column.rarer else OTHER)
    return codes | rare | _codes_of(column, column.categories)


def _holes(column: TextColumn) -> list[str]:
    """The texts that are missing values."""
    return sorted(MISSING | NOTHING if column.marks is None else {"", "nan"} | NOTHING)


def _codes_of(column: TextColumn, categories: Sequence[str]) -> dict[str, int]:
    """The number of each category, in all ways in which it may be written."""
    if "" in categories:
        raise OptionError(
            f"column {column.name!r:.60} has the empty text as a category, which means a hole in an ONNX file",
            hint="give it a name and train again",
        )
    codes: dict[str, int] = {}
    # 7.0 is 7, as when tables are read: categories that are numbers are often stored as floats. Typed text stays as is.
    for i, name in enumerate(categories if column.marks is None else ()):
        codes |= dict.fromkeys(_also_written(name, "." if column.notation is None else column.notation.decimal), i)
    return codes | {name: i for i, name in enumerate(categories)}
