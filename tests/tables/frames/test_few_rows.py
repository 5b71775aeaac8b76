"""A few rows of a DataFrame, read row by row, are what the columns are that are read one by one."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chainrule.estimators.known_columns import known_columns
from chainrule.nn.columns.column_data import Categorical, TableColumns
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.tables.frames.few_rows import MOST_ROWS, has_few_rows, read_few_rows
from chainrule.tables.frames.frame_reader import read_frame
from chainrule.tables.selection import Selection

pd = pytest.importorskip("pandas", reason="pandas is not installed")

N = 300
TEXTS = ["a", " b ", "c", "NA", "7", "7.0", "nan", "", None, float("nan"), "None"]


def training_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    text = rng.choice(np.array(TEXTS, object), N)
    return pd.DataFrame(
        {
            "number": rng.normal(size=N),
            "holes": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "narrow": rng.normal(size=N).astype(np.float32),
            "whole": rng.integers(-9, 9, N),
            "large": rng.integers(2**53, 2**62, N),
            "unsigned": rng.integers(0, 9, N).astype(np.uint8),
            "yes": rng.random(N) < 0.5,
            "text": pd.Series(text, dtype=object),
            "strings": pd.Series(text, dtype=object).astype("string"),
            "levels": pd.Series(rng.choice(list("xyz"), N)).astype("category"),
            "full": rng.choice(["u", "v"], N),
            "many": np.array([f"city {i}" for i in rng.zipf(1.5, N) % 97]),
            "rare": np.array([f"name {i}" for i in rng.integers(0, 60, N)]),
        }
    )


def fitted(frame: pd.DataFrame, **options: int | None) -> TableEncoder:
    columns = read_frame(frame, Selection(need_target=False)).columns
    y = np.random.default_rng(1).normal(size=len(frame))
    return TableEncoder.fit(columns, target=TargetColumns.of_numbers(y, "y"), **options)


def as_columns(encoder: TableEncoder, frame: pd.DataFrame) -> np.ndarray:
    return encoder.encode(read_frame(frame, known_columns(encoder)).columns)


def as_rows(encoder: TableEncoder, frame: pd.DataFrame) -> np.ndarray:
    cells = read_few_rows(frame, known_columns(encoder))
    assert cells is not None
    return encoder.encode_cells(cells, len(frame))


@pytest.mark.parametrize("options", [{}, {"embed_above": 40}, {"max_categories": 2}], ids=str)
def test_rows_of_a_frame_are_encoded_as_its_columns_are(options):
    frame = training_frame()
    encoder = fitted(frame, **options)
    for start, rows in ((0, 1), (1, 1), (7, 3), (20, MOST_ROWS), (100, MOST_ROWS)):
        part = frame[start : start + rows]
        np.testing.assert_array_equal(as_rows(encoder, part), as_columns(encoder, part))


@pytest.mark.parametrize("text", TEXTS, ids=repr)
@pytest.mark.parametrize("column", ["text", "strings", "full", "levels", "many", "rare"])
def test_one_cell_of_text_known_unknown_or_missing(column, text):
    frame = training_frame()
    encoder = fitted(frame)
    row = frame[:1].astype({column: object})
    row.loc[0, column] = text
    np.testing.assert_array_equal(as_rows(encoder, row), as_columns(encoder, row))
    built = pd.DataFrame([row.iloc[0].to_dict()])
    cells = read_few_rows(built, known_columns(encoder))
    if cells is not None:  # a single missing cell may have become a number
        np.testing.assert_array_equal(encoder.encode_cells(cells, 1), as_columns(encoder, built))


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("cell", ["7", "7,0", "7.0", "NA", "1,5", "1.500", "b", "", None])
def test_a_column_of_a_text_file_is_read_as_it_was_then(decimal, cell):
    codes = np.array([0, 1, 2, 1, -1, 0], np.int32)
    columns = TableColumns({"c": Categorical(codes, ("7", "1.5", "b"))}, notations={"c": Notation(decimal)})
    encoder = TableEncoder.fit(columns)
    frame = pd.DataFrame({"c": np.array([cell, "b"], object)})
    np.testing.assert_array_equal(as_rows(encoder, frame), as_columns(encoder, frame))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("number", pd.Series(["1"], dtype=object)),
        ("number", pd.Series([np.inf])),
        ("number", pd.Series([1], dtype="Int64")),
        ("number", pd.Series([1 + 1j])),
        ("number", pd.Series(pd.to_datetime(["2020-01-01"]))),
        ("text", pd.Series([7], dtype=object)),
        ("text", pd.Series([7])),
        ("text", pd.Series([datetime.date(2020, 1, 1)], dtype=object)),
        ("text", pd.Series([["a"]])),
        ("levels", pd.Series([3]).astype("category")),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_what_is_not_as_expected_is_left_to_the_columns(column, values):
    frame = training_frame()
    row = frame[:1].drop(columns=column).assign(**{column: values})[frame.columns.tolist()]
    assert read_few_rows(row, known_columns(fitted(frame))) is None


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "complex128", "datetime64[ns]", "Sparse[float64]"])
@pytest.mark.parametrize("holes_first", [True, False])
def test_numbers_beside_a_column_of_another_dtype_are_left_to_the_columns(dtype, holes_first):
    """A row of them has a dtype in which a hole may be no number."""
    frame = pd.DataFrame({"holes": [1.5, np.nan, 2.5, 0.5], "other": [1, 0, 1, 0]})
    frame = frame if holes_first else frame[["other", "holes"]]
    known = known_columns(fitted(frame))
    assert read_few_rows(frame, known) is not None
    assert read_few_rows(frame.astype({"other": dtype}), known) is None


def test_only_a_few_rows_of_a_frame_of_pandas_are_read_so():
    frame = training_frame()
    assert has_few_rows(frame[:1])
    assert has_few_rows(frame[:MOST_ROWS])
    for other in (frame[: MOST_ROWS + 1], frame[:0], frame["number"][:1], frame[["number"]][:1].to_numpy(), [[1.0]]):
        assert not has_few_rows(other)
