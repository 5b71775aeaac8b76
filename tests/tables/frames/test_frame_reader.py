"""DataFrames and Arrow files: the same data gives the same table as a text file. What is not installed is skipped."""

from __future__ import annotations

import datetime
import random
import sys

import numpy as np
import pytest

from chainrule.errors import DataError, OptionError, OutOfMemoryError
from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.frames import frame_reader
from chainrule.tables.readers import read_table
from tables.formats import arrow_file

NAN = np.nan
DATA = {
    "size": [1.5, None, 4.0, 10.0],
    "count": [3, 4, 5, 2**40],
    "sparse": [3, None, 5, 7],
    "color": ["red", None, "blue ", "red"],
    "open": [True, False, True, True],
    "empty": [None, None, None, None],
    "y": [1, 2, 3, 9007199254740993],
}
CSV = (
    "size,count,sparse,color,open,empty,y\n1.5,3,3,red,True,,1\n,4,,,False,,2\n"
    f"4,5,5,blue,True,,3\n10,{2**40},7,red,True,,9007199254740993\n"
)


class Series:
    """As little of a Series as is asked for."""

    def __init__(self, values):
        self.values = values
        self.dtype = "object"

    def to_numpy(self):
        kinds = {type(value) for value in self.values}
        return np.array(self.values) if len(kinds) == 1 and kinds != {type(None)} else np.array(self.values, object)


class Frame:
    """As little of a DataFrame as is asked for, of no library."""

    def __init__(self, data):
        self.data = {name: Series(values) for name, values in data.items()}
        self.columns = list(data)

    def __len__(self):
        return len(next(iter(self.data.values())).values)

    def __getitem__(self, name):
        return self.data[name]

    def to_numpy(self):
        raise AssertionError("column by column")

    def __dataframe__(self):
        raise AssertionError("column by column")


def make_pandas(data):
    return pytest.importorskip("pandas").DataFrame(data)


def make_pandas_nullable(data):
    return make_pandas(data).convert_dtypes()


def make_polars(data):
    return pytest.importorskip("polars").DataFrame(data)


def make_arrow(data):
    return pytest.importorskip("pyarrow").table(data)


FRAMES = [Frame, make_pandas, make_pandas_nullable, make_polars, make_arrow]


def assert_same(a, b) -> None:
    assert a.feature_names == b.feature_names
    assert a.target.dtype == b.target.dtype
    assert a.target.tolist() == b.target.tolist()
    for name in a.feature_names:
        left, right = a.columns[name], b.columns[name]
        if isinstance(left, Categorical):
            assert isinstance(right, Categorical), name
            for code_a, code_b in zip(left.codes, right.codes, strict=True):
                assert (left.names[code_a] if code_a >= 0 else None) == (right.names[code_b] if code_b >= 0 else None)
        else:
            assert right.dtype == np.float64
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("make", FRAMES)
def test_dataframes_give_the_table_of_their_text_file(make, tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    assert_same(read_table(tmp_path / "t.csv", target="y"), read_table(make(DATA), target="y"))
    options = {"target": "y", "drop": ["sparse"], "categorical": ["count", "open"]}
    assert_same(read_table(tmp_path / "t.csv", **options), read_table(make(DATA), **options))


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
def test_parquet_arrow_and_feather_files(ending, tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(pa.table(DATA), path)
    elif ending == ".feather":
        pytest.importorskip("pyarrow.feather").write_feather(pa.table(DATA), path)
    else:
        with pa.ipc.new_stream(path, pa.table(DATA).schema) as writer:
            writer.write_table(pa.table(DATA))
    (tmp_path / "t.csv").write_text(CSV)
    plain = read_table(tmp_path / "t.csv", target="y")
    assert_same(plain, read_table(path, target="y"))
    assert_same(plain, read_table(path, target="-1"))
    found = read_table(path, feature_names=["color", "count"], kinds={"count": "category"}, need_target=False)
    assert found.feature_names == ("color", "count")
    assert found.columns["count"].names[0] == "3"
    with pytest.raises(DataError, match="lacks 1 of the 2 columns that are needed: 'colour'"):
        read_table(path, feature_names=["colour", "count"], need_target=False)
    with pytest.raises(DataError, match="has no column 'colour'\nhint: did you mean 'color'"):
        read_table(path, feature_names=["colour"], need_target=False)
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=f"is no valid {ending} file"):
        read_table(path, target="y")


def test_parquet_without_pyarrow_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"need pyarrow(?s:.*)hint: pip install .*chainrule\[tables\]"):
        read_table(tmp_path / "t.parquet", target="y")


@pytest.mark.parametrize("make", FRAMES)
def test_text_columns_stay_text_unless_the_model_has_numbers(make):
    frame = make({"code": ["01", "2", None], "y": [0.5, 1.5, 2.5]})
    assert read_table(frame, target="y").columns["code"].names[:2] == ("01", "2")
    numbers = read_table(frame, target="y", kinds={"code": "number"}).columns["code"]
    np.testing.assert_array_equal(numbers, [1, 2, NAN])


