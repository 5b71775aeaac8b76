"""Names of labels; exact integer targets; and which words are missing values in text files and in typed columns."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.column_data import Categorical, KnownTexts
from chainrule.tables.targets import encode_target, plan_target
from chainrule.tables.text.parsing import label_name

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="Polars is not installed")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

COUNTRIES = ["NA", "ZA", None, "?"]


def frame_of(countries, n: int = 40):
    return pd.DataFrame({"land": pd.Series(countries * n, dtype=object)[:n], "x": np.arange(n) / n})


def texts(data: Categorical) -> list[str | None]:
    return [None if code < 0 else data.names[code] for code in data.codes.tolist()]


@pytest.fixture
def csv(tmp_path):
    def write(*cells: str, name: str = "land", beside: str = "x"):
        path = tmp_path / "t.csv"
        path.write_text(f"{name},{beside}\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
        return path

    return write


def net_of(table: cr.Table, **options) -> cr.Network:
    encoder = cr.TableEncoder.fit(table.columns, **options)
    net = cr.MLP([len(encoder.names), 2, 1], loss="squared_error", embedding=encoder.embedding())
    net.preparation = cr.Preparation(encoder=encoder)
    return net


def read_land(source, net: cr.Network) -> list[str | None]:
    return texts(cr.read_table(source, like=net).columns["land"])


NAMES = [
    ("3", "3"), ("3.0", "3.0"), (3, "3"), (3.0, "3"), (np.float32(3), "3"), (np.int8(3), "3"), (True, "True"),
    (np.bool_(False), "False"), (2**64 - 1, str(2**64 - 1)), (np.uint64(2**64 - 1), str(2**64 - 1)), (0.5, "0.5"),
    (np.str_(" a"), " a"), (1e17, "1" + "0" * 17),
]  # fmt: skip


@pytest.mark.parametrize(("label", "name"), NAMES, ids=[repr(label) for label, _ in NAMES])
def test_label_name(label, name):
    assert label_name(label) == name


def test_different_labels_have_different_names():
    for labels in (np.array([2**64 - 1, 2**64 - 2], np.uint64), np.array([2**60, 2**60 + 1]), np.array(["1", "1.0"])):
        plan = plan_target(np.tile(labels, 50))
        assert plan.classes == tuple(sorted(map(str, labels.tolist())))
        np.testing.assert_array_equal(
            encode_target(labels[:1], "classify", plan.classes), [plan.classes.index(str(labels[0]))]
        )


def test_class_names_match_without_surrounding_spaces():
    assert encode_target(np.array(["a", "b"]), "classify", (" a", "b ")).tolist() == [0, 1]
    assert encode_target(np.array(["a", " a"]), "classify", (" a", "a")).tolist() == [1, 0]


@pytest.mark.parametrize("decimal", ["1.0", "1,0", "1e0"])
def test_integer_targets_are_exact_however_another_one_is_written(tmp_path, decimal):
    large = ["1152921504606846976", "1152921504606846977", "18446744073709551615"]
    (tmp_path / "t.csv").write_text("a;y\n" + "".join(f"{i};{y}\n" for i, y in enumerate([*large, decimal])))
    target = cr.read_table(tmp_path / "t.csv", target="y").target
    assert target.dtype == np.uint64
    assert target.tolist() == [*map(int, large), 1]


def test_integer_targets_with_thousands_separators_are_exact(tmp_path):
    (tmp_path / "t.csv").write_text("a;y\n1;9.007.199.254.740.993\n2;9.007.199.254.740.992\n")
    assert cr.read_table(tmp_path / "t.csv", target="y").target.tolist() == [2**53 + 1, 2**53]


def test_a_target_in_scientific_notation_is_a_float(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,6.02e23\n2,1.5\n3,1e300\n")
    assert cr.read_table(tmp_path / "t.csv", target="y").target.tolist() == [6.02e23, 1.5, 1e300]


WHOLE = {
    "beside a float": [2**60 + 1, 2**60, 1.0],
    "beside a quantity": [2**60 + 1, 1e3],
    "of both signs": [2**63, -1],
    "of both signs, which float64 rounds": [2**63 + 1, -1],
    "beyond int64": [2**64 - 1, 0.0],
    "beyond 64 bits": [2**64 + 1, 1],
    "beyond any bits": [10**25 + 1, 1],
    "decimals": [Decimal(2**60 + 1), 1],
    "of several types": [np.int64(2**60 + 1), np.uint64(2**63 + 1)],
}


def as_csv(values, folder):
    cells = [repr(value) if isinstance(value, float) else str(int(value)) for value in values]
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    return folder / "t.csv"


def as_parquet(values, folder):
    decimals = pa.array([Decimal(int(value)) for value in values], pa.decimal256(50, 2))
    pq.write_table(pa.table({"a": list(range(len(values))), "y": decimals}), folder / "t.parquet")
    return folder / "t.parquet"


FORMS = {
    "csv": as_csv,
    "parquet": as_parquet,
    "objects": lambda values, _: pd.DataFrame({"a": range(len(values)), "y": np.array(values, object)}),
    "polars": lambda values, _: pl.DataFrame({"a": range(len(values)), "y": pl.Series(values, dtype=pl.Object)}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("values", WHOLE.values(), ids=WHOLE)
def test_integer_targets_are_exact_beside_any_other_values_or_refused(tmp_path, values, form):
    low, high = int(min(values)), int(max(values))
    source = form(values, tmp_path)
    if high >= 2**64 or (low < 0 and int(float(high)) != high):
        with pytest.raises(DataError, match="a whole number of at most 64 bits"):
            cr.read_table(source, target="y")
    else:
        target = cr.read_table(source, target="y").target
        assert [int(value) for value in target.tolist()] == [int(value) for value in values]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double is float64 on this platform")
@pytest.mark.parametrize("value", [2**60 + 1, 2**64 - 1])
def test_integer_long_doubles_that_float64_rounds_are_refused(tmp_path, value):
    X, y = np.zeros((2, 1)), np.array([value, 1], np.uint64).astype(np.longdouble)
    np.savez(tmp_path / "t.npz", X=X, y=y)
    with pytest.raises(DataError, match="a whole number that float64 holds"):
        cr.read_table(tmp_path / "t.npz", target="y")
    with pytest.raises(DataError, match=r"row 0 (?s:.*) a whole number that float64 holds"):
        cr.read_table(pd.DataFrame({"a": X[:, 0], "y": y}), target="y")
    np.savez(tmp_path / "t.npz", X=X, y=y * 0 + np.longdouble(2) ** 70)
    assert cr.read_table(tmp_path / "t.npz", target="y").target.tolist() == [2.0**70] * 2


def test_integer_targets_of_64_bits_are_never_refused(tmp_path):
    for values in ([2**60 + 1, 1.0], [2**64 - 1, 0.0], [2**63, -1], [-(2**63), 2**63 - 1]):
        assert [int(v) for v in cr.read_table(as_csv(values, tmp_path), target="y").target.tolist()] == values


# ---- words for holes --------------------------------------------------------------------------------


def test_missing_value_words_are_text_for_a_model_of_a_typed_column(csv, tmp_path):
    """Text in typed columns is text; in a text file a word is a hole unless training had it as text."""
    net = net_of(cr.read_table(frame_of(COUNTRIES), need_target=False))
    assert net.preparation.encoder.columns[0].marks == ("?", "NA")
    net.save(tmp_path / "m")
    for trained in (net, cr.load(tmp_path / "m", device="cpu")):
        assert read_land(csv("NA", "", "?", "null", "ZA"), trained) == ["NA", None, "?", None, "ZA"]
        assert read_land(frame_of(["NA", "null", "", None], 4), trained) == ["NA", "null", None, None]


def test_missing_value_words_are_holes_in_typed_columns_for_a_model_of_a_text_file(csv):
    net = net_of(cr.read_table(csv("NA", "ZA", "7.0", "DE", ""), need_target=False))
    assert net.preparation.encoder.columns[0].marks is None
    assert read_land(frame_of(["NA", "7.0", "?", "7"], 4), net) == [None, "7", None, "7"]


def test_a_rare_missing_value_word_of_a_typed_column_is_still_text(csv):
    """A word that has no slot of its own goes where training had it: to the rarer ones."""
    table = cr.read_table(frame_of(["NA", "ZA", "ZA", "DE", None], 5), need_target=False)
    encoder = cr.TableEncoder.fit(table.columns, max_categories=1)
    column = encoder.columns[0]
    assert (column.categories, column.rarer, column.missing, column.marks) == (("ZA",), True, True, ("NA",))
    net = net_of(table, max_categories=1)
    new = cr.read_table(csv("NA", "?"), like=net)
    assert column.slots_of(new.columns["land"]).tolist() == [1, 2]


def test_text_like_numbers_stays_text_in_typed_columns(csv):
    net = net_of(cr.read_table(frame_of(["1", "1.0", "x", "8.0"]), need_target=False))
    assert net.preparation.encoder.columns[0].categories == ("1", "1.0", "8.0", "x")
    assert read_land(csv("1", "1.0", "8.0", "8", "01.0"), net) == ["1", "1.0", "8.0", "8", "01"]
    assert read_land(frame_of(["1.0", "1.00", "8", "x"], 4), net) == ["1.0", "1.00", "8", "x"]


def test_typed_columns_without_nulls_read_as_those_with_nulls():
    for countries in (["NA", "ZA"], ["NA", "ZA", None]):
        for dtype in (object, "str", "string", "category"):
            frame = pd.DataFrame({"land": pd.Series(countries * 4, dtype=dtype), "x": range(4 * len(countries))})
            column = cr.read_table(frame, need_target=False).columns["land"]
            assert texts(column) == countries * 4
            assert column.typed


def test_missing_value_words_are_holes_for_models_of_older_versions():
    for kind in (CategoryColumn, EmbeddedColumn):
        column = kind("a", ("x",), False, False, (1.0,))
        assert "marks" not in column.describe()
        assert column.known == KnownTexts(frozenset({"x"}))
    with pytest.raises(cr.OptionError, match="expected words for holes as marks of 'a'"):
        CategoryColumn("a", ("x",), False, False, (1.0,), ("Bonn",))


# ---- a target that is known -------------------------------------------------------------------------


def test_read_table_like_another_table(csv):
    training = pd.DataFrame({"land": pd.Series(["NA", "1.0", "1", None], dtype=object), "y": ["NA", "1", "1.0", "1"]})
    first = cr.read_table(training, target="y")
    path = csv("NA", "1.0", "1", "?")
    path.write_text("land,y\nNA,NA\n1.0,1\n1,1.0\n?,1.00\n")
    other = cr.read_table(path, target="y", like=first)
    assert texts(other.columns["land"]) == ["NA", "1.0", "1", None]
    assert other.target.tolist() == ["NA", "1", "1.0", "1"]
    path.write_text("land,y\nNA,NA\n1.0,2\n")
    with pytest.raises(cr.DataError, match=r"row 1 .* expected one of the classes.*, got '2'"):
        encode_target(cr.read_table(path, target="y", like=first).target, "classify", ("1", "1.0", "NA"))


def test_class_names_of_a_model_in_a_text_file(csv):
    net = cr.MLP([1, 3])
    net.preparation = cr.Preparation(feature_names=("x",), target_name="y", classes=("1", "1.0", "NA"))
    table = cr.read_table(csv("1.0", "1", "NA", "1.00", name="y"), target="y", like=net)
    assert encode_target(table.target, "classify", net.preparation.classes).tolist() == [1, 0, 2, 0]
    with pytest.raises(cr.DataError, match=r"column 'y': expected a value in every row, got '\?'"):
        cr.read_table(csv("1.0", "?", name="y"), target="y", like=net)


@pytest.mark.parametrize("truths", [["true", "FALSE"], ["True", "False"]])
def test_boolean_class_names_in_any_case(csv, truths):
    net = cr.MLP([1, 2])
    net.preparation = cr.Preparation(feature_names=("x",), target_name="y", classes=("False", "True"))
    table = cr.read_table(csv(*truths, name="y"), target="y", like=net)
    assert encode_target(table.target, "classify", net.preparation.classes).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("1E+500", "1E+500"),
        ("0E-500", "0"),
        ("1E-100000000", "1E-100000000"),
        ("25.50", "25.5"),
        ("3E+20", f"3{'0' * 20}"),
    ],
)
def test_label_name_of_a_decimal(value, name):
    assert label_name(Decimal(value)) == name


def test_decimals_beyond_float64_are_refused():
    frame = pd.DataFrame({"a": [Decimal("1E+400"), Decimal(2), Decimal(3)], "y": [1, 2, 3]})
    with pytest.raises(DataError, match="a finite number"):
        cr.read_table(frame, target="y")
