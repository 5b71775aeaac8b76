"""How numbers are written (decimal and thousands signs): by the whole file, and later as the model knows it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.category_columns import CategoryColumn
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.notation import APOSTROPHES, PLAIN, SPACES, Notation
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_columns import column_from
from chainrule.tables.splitting.group_and_time_columns import read_times
from chainrule.tables.text import fill_builders
from chainrule.tables.text.infer_notation import match_known_notation

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

COMMA, GERMAN, ENGLISH = Notation(","), Notation(",", "."), Notation(".", ",")


def semicolons(**columns: list[str]) -> str:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(f"{';'.join(row)}\n" for row in rows)


def same(one, other) -> None:
    """Two tables with the same columns, target and notations."""
    assert list(one.columns) == list(other.columns)
    for name, data in one.columns.items():
        if isinstance(data, Categorical):
            texts = [np.array([*c.names, ""], object)[c.codes].tolist() for c in (data, other.columns[name])]
            assert texts[0] == texts[1]
        else:
            np.testing.assert_array_equal(data, other.columns[name])
    np.testing.assert_array_equal(one.target, other.target)
    assert one.columns.notations == other.columns.notations
    assert one.columns.target_notation == other.columns.target_notation


# ---- a file is one thing -----------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 5460, 5461, 5999])
def test_a_decimal_comma_anywhere_makes_points_thousands_separators(write, at):
    others = ["2"] * 6000
    others[at] = "1,5"
    table = cr.read_table(write(semicolons(a=["1.500"] * 6000, b=others, y=["3"] * 6000)), target="y")
    assert set(table.columns["a"].tolist()) == {1500.0}
    assert table.columns["b"][at] == 1.5


FILES = {
    "decimal comma once": {"a": ["1.500", "2.750"], "b": ["7", "7", "7", "1,5"]},
    "decimal point once": {"a": ["1,500", "2,750"], "b": ["7", "7", "7", "1.5"]},
    "points of two kinds in a column": {"a": ["1.500"] * 5 + ["2.25"], "b": ["1,234", "7,1"]},
    "thousands and decimals": {"a": ["1.500", "2"], "b": ["1.234,5", "3", "4"], "c": ["1.234.567", "1", "2"]},
    "spaces, then a comma": {"a": ["1 234"] * 5 + ["1 234,5"], "b": ["1.500"]},
    "a comma in text columns alone": {"a": ["1.500"], "b": ["x", "1,5", "y"]},
    "categories with decimals": {"a": ["1.500", "2.500"], "b": ["7,0", "7", "red", "blue", "green"]},
    "exponents are decimals": {"a": ["1.500"] * 5 + ["1.500e0"], "b": ["7", "1,5"]},
    "holes first": {"a": ["", "", "", "1.500"], "b": ["NA", "?", "1,5"]},
    "the target decides": {"a": ["1.500", "3.500"], "y": ["0", "1", "2", "1,5"]},
}


@pytest.mark.parametrize("columns", FILES.values(), ids=FILES)
def test_decimal_signs_do_not_depend_on_the_order_of_rows(write, monkeypatch, columns):
    monkeypatch.setattr(fill_builders, "CELLS_PER_PART", 1)
    monkeypatch.setattr(fill_builders, "MIN_ROWS", 4)
    rng = np.random.default_rng(0)
    n = 23
    cells = {name: [texts[min(i, len(texts) - 1)] for i in range(n)] for name, texts in columns.items()}
    cells.setdefault("y", [str(i) for i in range(n)])
    tables = []
    for _ in range(8):
        order = rng.permutation(n)
        text = semicolons(**{name: [column[i] for i in order] for name, column in cells.items()})
        try:
            table = cr.read_table(write(text), target="y")
        except DataError as error:
            tables.append(error.message.partition("column")[2].partition(":")[0])
            continue
        back = np.argsort(order)
        tables.append((table, back))
    if isinstance(tables[0], str):
        assert set(tables) == {tables[0]}
        return
    first, back = tables[0]
    for table, order in tables[1:]:
        for name, data in table.columns.items():
            of_first = first.columns[name]
            if isinstance(data, Categorical):
                found = [np.array([*c.names, ""], object)[c.codes[o]] for c, o in ((of_first, back), (data, order))]
            else:
                found = [of_first[back], data[order]]
            assert list(map(str, found[0].tolist())) == list(map(str, found[1].tolist()))
        assert first.target[back].tolist() == table.target[order].tolist()
        assert first.columns.notations == table.columns.notations


def test_decimal_signs_of_dropped_columns_count(write):
    path = write(semicolons(a=["1.500", "2.500"], b=["1,5", "2"], y=["1", "2"]))
    for options in ({}, {"drop": ["b"]}, {"feature_names": ["a"]}):
        table = cr.read_table(path, target="y", **options)
        assert table.columns["a"].tolist() == [1500, 2500], options
        assert table.columns.notations["a"] == GERMAN


def test_decimal_points_in_a_semicolon_file_without_commas_are_noted(write):
    table = cr.read_table(write(semicolons(a=["1.500", "2.500"], y=["1", "2"])), target="y")
    assert table.columns["a"].tolist() == [1.5, 2.5]
    assert "1.234 is read as 1.234" in table.notes[0]
    assert cr.read_table(write("a,y\n1.500,1\n2.500,2\n"), target="y").notes == ()


@pytest.mark.parametrize("cells", [["0,713", "-1,749"], ["1,749", "-0,713"]])
def test_a_leading_zero_makes_a_decimal_comma(write, cells):
    table = cr.read_table(write(semicolons(a=cells, b=["1.500", "2.500"], y=cells)), target="y")
    assert (
        sorted(table.columns["a"].tolist())
        == sorted(table.target.tolist())
        == sorted(float(cell.replace(",", ".")) for cell in cells)
    )
    assert table.columns["b"].tolist() == [1500, 2500]


def test_an_ambiguous_decimal_sign_in_the_target_is_refused(write):
    with pytest.raises(
        DataError, match=r"column 'y': expected a number, got '1,500'(?s:.*)1,234 may be 1234 or 1\.234"
    ):
        cr.read_table(write(semicolons(a=["1", "2"], y=["1,500", "2,500"])), target="y")


def test_numbers_with_exponents_have_no_thousands_separator(write):
    """1.234e3 beside decimal commas is no 1,234,000: it contradicts them."""
    assert match_known_notation(GERMAN, "1.234e3") is None
    with pytest.raises(DataError, match="column 'a'"):
        cr.read_table(write(semicolons(a=["1.234e3", "1,5"], y=["1", "2"])), target="y")


def test_times_follow_the_decimal_sign_of_their_file(write):
    path = write(semicolons(t=["1.500", "999", "2.000"], b=["1,5", "2", "3"], y=["1", "2", "3"]))
    assert read_times(path, "t").tolist() == [1500, 999, 2000]


# ---- what a notation is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "cell", "value"),
    [
        (GERMAN, "1.234", 1234),
        (GERMAN, "1.234,5", 1234.5),
        (GERMAN, "7", 7),
        (GERMAN, "0,5", 0.5),
        (GERMAN, "1 234", 1234),
        (GERMAN, "1.5", None),
        (GERMAN, "0.500", None),
        (GERMAN, "1,234.5", None),
        (COMMA, "1.234", None),
        (COMMA, "1.234,5", 1234.5),
        (COMMA, "1.234.567", 1234567),
        (COMMA, "1,234", 1.234),
        (PLAIN, "1,234", None),
        (PLAIN, "1,5", None),
        (PLAIN, "1,234.5", 1234.5),
        (PLAIN, "1.234", 1.234),
        (PLAIN, "1,234,567", 1234567),
        (ENGLISH, "1,234", 1234),
        (ENGLISH, "1.234", 1.234),
        (ENGLISH, "1.234,5", None),
        (Notation(",", SPACES), "1.234", None),
        (Notation(",", APOSTROPHES), "1\u2019234,5", 1234.5),
        (GERMAN, "x", None),
        (GERMAN, "1e999", None),
    ],
)
def test_match_known_notation(known, cell, value):
    found = match_known_notation(known, cell)
    assert (None if found is None else found.number(cell)) == value


@pytest.mark.parametrize("signs", [("",), (".", "."), (",", ","), (".", "x"), ("x", "")])
def test_notations_of_other_signs_are_refused(signs):
    with pytest.raises(OptionError, match="a point or a comma as the decimal sign"):
        Notation(*signs)


# ---- a model keeps it --------------------------------------------------------------------------------

TRAINING = semicolons(
    price=["7.311", "1.204", "512", "2.001"],
    area=["3,25", "1", "2", "4,5"],
    rooms=["3", "4", "5", "6"],
    code=["7,0", "8,0", "7,0", "8,0"],
    y=["1.000,5", "2", "3.000", "4"],
)


@pytest.fixture
def net(write, tmp_path):
    """A net of the file above, saved and opened."""
    table = cr.read_table(write(TRAINING, "training.csv"), target="y", categorical=["code"])
    encoder = cr.TableEncoder.fit(table.columns)
    net = cr.MLP([len(encoder.names), 1], loss="squared_error")
    net.preparation = cr.Preparation(encoder=encoder, target_name="y", target_notation=table.columns.target_notation)
    net.save(tmp_path / "net")
    return cr.load(tmp_path / "net", device="cpu")


def test_the_notation_of_training_is_kept_in_the_model_file(net):
    assert net.preparation.encoder.notations == dict.fromkeys(("price", "area", "rooms", "code"), GERMAN)
    assert net.preparation.target_notation == GERMAN


def test_later_files_without_decimals_are_read_in_the_notation_of_training(net, write):
    new = semicolons(
        price=["5.000", "6.000"], area=["3", "4"], rooms=["1.024", "2"], code=["7,0", "9"], y=["7.311", "2"]
    )
    table = cr.read_table(write(new), target="y", like=net)
    assert table.columns["price"].tolist() == [5000, 6000]
    assert table.columns["rooms"].tolist() == [1024, 2]
    assert table.columns["code"].names == ("7", "9")
    assert table.target.tolist() == [7311, 2]


@pytest.mark.parametrize(
    ("column", "cell"), [("price", "5.5"), ("area", "0.25"), ("rooms", "1,234.5"), ("y", "1.5"), ("y", "1e-1.5")]
)
def test_a_cell_that_contradicts_the_notation_of_training_is_refused(net, write, column, cell):
    new = {"price": ["1", "5.000"], "area": ["3", "4"], "rooms": ["2", "2"], "code": ["7", "8"], "y": ["1", "2"]}
    new[column][1] = cell
    with pytest.raises(DataError, match=f"line 3, column '{column}': expected .*, got '{cell}'"):
        cr.read_table(write(semicolons(**new)), target="y", like=net)


def test_decimal_points_after_training_with_commas_are_refused(net, write):
    new = semicolons(price=["1"], area=["0.25"], rooms=["2"], code=["7"])
    with pytest.raises(DataError, match=r"written as in training, such as 1\.234,5(?s:.*)decimal comma"):
        cr.read_table(write(new), like=net)


def test_decimal_commas_after_training_with_points_are_refused(write):
    table = cr.read_table(write("a,b,y\n1.5,2,1\n2.5,3,2\n"), target="y")
    assert table.columns.notations == {"a": PLAIN, "b": PLAIN}
    for cells in (["1,5", "2"], ["1,234", "2"]):
        with pytest.raises(DataError, match="line 2, column 'a'"):
            cr.read_table(write(semicolons(a=cells, b=["1", "2"])), like=table, need_target=False)


def test_text_of_a_dataframe_is_read_in_the_notation_of_training(net):
    frame = pd.DataFrame({"price": ["5.000", "6"], "area": ["3,5", "4"], "rooms": [3.5, 4], "code": ["7", "8"]})
    for data in (frame, pa.Table.from_pandas(frame)):
        table = cr.read_table(data, like=net)
        assert [table.columns[name].tolist() for name in ("price", "area", "rooms")] == [[5000, 6], [3.5, 4], [3.5, 4]]
        with pytest.raises(DataError, match=r"column 'area', row 1 \(from 0\): expected .*, got '0\.25'"):
            cr.read_table(
                frame.assign(area=["3", "0.25"])
                if data is frame
                else pa.Table.from_pandas(frame.assign(area=["3", "0.25"])),
                like=net,
            )


def test_numbers_in_object_columns_have_no_notation(net):
    frame = pd.DataFrame({"price": np.array([1.5, "2"], object), "area": [1.5, 2], "rooms": [3, 4], "code": ["7", "8"]})
    assert cr.read_table(frame, like=net).columns["price"].tolist() == [1.5, 2]


@pytest.mark.parametrize("of_target", [False, True], ids=["feature", "target"])
@pytest.mark.parametrize(
    ("text", "value"), [("7.311", 7311), ("7.311,5", 7311.5), (" 2,5 ", 2.5), ("12", 12), ("0.5", None), ("1e3", 1000)]
)
def test_text_beside_numbers_in_object_columns_is_read_in_the_notation_of_training(net, text, value, of_target):
    """A decimal point is that of Python's numbers, and no excuse for that of the text beside them."""
    known = net.preparation
    column = "price"
    values = {"price": [1.5, 2], "area": [1.5, 2], "rooms": [3, 4], "code": ["7", "8"]}
    if of_target:
        column, values = known.target_name or "y", {**values, known.target_name or "y": [1.5, 2]}
    frame = pd.DataFrame({**values, column: np.array([1.5, text], object)})
    like = {"like": net, "target": column} if of_target else {"like": net}
    if value is None:
        with pytest.raises(DataError, match=rf"column '{column}', row 1 \(from 0\): .* as in training"):
            cr.read_table(frame, **like)
        return
    table = cr.read_table(frame, **like)
    assert (table.target if of_target else table.columns[column]).tolist() == [1.5, value]