@pytest.mark.parametrize("make", FRAMES)
@pytest.mark.parametrize(
    ("values", "target"),
    [
        ([True, False, True], ["True", "False", "True"]),
        (["b", "a ", "1"], ["b", "a", "1"]),
        ([1.0, 2.0, 3.0], [1, 2, 3]),
    ],
)
def test_targets_are_numbers_or_classes_of_the_right_dtype(make, values, target):
    assert read_table(make({"a": [1, 2, 3], "y": values}), target="y").target.tolist() == target


@pytest.mark.parametrize("make", FRAMES)
def test_errors_name_column_and_row(make):
    day = datetime.date(2026, 11, 22)
    for values, words in (
        ([1.0, np.inf, 2.0], "column 'b', row 1 .from 0.: expected a finite number, got 'inf'"),
        (
            [day, day, day],
            "column 'b', row 0 .from 0.: expected a number or a category.*, got '2026-11-22.*'",
        ),
    ):
        with pytest.raises(DataError, match=words):
            read_table(make({"b": values, "y": [1, 2, 3]}), target="y")
    with pytest.raises(DataError, match=r"column 'y', row 1 .* expected a value in every row"):
        read_table(make({"a": [1, 2, 3], "y": [1.5, None, 2.0]}), target="y")
    with pytest.raises(DataError, match=r"column 'y', row 2 .* expected a value in every row"):
        read_table(make({"a": [1, 2, 3], "y": ["u", "v", None]}), target="y")
    with pytest.raises(OptionError, match="no column 'z'"):
        read_table(make({"a": [1, 2, 3], "y": [1, 2, 3]}), target="z")
    with pytest.raises(DataError, match="expected at least one row"):
        read_table(make({"a": np.zeros(0), "y": np.zeros(0)}), target="y")


def test_object_columns_are_read_like_cells():
    with pytest.raises(DataError, match=r"column 'b', row 2 .*: expected a number as in most rows.*, got 'x'"):
        read_table(Frame({"b": [1, 2.5, "x"], "y": [1, 2, 3]}), target="y")
    np.testing.assert_array_equal(
        read_table(Frame({"b": [1, 2.5, None], "y": [1, 2, 3]}), target="y").columns["b"], [1, 2.5, NAN]
    )


def test_pandas_categoricals_of_numbers_are_categories():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"b": pd.Categorical([7, None, 9]), "y": [1, 2, 3]})
    data = read_table(frame, target="y").columns["b"]
    assert [data.names[code] if code >= 0 else None for code in data.codes] == ["7", None, "9"]
    with pytest.raises(DataError, match="without a name of their own: 'a'"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), target="a")


def test_what_is_no_table():
    with pytest.raises(DataError, match=r"expected a path, a data set's name or a DataFrame.*, got int"):
        read_table(3)
    with pytest.raises(DataError, match=r"expected .*, got ndarray"):
        read_table(np.ones((2, 2)))


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
def test_damaged_parquet_and_arrow_files_are_read_or_refused(ending, tmp_path):
    """Arrow itself believes a file's offsets: read where they point, the process would end."""
    pytest.importorskip("pyarrow")
    data = {"a": [1.5, None, 3.0] * 5, "b": ["u", "v", None] * 5, "c": [True, False, True] * 5, "y": [0, 1, 0] * 5}
    path = arrow_file(ending)(data, tmp_path, "y")
    content, refused = path.read_bytes(), 0
    for number in range(300):
        rng = random.Random(number)
        at, length = rng.randrange(len(content)), rng.choice([1, 1, 2, 4, 30])
        noise = rng.choice([b"", rng.randbytes(length), b"\xff" * length])
        path.write_bytes(content[:at] + noise + content[at + rng.choice([0, length, length]) :])
        try:
            read_table(path, target="y")
        except (DataError, OptionError):
            refused += 1
    assert refused > 100


def test_out_of_memory_in_arrow(tmp_path, monkeypatch):
    """Its error is one of its own kind and a MemoryError: the file is not to blame."""
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.feather").write_feather(pa.table({"a": [1, 2], "y": [1, 2]}), tmp_path / "t.feather")

    def starved(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(frame_reader, "_from_arrow", starved)
    with pytest.raises(OutOfMemoryError, match=r"cpu is out of memory while reading .*t\.feather"):
        read_table(tmp_path / "t.feather", target="y")


def test_an_arrow_file_that_claims_more_than_it_can_hold_is_damaged(tmp_path, monkeypatch):
    """Some of Arrow's errors do not say how much was asked for: then the file's size says what it may ask for."""
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.feather").write_feather(pa.table({"a": [1, 2], "y": [1, 2]}), tmp_path / "t.feather")

    def starved(*_):
        raise MemoryError

    monkeypatch.setattr(frame_reader, "_from_arrow", starved)
    with pytest.raises(DataError, match=r"t\.feather is no valid \.feather file"):
        read_table(tmp_path / "t.feather", target="y")
    monkeypatch.setattr(frame_reader, "free_host_memory", lambda: 1000)
    with pytest.raises(OutOfMemoryError):
        read_table(tmp_path / "t.feather", target="y")


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
@pytest.mark.parametrize("need_target", [True, False])
def test_an_arrow_file_without_columns_is_refused(tmp_path, ending, need_target):
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({}), path)
    else:
        pytest.importorskip("pyarrow.feather").write_feather(pa.table({}), path)
    with pytest.raises(DataError, match="expected columns, got none"):
        read_table(path, need_target=need_target)
