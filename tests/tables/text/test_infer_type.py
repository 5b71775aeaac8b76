"""Every type that a column of Arrow, pandas or Polars may have: read, or refused in chainrule's own words."""

from __future__ import annotations

import datetime
import fractions
from decimal import Decimal

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.columns.column_data import Categorical

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

DAY, TIME, SPAN = datetime.date(2026, 1, 1), datetime.time(1), datetime.timedelta(1)
LARGE = [2**60, 2**60 + 1, 5, 2**60]
NAN = np.nan
NUMBERS = ([1.0, NAN, 3.0, 1.0], ["1", None, "3", "1"], None)  # as a feature, as categories, as the target
FULL = ([1.0, 2.0, 3.0, 1.0], ["1", "2", "3", "1"], [1, 2, 3, 1])
TRUTHS = ([1.0, NAN, 0.0, 1.0], ["True", None, "False", "True"], None)
ALL_TRUTHS = ([1.0, 0.0, 0.0, 1.0], ["True", "False", "False", "True"], ["True", "False", "False", "True"])
TEXT = (["NA", None, "x", "1.0"], ["NA", None, "x", "1.0"], None)
LARGE_NUMBERS = ([float(v) for v in LARGE], [str(v) for v in LARGE], LARGE)
LARGE_HOLES = ([2.0**60, NAN, 5.0, 2.0**60], [str(2**60 + 1), None, "5", str(2**60)], None)
REFUSED = (None, None, None)
LEVELS = (["10", None, "3", "10"], ["10", None, "3", "10"], None)

WITH_HOLE, TEXTS = [1, None, 3, 1], ["NA", None, "x", "1.0"]
HOLED = [2**60 + 1, None, 5, 2**60]


def extension(kind, storage):
    return pa.ExtensionArray.from_storage(kind, storage)


def runs(values):
    return pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array(values))


def levels(indices, values, kind=None):
    return pa.DictionaryArray.from_arrays(pa.array(indices, kind or pa.int32()), pa.array(values))


ARROW = {
    **{str(t): (pa.array(WITH_HOLE, t), NUMBERS) for t in (pa.int8(), pa.int64(), pa.uint8(), pa.uint64())},
    **{f"{t} without a hole": (pa.array([1, 2, 3, 1], t), FULL) for t in (pa.int16(), pa.uint32(), pa.uint64())},
    "large int64": (pa.array(LARGE), LARGE_NUMBERS),
    "large uint64": (pa.array(LARGE, pa.uint64()), LARGE_NUMBERS),
    "large int64, a hole": (pa.array(HOLED), LARGE_HOLES),
    "large uint64, a hole": (pa.array(HOLED, pa.uint64()), LARGE_HOLES),
    "half": (pa.array(np.array([1, NAN, 3, 1], np.float16), from_pandas=True), NUMBERS),
    "float": (pa.array(WITH_HOLE, pa.float32()), NUMBERS),
    "double": (pa.array(WITH_HOLE, pa.float64()), NUMBERS),
    "bool": (pa.array([True, None, False, True]), TRUTHS),
    "null": (pa.nulls(4), ([NAN] * 4, [None] * 4, None)),
    **{str(t): (pa.array(TEXTS, t), TEXT) for t in (pa.string(), pa.large_string(), pa.string_view())},
    **{str(t): (pa.array([b"aa"] * 4, t), REFUSED) for t in (pa.binary(), pa.large_binary(), pa.binary_view())},
    "fixed binary": (pa.array([b"aa"] * 4, pa.binary(2)), REFUSED),
    **{str(t): (pa.array(WITH_HOLE, t), NUMBERS) for t in (pa.decimal128(38, 2), pa.decimal256(76, 2))},
    "large decimal": (pa.array([Decimal(v) for v in LARGE], pa.decimal128(38, 0)), LARGE_NUMBERS),
    "date": (pa.array([DAY] * 4), (None, ["2026-01-01"] * 4, None)),
    "duration": (pa.array([SPAN] * 4), REFUSED),
    "time32": (pa.array([TIME] * 4, pa.time32("s")), REFUSED),
    "time64": (pa.array([TIME, None] * 2, pa.time64("ns")), REFUSED),
    "interval": (pa.array([pa.MonthDayNano([1, 2, 3])] * 4), REFUSED),
    "list": (pa.array([[1], [2], None, [3]]), REFUSED),
    "fixed list": (pa.array([[1, 2]] * 4, pa.list_(pa.int64(), 2)), REFUSED),
    "struct": (pa.array([{"a": 1}] * 4), REFUSED),
    "map": (pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())), REFUSED),
    "dictionary of text": (pa.array(TEXTS).dictionary_encode(), TEXT),
    "dictionary of numbers": (pa.array([10, None, 3, 10]).dictionary_encode(), LEVELS),
    "dictionary of real numbers": (pa.array([10.0, None, 3.0, 10.0]).dictionary_encode(), LEVELS),
    "dictionary by uint64": (levels([0, None, 1, 0], ["10", "3"], pa.uint64()), LEVELS),
    "dictionary with a null": (levels([0, 2, 1, 0], ["10", "3", None]), LEVELS),
    "dictionary with levels that no row has": (levels([1, None, 2, 1], ["2026-01-01", "10", "3", "z" * 300]), LEVELS),
    "dictionary of bytes": (pa.array([b"a"] * 4).dictionary_encode(), REFUSED),
    "runs of numbers": (runs([1, 5]), ([1.0, 1.0, 5.0, 5.0], ["1", "1", "5", "5"], [1, 1, 5, 5])),
    "runs of text": (runs(["a", "b"]), (["a", "a", "b", "b"],) * 3),
    "uuid": (extension(pa.uuid(), pa.array([b"0123456789abcdef"] * 4, pa.binary(16))), REFUSED),
    "bool8": (extension(pa.bool8(), pa.array([1, None, 0, 1], pa.int8())), TRUTHS),
    "opaque": (extension(pa.opaque(pa.int64(), "t", "v"), pa.array([1, 2, 3, 4])), REFUSED),
}  # fmt: skip