def test_categories_that_are_different_numbers_have_different_names(write):
    """In a file of decimal commas 1,500 is 1.5 and 1.500 is 1500."""
    codes = ["1,500", "1.500", "1500", "-2.500.000", "2,5", "1.5000", "0.500", "1.50"]
    text = semicolons(code=codes, b=["1,5"] * len(codes))
    column = cr.read_table(write(text), need_target=False, categorical=["code"]).columns["code"]
    names = [column.names[code] for code in column.codes.tolist()]
    assert names == ["1.500", "1500", "1500", "-2500000", "2.5", "1.5000", "0.500", "1.50"]


@pytest.mark.parametrize("kind", ["typed columns", "whole numbers alone"])
def test_columns_without_a_visible_notation_leave_it_to_later_files(write, kind):
    whole = write("a,y\n1,1\n2,2\n")
    table = cr.read_table(pd.DataFrame({"a": [1.5, 2], "y": [1, 2]}) if kind == "typed columns" else whole, target="y")
    assert table.columns.notations == {}
    later = cr.read_table(write(semicolons(a=["1,5", "2"], more=["x", "y"])), like=table, need_target=False)
    assert later.columns["a"].tolist() == [1.5, 2]


def test_whole_numbers_take_the_notation_of_dropped_columns(write):
    path = write(semicolons(a=["7", "8"], b=["1,5", "2,5"], y=["1", "2"]))
    for options in ({}, {"drop": ["b"]}):
        table = cr.read_table(path, target="y", **options)
        assert table.columns.notations["a"] == table.columns.target_notation == COMMA, options
    with pytest.raises(DataError, match=r"column 'a'(?s:.*)7\.311"):
        cr.read_table(write(semicolons(a=["7.311"], y=["1"])), like=table, target="y")


