"""Columns of money, per cent and units: numbers in every form of a table, and later as the model knows them."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, OptionError
from chainrule.files import model_file
from chainrule.nn.columns import units
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.notation import PLAIN, Notation
from chainrule.tables.text.infer_notation import match_known_notation

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
nan = np.nan

NUMBERS = {  # cells of a column, its numbers, and its unit
    "dollars before": (["$124,644.57", "$5.00", "$1,000.25"], [124644.57, 5, 1000.25], "$"),
    "dollars after": (["5.5$", "6.5 $"], [5.5, 6.5], "$"),
    "dollars with a space": (["$ 5.5", "$ 6"], [5.5, 6], "$"),
    "of a country": (["US$5.5", "US$ 6"], [5.5, 6], "US$"),
    "euro before": (["€5.25", "€6.5"], [5.25, 6.5], "€"),
    "euro after, decimal commas": (["124,64 €", "1,5 €"], [124.64, 1.5], "€"),
    "euro, thousands and commas": (["1.234,5 €", "999 €"], [1234.5, 999], "€"),
    "a no-break space": (["5.5\xa0€", "6.25\xa0€"], [5.5, 6.25], "€"),
    "a narrow no-break space": (["1 234,5\u202f€", "7,5\u202f€"], [1234.5, 7.5], "€"),
    "spaces between thousands": (["1 234 567 kr", "5 kr"], [1234567, 5], "kr"),
    "apostrophes between thousands": (["CHF 1'234.50", "CHF 7"], [1234.5, 7], "CHF"),
    "pounds": (["£1,234,567", "£5"], [1234567, 5], "£"),
    "yen": (["¥500", "¥1500"], [500, 1500], "¥"),
    "rupees": (["₹5.5", "₹7"], [5.5, 7], "₹"),
    "roubles": (["5,5 ₽", "7,25 ₽"], [5.5, 7.25], "₽"),
    "reais": (["R$ 1.234,56", "R$ 7,00"], [1234.56, 7], "R$"),
    "złoty": (["5,5 zł", "6,5 zł"], [5.5, 6.5], "zł"),
    "a code before": (["USD 5.5", "USD 7"], [5.5, 7], "USD"),
    "a code before, without a space": (["EUR5.5", "EUR7"], [5.5, 7], "EUR"),
    "a code after": (["5.5 EUR", "7 EUR"], [5.5, 7], "EUR"),
    "before and after": (["$5.5", "7$"], [5.5, 7], "$"),
    "minus before the sign": (["-$5.5", "$7"], [-5.5, 7], "$"),
    "minus behind the sign": (["$-5.5", "$ -7", "+$3"], [-5.5, -7, 3], "$"),
    "minus before a number": (["-5.5 €", "7 €"], [-5.5, 7], "€"),
    "minus before and behind a code": (["-USD 5.5", "USD -7"], [-5.5, -7], "USD"),
    "per cent": (["12.4%", "-3%", "100%"], [12.4, -3, 100], "%"),
    "per cent with a space": (["12,4 %", "3,5 %"], [12.4, 3.5], "%"),
    "per cent before": (["%12.5", "%3"], [12.5, 3], "%"),
    "per mille": (["1.5‰", "2‰"], [1.5, 2], "‰"),
    "kg": (["35 kg", "72.5 kg"], [35, 72.5], "kg"),
    "kg without a space": (["35kg", "72.5kg"], [35, 72.5], "kg"),
    "g": (["250g", "300g"], [250, 300], "g"),
    "lb": (["5 lb", "7 lb"], [5, 7], "lb"),
    "oz": (["5 oz", "7.5 oz"], [5, 7.5], "oz"),
    "km": (["5 km", "7.5 km"], [5, 7.5], "km"),
    "m": (["5 m", "7.5 m"], [5, 7.5], "m"),
    "mm": (["5mm", "7.5mm"], [5, 7.5], "mm"),
    "ft": (["5 ft", "7 ft"], [5, 7], "ft"),
    "m²": (["1,200.5 m²", "800 m²"], [1200.5, 800], "m²"),
    "sqft": (["1,200.5 sqft", "800 sqft"], [1200.5, 800], "sqft"),
    "l": (["1.5 l", "2 l"], [1.5, 2], "l"),
    "ms": (["15 ms", "2.5 ms"], [15, 2.5], "ms"),
    "min": (["90 min", "115 min"], [90, 115], "min"),
    "hours": (["1.5h", "2h"], [1.5, 2], "h"),
    "°C": (["-1.5 °C", "20.25 °C"], [-1.5, 20.25], "°C"),
    "kelvin": (["273.15 K", "300 K"], [273.15, 300], "K"),
    "volts": (["12 V", "230 V"], [12, 230], "V"),
    "kWh": (["5.5 kWh", "7 kWh"], [5.5, 7], "kWh"),
    "GB": (["16GB", "32GB"], [16, 32], "GB"),
    "km/h": (["90 km/h", "130.5 km/h"], [90, 130.5], "km/h"),
    "an exponent": (["1.5e3 Hz", "200 Hz"], [1500, 200], "Hz"),
    "missing cells": (["$5.5", "", "$7", ""], [5.5, nan, 7, nan], "$"),
    "words for missing cells": (["NA", "5%", "n/a", "7.5%"], [nan, 5, nan, 7.5], "%"),
}
TEXT = {
    "codes": ["A12", "B13", "C14"],
    "house numbers": ["12A", "14A", "3A"],
    "house numbers, mixed": ["12a", "12b", "7", "x", "y"],
    "ranks": ["1st", "2nd", "3rd"],
    "sizes": ["10x20", "20x30", "5x5"],
    "ids": ["X-001", "X-002", "X-003"],
    "ids that begin as a currency does": ["USD-001", "USD-002", "USD-003"],
    "ids that begin as a unit does": ["kg 5", "kg 6", "kg 7"],
    "words that are no unit": ["5 apples", "6 apples", "7 apples"],
    "a thousand": ["$10K", "$20K", "$30K"],
    "ranges": ["5-10%", "10-20%", "20-30%"],
    "screens": ["4K", "8K", "4K"],
    "in brackets": ["($5)", "($6)", "($7)"],
    "two signs": ["$5 USD", "$6 USD", "$7 USD"],
    "two minus signs": ["-$-5", "-$-6", "-$-7"],
    "two spaces": ["5  kg", "6  kg", "7  kg"],
    "versions": ["v1.2", "v1.3", "v2.0"],
    "a unit and words": ["5 kg", "6 kg", "large", "small", "tiny"],
}
MIXED = {  # cells, the row of the first wrong one, and what is expected
    "two currencies": (["$5", "$6", "€7"], 2, "a number with '$' as in most rows"),
    "two units": (["5 kg", "6 g", "7 g"], 0, "a number with 'g' as in most rows"),
    "each another unit": (["5 kg", "6 g"], 1, "a number with 'kg' as in most rows"),
    "numbers with and without": (["5%", "6%", "7"], 2, "a number with '%' as in most rows"),
    "a word": (["$5", "$6", "free"], 2, "a number with '$' as in most rows"),
    "accountants' minus": (["$5", "$6", "($7)"], 2, "a number with '$' as in most rows"),
    "two notations": (["$1,234.5", "$2,000.5", "$1.234,5"], 2, "a number"),
    "undecided": (["$1,234", "$2,345"], 0, "a number"),
}


def text_file(folder, data, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    content = io.StringIO(newline="")
    writer = csv.writer(content, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerow(data)
    writer.writerows(zip(*data.values(), strict=True))
    path = folder / "t.csv"
    path.write_text(content.getvalue(), encoding="utf-8")
    return path


def parquet(folder, data):
    path = folder / "t.parquet"
    pd.DataFrame(data).to_parquet(path)
    return path


def with_nulls(data):
    return {name: [None if cell == "" else cell for cell in cells] for name, cells in data.items()}


FORMS = {
    "CSV": text_file,
    "CSV, quoted": lambda folder, data: text_file(folder, data, quoting=csv.QUOTE_ALL),
    "semicolons": lambda folder, data: text_file(folder, data, ";"),
    "pandas": lambda folder, data: pd.DataFrame(data),
    "pandas, nulls": lambda folder, data: pd.DataFrame(with_nulls(data)),
    "Arrow": lambda folder, data: pa.table(with_nulls(data)),
    "Parquet": parquet,
}


def table_of(folder, form, cells, as_target=False):
    data = {"a": cells, "row": list(range(len(cells)))}
    return cr.read_table(FORMS[form](folder, data), target="a" if as_target else "row")


@pytest.mark.parametrize("form", FORMS)
def test_numbers_with_one_unit_are_numbers_in_every_form_of_a_table(tmp_path, form):
    for title, (cells, numbers, unit) in NUMBERS.items():
        table = table_of(tmp_path, form, cells)
        np.testing.assert_array_equal(table.columns["a"], numbers, err_msg=title)
        assert table.columns.notations["a"].unit == unit, title
        (note,) = [note for note in table.notes if "read as numbers" in note]
        assert note.startswith(f"column 'a': {unit!r} "), title
        if not np.isnan(numbers).any():
            table = table_of(tmp_path, form, cells, as_target=True)
            np.testing.assert_array_equal(table.target, numbers, err_msg=title)
            assert table.columns.target_notation.unit == unit, title


@pytest.mark.parametrize("form", FORMS)
def test_other_text_stays_text(tmp_path, form):
    for title, cells in TEXT.items():
        table = table_of(tmp_path, form, cells)
        assert isinstance(table.columns["a"], Categorical), title
        assert table.columns["a"].names == tuple(dict.fromkeys(cells)), title
        assert not any("read as numbers" in note for note in table.notes), title


@pytest.mark.parametrize("as_target", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_several_units_are_refused_naming_the_cell(tmp_path, form, as_target):
    for cells, row, expected in MIXED.values():
        where = f"line {row + 2}, column 'a'" if "CSV" in form or form == "semicolons" else f"column 'a', row {row} "
        with pytest.raises(DataError) as caught:
            table_of(tmp_path, form, cells, as_target)
        for part in (where, f": expected {expected}", f"got '{cells[row]}'"):
            assert part in caught.value.message


def test_the_note_says_where_the_unit_stands(tmp_path):
    table = table_of(tmp_path, "CSV", ["$5", "$6"])
    assert table.notes == ("column 'a': '$' before each number; read as numbers",)
    table = table_of(tmp_path, "CSV", ["", "12.40%", "3%"])
    assert table.notes == ("column 'a': '%' after each number; read as numbers, 12.40% as 12.40",)
    assert "'$' beside each number" in table_of(tmp_path, "CSV", ["$5", "6$"]).notes[0]


def test_categories_and_levels_stay_categories(tmp_path):
    cells = ["5%", "10%", "5%"]
    path = text_file(tmp_path, {"a": cells, "y": [1, 2, 3]})
    assert cr.read_table(path, target="y", categorical=["a"]).columns["a"].names == ("5%", "10%")
    frame = pd.DataFrame({"a": pd.Categorical(cells), "y": [1, 2, 3]})
    for data in (frame, pa.Table.from_pandas(frame)):
        assert isinstance(cr.read_table(data, target="y").columns["a"], Categorical)
        assert set(cr.read_table(data, target="a").target) == {"5%", "10%"}


@pytest.mark.parametrize("kind", ["Categorical", "Enum"])
def test_levels_of_polars_stay_categories(kind):
    pl = pytest.importorskip("polars", reason="Polars is not installed")
    dtype = pl.Categorical if kind == "Categorical" else pl.Enum(["10%", "5%"])
    frame = pl.DataFrame({"a": pl.Series(["5%", None, "10%", "5%"], dtype=dtype), "y": [1, 2, 3, 4]})
    column = cr.read_table(frame, target="y").columns["a"]
    assert [column.names[code] if code >= 0 else None for code in column.codes] == ["5%", None, "10%", "5%"]
    assert cr.read_table(frame.with_columns(a=pl.col("a").cast(pl.String)), target="y").columns["a"].dtype == np.float64


@pytest.mark.parametrize("other", ["1.5", "$2.25"])
@pytest.mark.parametrize("as_target", [False, True])
def test_other_columns_decide_what_a_comma_is(tmp_path, other, as_target):
    """The same table as text, whose columns are asked for their decimal signs, and as a frame."""
    data = {"a": ["$1,234", "$5"], "b": [other, other], "y": [1, 2]}
    typed = {**data, "b": [1.5, 1.5]} if other == "1.5" else data
    for source in (text_file(tmp_path, data), pd.DataFrame(typed), parquet(tmp_path, typed)):
        table = cr.read_table(source, target="a" if as_target else "y")
        found = table.target if as_target else table.columns["a"]
        assert found.tolist() == [1234, 5]
    if other != "1.5":
        table = cr.read_table(pd.DataFrame({**data, "b": ["2,25 €", "7 €"]}), target="y")
        assert table.columns["a"].tolist() == [1.234, 5]


def test_decimal_commas_elsewhere_make_points_thousands(tmp_path):
    data = {"a": ["1.234 €", "5 €"], "b": ["1,5", "2"], "y": ["1", "2"]}
    assert cr.read_table(text_file(tmp_path, data, ";"), target="y").columns["a"].tolist() == [1234, 5]
    data["b"] = ["1", "2"]
    table = cr.read_table(text_file(tmp_path, data, ";"), target="y")
    assert table.columns["a"].tolist() == [1.234, 5]
    assert any("1.234 is read as 1.234" in note for note in table.notes)


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_is_said_to_be_numbers_may_have_a_unit(tmp_path, form):
    source = FORMS[form](tmp_path, {"a": ["5%", "6.5%"], "y": [1, 2]})
    table = cr.read_table(source, target="y", kinds={"a": "number"})
    assert table.columns["a"].tolist() == [5, 6.5]
    assert cr.read_table(source, target="a", kinds={"a": "number"}).target.tolist() == [5, 6.5]


# ---- later tables --------------------------------------------------------------------------------------


@pytest.fixture
def net(tmp_path):
    """A net of money from per cents, saved and opened."""
    data = {"rate": ["12.5%", "3%", "1%"], "size": ["1,200.5 m²", "800 m²", ""], "plain": [1, 2, 3]}
    table = cr.read_table(text_file(tmp_path, data | {"price": ["$1,234.5", "$7", "$8"]}), target="price")
    encoder = cr.TableEncoder.fit(table.columns)
    net = cr.MLP([len(encoder.names), 1], loss="squared_error")
    net.preparation = cr.Preparation(
        encoder=encoder, target_name="price", target_notation=table.columns.target_notation
    )
    net.save(tmp_path / "net")
    return cr.load(tmp_path / "net", device="cpu")


NEW = {"rate": ["12.5%", "2%"], "size": ["1,200 m²", ""], "plain": ["5", "6"], "price": ["$5", "$1,000.5"]}
BARE = {"rate": ["12.5", "2"], "size": ["1,200.0", ""], "plain": ["5", "6"], "price": ["5", "1000.5"]}


def test_the_unit_is_kept_in_the_model_file(net, tmp_path):
    english = Notation(".", ",")
    assert net.preparation.encoder.notations == {
        "rate": Notation(".", ",", "%"),
        "size": Notation(".", ",", "m²"),
        "plain": english,
    }
    assert net.preparation.target_notation == Notation(".", ",", "$")
    description, _ = model_file.read(tmp_path / "net")
    assert model_file.version_of(description) == 6
    for signs in [*(column["notation"] for column in description["columns"]), description["target_notation"]]:
        signs.pop("unit", None)
    assert model_file.version_of(description) == 5  # as before, where there are no units


@pytest.mark.parametrize("form", FORMS)
def test_later_tables_are_read_with_the_unit_or_without(net, tmp_path, form):
    tables = [cr.read_table(FORMS[form](tmp_path, data), target="price", like=net) for data in (NEW, BARE)]
    for table in tables:
        assert table.columns["rate"].tolist() == [12.5, 2]
        np.testing.assert_array_equal(table.columns["size"], [1200, nan])
        assert not table.notes
    assert tables[0].target.tolist() == [5, 1000.5]
    if form not in {"pandas", "pandas, nulls", "Arrow", "Parquet"}:
        assert tables[1].target.tolist() == [5, 1000.5]
    typed = pd.DataFrame({"rate": [12.5, 2], "size": [1200, nan], "plain": [5, 6]})
    np.testing.assert_array_equal(net.predict_table(cr.read_table(typed, like=net)), net.predict_table(tables[0]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("rate", "5 kg", "a number with '%', or with nothing beside it, as in training"),
        ("rate", "$5", "a number with '%', or with nothing beside it, as in training"),
        ("size", "5 m", "a number with 'm²', or with nothing beside it, as in training"),
        ("size", "1,5 m²", "a number written as in training"),
        ("rate", "none of it", "a number as in training"),
        ("plain", "5%", "a number with"),
        ("price", "€5", "a number with '$', or with nothing beside it, as in training"),
    ],
)
def test_other_units_are_refused_later(net, tmp_path, form, column, cell, expected):
    new = {name: list(cells) for name, cells in NEW.items()}
    new[column][1] = cell
    where = f"line 3, column '{column}'" if "CSV" in form or form == "semicolons" else f"column '{column}', row 1 "
    with pytest.raises(DataError) as caught:
        cr.read_table(FORMS[form](tmp_path, new), target="price", like=net)
    for part in (where, f": expected {expected}", f"got '{cell}'"):
        assert part in caught.value.message


def test_a_unit_that_training_did_not_have_is_refused(tmp_path):
    table = cr.read_table(pd.DataFrame({"a": [1, 2], "y": [1.5, 2]}), target="y")
    frame = pd.DataFrame({"a": ["1%", "2%"], "y": [1.5, 2]})
    with pytest.raises(DataError, match=r"expected a number with nothing beside it, as in training, got '1%'"):
        cr.read_table(frame, like=table, need_target=False)
    with pytest.raises(DataError, match=r"expected a number with nothing beside it, as in training, got '1%'"):
        cr.read_table(text_file(tmp_path, {"a": ["1%", "2%"], "y": [1, 2]}), like=table, need_target=False)


def test_estimators_read_units_of_frames():
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 10, 60).round(1)
    typed = pd.DataFrame({"rate": rates, "city": ["a", "b", "c"] * 20})
    text = typed.assign(rate=[f"{rate}%" for rate in rates])
    nets = [cr.MLPRegressor(max_iter=3, random_state=1).fit(frame, rates) for frame in (typed, text)]
    np.testing.assert_array_equal(nets[0].predict(typed), nets[1].predict(text))
    np.testing.assert_array_equal(nets[1].predict(text[:2]), nets[1].predict(typed[:2]))
    with pytest.raises(DataError, match="a number with '%', or with nothing beside it"):
        nets[1].predict(typed.assign(rate="$5"))


# ---- what a unit is ------------------------------------------------------------------------------------


def test_every_listed_unit_is_known():
    for unit in f"{units.CODES} {units.DOLLARS} {units.UNITS} $ € £ ¥ ₹ %".split():
        assert units.is_unit(unit), unit
        assert Notation(".", unit=unit).number(f"2.5 {unit}") == 2.5
    for text in ("", "x", "apples", "kg ", "5", "$$", "A1"):
        assert not units.is_unit(text)
    with pytest.raises(OptionError, match="a known sign or unit"):
        Notation(".", unit="apples")


def test_a_notation_without_a_unit_is_described_as_before():
    assert PLAIN.describe() == {"decimal": ".", "thousands": ""}
    dollars = Notation(".", ",", "$")
    assert Notation.from_description(dollars.describe()) == dollars
    assert dollars.bare == Notation(".", ",")
    assert dollars.example == "1,234.5 $"


@pytest.mark.parametrize(
    ("cell", "value"),
    [("$1,234.5", 1234.5), ("1234.5", 1234.5), ("5 $", 5), ("€5", None), ("$1.234,5", None), ("$1,234", None)],
)
def test_match_known_notation_with_a_unit(cell, value):
    found = match_known_notation(Notation(".", unit="$"), cell)
    assert (found and found.number(cell)) == value


def test_whole_numbers_with_a_unit_are_exact(tmp_path):
    table = table_of(tmp_path, "CSV", ["$9007199254740993", "$1"], as_target=True)
    assert table.target.tolist() == [9007199254740993, 1]