def arrow_backed(values):
    return pd.Series(values, dtype=pd.ArrowDtype(values.type))


OBJECTS = {
    "truths": ([True, None, False, True], TRUTHS),
    "truths of NumPy": ([np.bool_(True), np.nan, np.bool_(False), True], TRUTHS),
    "text": (["NA", NAN, "x", "1.0"], TEXT),
    "large numbers": (LARGE, LARGE_NUMBERS),
    "large numbers, a hole": (HOLED, LARGE_HOLES),
    "decimals": ([Decimal(1), None, Decimal("3.00"), Decimal(1)], NUMBERS),
    "times": ([TIME] * 4, REFUSED),
    "spans": ([SPAN] * 4, REFUSED),
    "fractions": ([fractions.Fraction(1, 2)] * 4, REFUSED),
}

PANDAS = {
    **{t: (pd.Series(WITH_HOLE, dtype=t), NUMBERS) for t in ("Int8", "Int64", "UInt64", "Float32", "Float64")},
    **{t: (pd.Series([1, 2, 3, 1], dtype=t), FULL) for t in ("int8", "Int16", "UInt64", "float16", "Sparse[int64]")},
    "large Int64": (pd.Series(LARGE, dtype="Int64"), LARGE_NUMBERS),
    "large UInt64": (pd.Series(LARGE, dtype="UInt64"), LARGE_NUMBERS),
    "large uint64": (pd.Series(LARGE, dtype="uint64"), LARGE_NUMBERS),
    "large Int64, a hole": (pd.Series(HOLED, dtype="Int64"), LARGE_HOLES),
    "large UInt64, a hole": (pd.Series(HOLED, dtype="UInt64"), LARGE_HOLES),
    "boolean, a hole": (pd.Series([True, None, False, True], dtype="boolean"), TRUTHS),
    "boolean": (pd.Series([True, False, False, True], dtype="boolean"), ALL_TRUTHS),
    "string": (pd.Series(TEXTS, dtype="string"), TEXT),
    "complex": (pd.Series([1j] * 4), REFUSED),
    "timedelta": (pd.Series([SPAN] * 4), REFUSED),
    "period": (pd.Series(pd.period_range("2026", periods=4, freq="D")), REFUSED),
    "interval": (pd.Series(pd.interval_range(0, 4)), REFUSED),
    "categories": (pd.Series(pd.Categorical(TEXTS)), TEXT),
    "categories of numbers": (pd.Series([10, None, 3, 10], dtype="category"), LEVELS),
    "categories of truths": (pd.Series(pd.Categorical([True, None, False, True])), (TRUTHS[1], TRUTHS[1], None)),
    "categories that no row has": (
        pd.Series(pd.Categorical(["10", None, "3", "10"], categories=["2026-01-01", "10", "3", "z" * 300])), LEVELS,
    ),
    "categories of a number and its text": (pd.Series(pd.Categorical([1, "1", 2, 2])), REFUSED),
    **{f"objects: {name}": (pd.Series(values, dtype=object), wanted) for name, (values, wanted) in OBJECTS.items()},
    **{
        f"of Arrow: {name}": (arrow_backed(ARROW[name][0]), ARROW[name][1])
        for name in ("int64", "uint64", "large int64", "large uint64", "large int64, a hole", "double", "bool",
                     "string", "large_string", "decimal128(38, 2)", "large decimal", "binary", "duration", "list",
                     "struct")
    },
}  # fmt: skip