def test_both_decimal_signs_in_a_file_are_kept_per_column(write):
    table = cr.read_table(write(semicolons(a=["1.5", "2"], b=["1,5", "2"], c=["1", "2"], y=["1", "2"])), target="y")
    assert table.columns.notations == {"a": PLAIN, "b": COMMA}


def test_booleans_and_missing_values_are_read_in_any_notation(net, write):
    new = semicolons(price=["NA", "5.000"], area=["?", ""], rooms=["True", "false"], code=["7", "8"])
    table = cr.read_table(write(new), like=net)
    assert table.columns["price"].tolist()[1] == 5000
    assert table.columns["rooms"].tolist() == [1, 0]
    assert np.isnan(table.columns["area"]).all()


@pytest.mark.parametrize(
    "notation",
    [
        {"decimal": ";", "thousands": ""},
        {"decimal": ",", "thousands": ","},
        {"decimal": 1, "thousands": ""},
        ",.",
        None,
        {"decimal": ",", "thousands": ".", "more": "x"},
        {"decimal": ",", "thousands": ["."]},
        {"thousands": "."},
    ],
)
def test_model_descriptions_with_invalid_notations_are_refused(notation):
    with pytest.raises((TypeError, OptionError)):
        column_from({"kind": "number", "name": "a", "notation": notation})