POLARS_NUMBERS = (pl.Int8, pl.Int64, pl.Int128, pl.UInt8, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(30, 2))
POLARS_NUMBERS += tuple(getattr(pl, name) for name in ("UInt128", "Float16") if hasattr(pl, name))
POLARS = {
    **{str(t): (pl.Series(WITH_HOLE, dtype=t), NUMBERS) for t in POLARS_NUMBERS},
    **{f"{t} without a hole": (pl.Series([1, 2, 3, 1], dtype=t), FULL) for t in POLARS_NUMBERS},
    **{f"large {t}": (pl.Series(LARGE, dtype=t), LARGE_NUMBERS) for t in (pl.Int64, pl.UInt64, pl.Int128)},
    **{f"large {t}, a hole": (pl.Series(HOLED, dtype=t), LARGE_HOLES) for t in (pl.Int64, pl.UInt64, pl.Int128)},
    "beyond 64 bits": (
        pl.Series([2**70, 2**70 + 1, 5, 5], dtype=pl.Int128),
        ([2.0**70, 2.0**70, 5.0, 5.0], [str(2**70), str(2**70 + 1), "5", "5"], None),
    ),
    "Boolean, a hole": (pl.Series([True, None, False, True]), TRUTHS),
    "Boolean": (pl.Series([True, False, False, True]), ALL_TRUTHS),
    "String": (pl.Series(TEXTS), TEXT),
    "Categorical": (pl.Series(TEXTS, dtype=pl.Categorical), TEXT),
    "Enum": (pl.Series(["10", None, "3", "10"], dtype=pl.Enum(["2026-01-01", "NA", "3", "10"])), LEVELS),
    "Null": (pl.Series([None] * 4), ([NAN] * 4, [None] * 4, None)),
    "Binary": (pl.Series([b"a"] * 4), REFUSED),
    "Duration": (pl.Series([SPAN] * 4), REFUSED),
    "Time": (pl.Series([TIME] * 4), REFUSED),
    "List": (pl.Series([[1], [2], None, [3]]), REFUSED),
    "Struct": (pl.Series([{"a": 1}] * 4), REFUSED),
    "Array": (pl.Series([[1, 2]] * 4, dtype=pl.Array(pl.Int64, 2)), REFUSED),
}  # fmt: skip

COLUMNS = [
    pytest.param(make, column, wanted, id=f"{library} {name}")
    for library, make, columns in (
        ("Arrow", pa.table, ARROW), ("pandas", pd.DataFrame, PANDAS), ("Polars", pl.DataFrame, POLARS)
    )
    for name, (column, wanted) in columns.items()
]  # fmt: skip


def values_of(data):
    if isinstance(data, Categorical):
        return [data.names[code] if code >= 0 else None for code in data.codes]
    return data.tolist()


def check(read, wanted, column):
    if wanted is not None:
        np.testing.assert_equal(read(), wanted)
        return
    with pytest.raises(cr.DataError, match=f"column '{column}'") as caught:
        read()
    assert caught.value.hint
    assert "Frame" in caught.value.message or "Table" in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(("make", "column", "wanted"), COLUMNS)
def test_the_type_of_a_column(make, column, wanted):
    table = make({"a": column, "b": [0.5, 1.5, 0.5, 1.5]})
    feature, category, target = wanted
    check(lambda: values_of(cr.read_table(table, target="b").columns["a"]), feature, "a")
    check(lambda: values_of(cr.read_table(table, target="b", categorical=["a"]).columns["a"]), category, "a")
    check(lambda: values_of(cr.read_table(table, target="a").target), target, "a")


def test_unused_levels_of_a_categorical_are_ignored():
    many = pd.Categorical.from_codes([0, 5, 0, -1], categories=[f"level {i}" for i in range(100_000)])
    column = cr.read_table(pd.DataFrame({"a": many, "y": range(4)}), target="y").columns["a"]
    assert column.names == ("level 0", "level 5")
    y = pd.Series(pd.Categorical(["a", "b", "a", "b"], categories=["never", "b", "a"]))
    assert set(cr.read_table(pd.DataFrame({"a": range(4), "y": y}), target="y").target) == {"a", "b"}


def test_an_error_of_another_library_names_the_column():
    class Series:
        dtype = "strange"

        def to_numpy(self):
            raise RuntimeError("out of tape")

        def to_list(self):
            raise RuntimeError("out of tape")

    class Frame:
        columns = ("a", "b")
        __dataframe__ = to_numpy = None

        def __len__(self):
            return 2

        def __getitem__(self, name):
            return Series()

    with pytest.raises(cr.DataError, match="Frame, column 'a' cannot be read: out of tape"):
        cr.read_table(Frame(), target="b")