def test_encoder_columns_are_equal_only_with_the_same_notation():
    assert NumberColumn("a", notation=COMMA) != NumberColumn("a")
    assert CategoryColumn("a", ("x",), False, False, (1.0,), notation=COMMA).describe()["notation"] == COMMA.describe()
    with pytest.raises(OptionError, match="a Notation or None"):
        NumberColumn("a", notation=",")


def test_text_categories_of_dataframes_are_named_as_in_the_text_file_of_training(write):
    """1,5 is 1.5 also in a DataFrame, a categorical and Arrow, for a model of a file of decimal commas."""
    cells = ["1,5", "7,0", "2,25", "1.500", "A"]
    path = write(semicolons(code=cells, b=["1,5"] * 5))
    table = cr.read_table(path, need_target=False, categorical=["code"])
    frame = pd.DataFrame({"code": cells, "b": [1.5] * 5})
    texts = {"objects": frame, "levels": frame.astype({"code": "category"}), "arrow": pa.Table.from_pandas(frame)}
    for kind, data in texts.items():
        column = cr.read_table(data, like=table, need_target=False).columns["code"]
        assert [column.names[code] for code in column.codes] == ["1.5", "7", "2.25", "1500", "A"], kind
    numbers = pd.DataFrame({"code": [1.5, 7.0, 2.25, 1.125, 1500], "b": [1.5] * 5})
    column = cr.read_table(numbers, like=table, need_target=False).columns["code"]
    assert [column.names[code] for code in column.codes] == ["1.5", "7", "2.25", "1.125", "1500"]


@pytest.mark.parametrize("cell", ["0e99999999999999999999", "1e-99999999999999999999", "0e-99999999999999999999"])
def test_exponents_beyond_those_of_decimal_beside_large_targets(write, cell):
    target = cr.read_table(write(f"a,y\n1,{cell}\n2,5\n3,9007199254740993\n"), target="y").target
    assert target.tolist()[:2] == [0, 5]


def test_ambiguous_points_in_a_file_of_both_decimal_signs_are_noted(write):
    path = write(semicolons(a=["1,5", "2,5"], b=["0.5", "0.7"], c=["1.234", "5.678"], y=["1", "2"]))
    table = cr.read_table(path, target="y")
    assert table.columns["c"].tolist() == [1.234, 5.678]
    assert "column 'c': 1.234 is read as 1.234" in table.notes[0]


def test_a_copy_of_table_columns_keeps_the_notations(write):
    columns = cr.read_table(write(TRAINING), target="y").columns
    assert cr.TableEncoder.fit(columns.copy()).notations == columns.notations != {}
    assert columns.copy().target_notation == columns.target_notation
