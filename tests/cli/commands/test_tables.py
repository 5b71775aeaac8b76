"""Tables with text and holes from the command line: trained, shown, predicted, evaluated."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

TRAIN = ("--device", "cpu", "--epochs", 25, "--hidden", "32", "--lr", 0.01, "--weight-decay", 0)


def price_of(size: float, color: str, rng) -> float:
    return round(1000 * size + {"red": 5000, "blue": -5000, "green": 0}[color] + float(rng.normal()) * 50, 2)


@pytest.fixture
def wares(tmp_path) -> Path:
    """300 rows: a number with holes, a color with holes, a code, a date, and a price that needs size and color."""
    rng = np.random.default_rng(3)
    lines = ["size;color;code;sold;price"]
    for i in range(300):
        size, color = float(rng.normal()), str(rng.choice(["red", "blue", "green"]))
        shown = "" if i % 17 == 3 else f"{size:.4f}".replace(".", ",")
        price = f"{price_of(size, color, rng):.2f}".replace(".", ",")
        lines.append(f"{shown};{'NA' if i % 29 == 5 else color};{100 + i % 3};2026-01-{1 + i % 28:02};{price}")
    path = tmp_path / "wares.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def model(run, wares):
    found = run(
        "train", wares, "--target", "price", "--drop", "sold", "--categorical", "code", *TRAIN, "--run-dir", "m"
    )
    assert found.code == 0, found.err
    assert "columns  1 number; 2 categories: color (3), code (3); missing values: size (18), color (11)" in found.err
    return Path("m")


def test_train_evaluate_and_show(run, model, wares):
    found = run("evaluate", model, wares, "--device", "cpu", "--json").json
    assert found["r2"] > 0.9
    assert {"ok", "rows", "rmse", "mae", "r2"} <= set(found)
    text = run("show", model).out
    for part in (
        "missing values become",
        "and have a column",
        "one each for blue, green, red",
        "one for missing ones",
        "100, 101",
    ):
        assert part in text
    (size, color, code) = run("show", model, "--json").json["model"]["columns"]
    assert (size["kind"], size["indicator"], color["categories"]) == ("number", True, ["blue", "green", "red"])
    assert code["missing"] is False


def test_predict_takes_another_delimiter_order_and_more_columns(run, model, wares):
    plain = run("predict", model, wares, "--device", "cpu")
    assert plain.code == 0
    rows = list(csv.DictReader(wares.read_text().splitlines(), delimiter=";"))
    with Path("other.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "extra", "size", "color"])
        writer.writerows([[r["code"], "x", r["size"] or "?", r["color"]] for r in rows])
    other = run("predict", model, "other.csv", "--device", "cpu")
    assert other.out == plain.out
    assert other.err == ""


def test_decimal_points_for_a_model_of_decimal_commas_are_refused_by_line_and_column(run, model):
    Path("other.csv").write_text("size,color,code\n1,red,100\n0.5,red,101\n")
    found = run("predict", model, "other.csv", "--device", "cpu")
    assert found.code == 3
    assert (
        "other.csv, line 3, column 'size': expected a number written as in training, such as 1234,5, got '0.5'"
        in found.err
    )
    assert "; written like 1234,5" in run("show", model).out


def test_one_row_reads_each_column_as_training_did(run, model):
    """Alone, this row's color could be a number and its size text: the model knows better."""
    Path("one.csv").write_text("size;color;code\n0,5;12;101\n")
    found = run("predict", model, "one.csv", "--device", "cpu")
    assert found.code == 0, found.err
    assert "column 'color': the model has no column for '12', which count" in found.err
    assert len(found.out.splitlines()) == 2
    Path("one.csv").write_text("size,color,code\nbig,red,101\n")
    found = run("predict", model, "one.csv", "--device", "cpu")
    assert (found.code, found.error[-75:]) == (
        3,
        "one.csv, line 2, column 'size': expected a number as in training, got 'big'"[-75:],
    )


def test_a_missing_column_is_named(run, model):
    Path("short.csv").write_text("size,code\n1,2\n")
    found = run("predict", model, "short.csv", "--device", "cpu")
    assert found.code == 3
    assert "'color'" in found.error
    np.save("matrix.npy", np.ones((2, 3)))
    found = run("predict", model, "matrix.npy", "--device", "cpu")
    assert found.code == 3
    assert "the model has columns of text ('color')" in found.error


def test_predict_missing_values_of_a_model_that_saw_none(run, tmp_path):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 2))
    lines = [f"{a},{b},{3 * a - b}" for a, b in x.tolist()]
    Path("full.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n")
    assert run("train", "full.csv", "--target", "y", *TRAIN, "--quiet", "--run-dir", "m").code == 0
    fill = cr.load("m/model.safetensors", device="cpu").preparation.encoder.columns[0].fill
    assert abs(fill - np.median(x[:, 0])) < 0.5, "the median of the training rows, which are most"
    Path("holes.csv").write_text(f"a,b\n,1\n{fill!r},1\n")
    found = run("predict", "m", "holes.csv", "--device", "cpu")
    hole, there = [float(line) for line in found.out.splitlines()[1:]]
    assert hole == pytest.approx(there, abs=1e-6)
    np.save("x.npy", x)
    rows = run("predict", "m", "x.npy", "--device", "cpu").out
    assert rows == run("predict", "m", "full.csv", "--device", "cpu").out


def test_task_classify_and_regress(run, wares):
    def task(*more):
        return run(
            "train", wares, "--target", "code", "--drop", "sold", *TRAIN[:2], "--epochs", 1, "--quiet", "--json", *more
        )

    assert task("--run-dir", "a").json["task"] == "classify"
    assert task("--task", "classify", "--run-dir", "b").json["task"] == "classify"
    assert task("--task", "regress", "--run-dir", "c").json["task"] == "regress"
    refused = task("--task", "regress", "--loss", "focal")
    assert (refused.code, "--loss focal is not for --task regress" in refused.error) == (2, True)


def test_refusals_name_line_and_column_and_a_way_out(run, wares):
    found = run("train", wares, "--target", "price")
    assert found.code == 3
    assert "line 2, column 'sold': expected a number or a category, got '2026-01-01'" in found.error
    assert "--drop" in found.err
    Path("gap.csv").write_text("a,y\n1,2\n3,\n")
    found = run("train", "gap.csv", "--target", "y")
    assert "line 3, column 'y': expected a value in every row, got an empty cell" in found.error
    Path("same.csv").write_text("a,y\n1,cat\n3,cat\n")
    assert "expected at least two classes, got 'cat' in every row" in run("train", "same.csv", "--target", "y").error
    assert run("train", wares, "--target", "price", "--drop", "sould").code == 2


def test_a_valid_file_is_read_as_the_training_rows(run, wares):
    lines = wares.read_text().splitlines()
    Path("valid.csv").write_text("\n".join([lines[0], *lines[250:]]).replace("red", "violet") + "\n")
    found = run("train", wares, "--target", "price", "--drop", "sold", "--valid", "valid.csv", *TRAIN, "--json")
    assert found.code == 0, found.err
    assert found.json["rows"] == 300


def test_a_column_of_different_texts_is_noted_with_drop(run, tmp_path):
    Path("names.csv").write_text("name,a,y\n" + "".join(f"n{i},{i},{i * 0.5}\n" for i in range(80)))
    found = run("train", "names.csv", "--target", "y", *TRAIN[:2], "--epochs", 1)
    assert found.code == 0
    assert "column 'name' has 80 different texts in 80 rows: perhaps --drop it" in found.err
    assert (
        cr.load(next(Path("runs").glob("names*")) / "model.safetensors").n_in == 36
    )  # "a", 32 names, others, 2 statistics


def test_an_encoding_other_than_utf_8_is_noted(run, tmp_path):
    Path("w.csv").write_bytes("größe,y\n1,ja\n2,nein\n3,ja\n".encode("latin-1"))
    found = run("train", "w.csv", "--target", "y", *TRAIN[:2], "--epochs", 1, "--run-dir", "m")
    assert found.code == 0
    assert "note     w.csv is not UTF-8" in found.err
    found = run("predict", "m", "w.csv", "--device", "cpu")
    assert "is not UTF-8" in found.err
    assert [row["y"] in {"ja", "nein"} for row in csv.DictReader(io.StringIO(found.out))] == [True] * 3


def test_control_characters_in_names_and_categories_do_not_reach_the_terminal(run, tmp_path):
    Path("x.csv").write_text('"a\x1b[31m",y\n"\x1b]0;x\x07",1\nplain,2\n"\x1b[0m",1.5\n')
    found = run("train", "x.csv", "--target", "y", *TRAIN[:2], "--epochs", 1, "--run-dir", "m")
    shown = run("show", "m")
    predicted = run("predict", "m", "x.csv", "--device", "cpu")
    Path("x.csv").write_text('"a\x1b[31m"\n"\x1b[5m"\n')
    unseen = run("predict", "m", "x.csv", "--device", "cpu")
    assert found.code == shown.code == predicted.code == unseen.code == 0
    for outcome in (found, shown, predicted, unseen):
        assert "\x1b" not in outcome.out + outcome.err
        assert "\x07" not in outcome.out + outcome.err


def test_the_library_predicts_what_the_command_predicts(run, model, wares):
    net = cr.load(model / "model.safetensors", device="cpu")
    table = cr.read_table(wares, like=net)
    assert table.target is None
    rows = csv.DictReader(io.StringIO(run("predict", model, wares, "--device", "cpu").out))
    np.testing.assert_array_equal(net.predict_table(table), [float(row["price"]) for row in rows])
    np.testing.assert_array_equal(net.predict_table(table), net.predict(net.preparation.encoder.encode(table.columns)))
    assert cr.read_table(wares, like=net, target="price").target.shape == (300,)


def test_the_library_answers_with_the_names_of_classes(run, wares):
    assert run("train", wares, "--target", "color", "--drop", "sold", *TRAIN, "--quiet").code == 3  # holes in color
    Path("c.csv").write_text("x,y\n" + "".join(f"{i},{'low' if i < 30 else 'high'}\n" for i in range(60)))
    assert run("train", "c.csv", "--target", "y", *TRAIN, "--quiet", "--run-dir", "m").code == 0
    net = cr.load("m/model.safetensors", device="cpu")
    assert net.predict_table(cr.read_table("c.csv", like=net))[[0, -1]].tolist() == ["low", "high"]


BAD = {
    "1e300": ("a,y\n1e300,1\n-1e300,2\n1,1\n2,2\n", None),
    "a target of 1e300": ("a,y\n1,1e300\n2,-1e300\n3,.5\n4,1\n", None),
    "one row of each class": ("a,y\n1,1\n2,2\n3,3\n", "expected a class of at least two rows"),
    "one row": ("a,y\n1,1\n", "expected at least two classes, got '1' in every row"),
    "ragged": ("a,y\n1,1,5\n", "line 2: expected 2 cells, got 3"),
    "empty": ("", "got an empty file"),
    "header only": ("a,y\n", "line 1: expected rows below the header"),
    "no header": ("1,y\n2,3\n4,5\n6,5\n", None),
    "no header at all": ("1,2\n2,3\n", "line 1: expected the names of the columns, got numbers"),
    "duplicate names": ("a,a,y\n1,1,1\n", "expected columns of different names, got 'a' more than once"),
    "no target column": ("a,b\n1,1\n", "no column 'y'"),
    "1e39": ("a,y\n1e39,1\n-1e39,2.5\n3,3\n", None),
    "an empty column": ("a,b,y\n1,,2.5\n2,,3\n3,,4\n", None),
    "a constant column": ("a,b,y\n1,x,2.5\n2,x,3\n3,x,4\n", None),
    "big integers": ("a,y\n9007199254740993,1.5\n9007199254740992,2\n3,3\n", None),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD.keys())
def test_odd_tables_are_trained_on_or_refused_in_one_line(run, content, words):
    Path("t.csv").write_text(content)
    found = run("train", "t.csv", "--target", "y", "--device", "cpu", "--epochs", 1, "--hidden", 4, "--run-dir", "m")
    if words is None:
        assert found.code == 0, found.err
        assert run("predict", "m", "t.csv", "--device", "cpu").code == 0
    else:
        assert found.code in {2, 3}
        assert words in found.error


def test_valid_rows_do_not_decide_the_encoding(run):
    Path("t.csv").write_text("a,y\n" + "".join(f"n{i},{i * 0.5}\n" for i in range(10)))
    train = ("train", "t.csv", "--target", "y", "--valid", 0.4, "--device", "cpu", "--epochs", 1, "--run-dir", "m")
    assert run(*train).code == 0
    (column,) = cr.load("m/model.safetensors", device="cpu").preparation.encoder.columns
    assert len(column.categories) == 6


def test_embed_above_embeds_columns_with_many_categories(run, tmp_path):
    """A table whose price is a number of its own for each of 40 towns: trained, shown, evaluated, predicted."""
    rng = np.random.default_rng(8)
    level = rng.normal(size=40) * 1000
    town = rng.integers(0, 40, 900)
    lines = [f"t{t},{'red' if i % 2 else 'blue'},{level[t] + rng.normal() * 50:.2f}" for i, t in enumerate(town)]
    Path("towns.csv").write_text("town,color,price\n" + "\n".join(lines) + "\n")
    found = run("train", "towns.csv", "--target", "price", "--embed-above", 32, *TRAIN, "--run-dir", "m")
    assert found.code == 0, found.err
    assert "vectors  town (40 x 13)" in found.err
    assert run("evaluate", "m", "towns.csv", "--device", "cpu", "--json").json["r2"] > 0.97
    text = run("show", "m").out
    for part in (
        "a vector for each of 40 categories; unseen ones count as an average row",
        "one each for blue, red",
        "40 vectors of town",
        "1 of codes, not standardised",
    ):
        assert part in text
    town_column, color = run("show", "m", "--json").json["model"]["columns"]
    assert (town_column["kind"], color["kind"]) == ("embedding", "category")
    Path("new.csv").write_text("color,town\nred,t3\nred,nowhere\nred,\n")
    found = run("predict", "m", "new.csv", "--device", "cpu")
    assert found.code == 0, found.err
    assert "column 'town': the model has no vector for 'nowhere', which count" in found.err
    known, new, hole = [float(line) for line in found.out.splitlines()[1:]]
    assert abs(known - level[3]) < 150
    assert new == pytest.approx(hole, rel=1e-5)
    assert abs(new - np.mean(level[town])) < 400
    found = run("predict", "m", "towns.csv", "--device", "cpu")
    net = cr.load("m/model.safetensors", device="cpu")
    predicted = net.predict_table(cr.read_table("towns.csv", like=net))
    assert [np.float32(line) for line in found.out.splitlines()[1:]] == predicted.tolist()
    assert run("train", "towns.csv", "--target", "price", "--embed-above", 0, *TRAIN).code == 2


def test_lazy_embedding_of_the_command_is_kept_in_the_config(run):
    rows = "".join(f"t{i % 40},{i % 7}\n" for i in range(200))
    Path("towns.csv").write_text(f"town,price\n{rows}")
    given = ("towns.csv", "--target", "price", "--task", "regress", "--embed-above", 32, *TRAIN)
    for extra, name in (((), "all"), (("--lazy-embedding",), "lazy")):
        assert run("train", *given, *extra, "--run-dir", name).code == 0
    assert run("train", "--config", "lazy/config.toml", "--run-dir", "again").code == 0
    models = [Path(name, "model.safetensors").read_bytes() for name in ("all", "lazy", "again")]
    assert models[0] != models[1] == models[2]
    found = run("train", "towns.csv", "--target", "price", "--optimizer", "lbfgs", "--lazy-embedding")
    assert (found.code, "--optimizer lbfgs has no --lazy-embedding" in found.err) == (2, True)


def test_show_of_an_encoding_lists_its_edges_in_the_units_of_the_table(run, rng):
    """Behind an embedding, whose columns come last, and within a block at the input, whose layers are listed."""
    towns = cr.Categorical(np.arange(40, dtype=np.int32) % 5, tuple("abcde"))
    table = {"town": towns, "age": np.arange(100.0, 140.0), "size": 1e6 * np.exp(rng.normal(size=40))}
    encoder = cr.TableEncoder.fit(table, embed_above=2)
    X = encoder.encode(table)
    features = cr.Standardization.fit_robust(X, limit=3.0)
    encoding = encoder.piecewise_linear(X, features, bins=4)
    layers = [encoder.embedding(), cr.Concatenate([encoding, cr.Scale(), cr.Dense(4, "selu")]), cr.Dense(1)]
    net = cr.Network(layers, 3, loss="squared_error")
    net.preparation = cr.Preparation(features, feature_names=encoder.names, encoder=encoder)
    net.save("m.safetensors")
    text = run("show", "m.safetensors").out
    rows = [line.split() for line in text.splitlines()]
    assert ["age", "1", "->", "5", "edges", "100,", "109,", "119,", "129,", "139"] in rows
    assert "around piecewise_linear0 scale0 dense0" in text
    assert sum(row[:1] == ["size"] and "edges" in row for row in rows) == 1
    assert run("show", "m.safetensors", "--json").json["model"]["description"][1]["kind"] == "concatenate"


def test_an_edge_at_0_is_shown_as_0_though_it_is_a_float32_of_a_standardised_column(run, rng):
    X = np.maximum(rng.normal(size=(200, 1)) * 7 + 5, 0).round()
    features = cr.Standardization.fit_robust(X, limit=3.0)
    encoding = cr.PiecewiseLinear.fit(X, bins=6, standardization=features)
    net = cr.Network([encoding, cr.Dense(1)], 1, loss="squared_error")
    net.preparation = cr.Preparation(features)
    net.save("m.safetensors")
    edges = next(line for line in run("show", "m.safetensors").out.splitlines() if "edges" in line)
    assert " edges 0, " in edges


# ---- statistics of the target ----------------------------------------------------------------------------------

PRESET = ("--preset", "fast", "--epochs", 6, "--device", "cpu", "--overwrite")


def write_cities(path: str, seed: int, n: int, *, typed: bool = False) -> None:
    """Of 120 cities each has a level of the price; some are numbers, and some texts are missing."""
    rng, levels = np.random.default_rng(seed), np.random.default_rng(0).normal(size=120)
    city = rng.integers(0, 120, n)
    price = 3 * levels[city] + 0.5 * rng.normal(size=n)
    names = [("" if i % 50 == 7 else f"{c}" if c < 60 else f"c{c}") for i, c in enumerate(city)]
    firm, year = rng.integers(0, 90, n), rng.integers(1990, 2020, n)
    kind = np.array(["low", "mid", "high"])[np.digitize(price, [-1, 1])]
    columns = {"city": names, "firm": firm, "year": year, "price": price, "kind": kind}
    if typed:
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.table(columns), path)
    else:
        lines = zip(*columns.values(), strict=True)
        Path(path).write_text("\n".join([",".join(columns), *(",".join(map(str, line)) for line in lines)]) + "\n")


def test_a_preset_has_target_statistics_of_rarer_categories(run):
    write_cities("t.csv", 1, 800)
    write_cities("new.csv", 2, 200)
    options = ("--target", "price", "--drop", "kind", "--categorical", "city")
    found = run("train", "t.csv", *options, *PRESET, "--json", "--run-dir", "m")
    assert found.code == 0, found.err
    assert found.json["left_out"]["r2"] > 0.7
    assert run("evaluate", "m", "new.csv", "--json").json["r2"] > 0.7
    shown = run("show", "m").out
    assert "mean of price, log count of 88 rarer ones" in shown
    assert "city: log count" in shown
    again = run("train", "--config", "m/config.toml", "--run-dir", "n", "--json").json
    assert again["left_out"] == found.json["left_out"]
    text = Path("new.csv").read_text().splitlines()
    Path("odd.csv").write_text("\n".join([text[0], text[1].replace(text[1].split(",")[0], "elsewhere", 1), *text[2:]]))
    found = run("predict", "m", "odd.csv")
    assert "column 'city': the model has no column for 'elsewhere', which count as rare or average" in found.err
    assert len(found.out.splitlines()) == 201
    assert run("train", "t.csv", *options, "--preset", "none", *PRESET[2:], "--quiet", "--run-dir", "plain").code == 0
    assert "log count" not in run("show", "plain").out


def test_target_statistics_of_a_table_with_types_groups_times_and_rows_held_out(run):
    write_cities("t.parquet", 1, 600, typed=True)
    write_cities("new.parquet", 2, 200, typed=True)
    options = ("--target", "kind", "--drop", "price", *PRESET, "--json", "--run-dir", "m")
    for more in (("--group", "firm"), ("--time", "year"), ("--valid", 0.2), ("--valid", "new.parquet")):
        assert run("train", "t.parquet", *options, *more).code == 0, more
        assert "share of high, share of low, share of mid, log count" in run("show", "m").out
        assert run("evaluate", "m", "new.parquet", "--json").json["accuracy"] > 0.55
    found = run("cv", "t.parquet", *options[:4], *PRESET[:-1], "--folds", 2, "--valid", 0)
    assert found.code == 0, found.err


def test_target_statistics_are_exported(run):
    pytest.importorskip("onnxruntime")
    write_cities("t.csv", 1, 400)
    assert run("train", "t.csv", "--target", "price", "--drop", "kind", *PRESET, "--run-dir", "m").code == 0
    assert run("export", "m", "--onnx", "m.onnx").code == 0


# ---- money, per cent, units ---------------------------------------------------------------------------


@pytest.fixture
def parcels(tmp_path) -> Path:
    """200 rows: a weight in kg, a remark that no other row has, and a price in dollars."""
    rng = np.random.default_rng(4)
    rows = [(weight := rng.uniform(0, 10), f"remark {i}", 1000 * weight + rng.normal()) for i in range(200)]
    lines = [f'{weight:.2f} kg,{remark},"${price:,.2f}"' for weight, remark, price in rows]
    path = tmp_path / "parcels.csv"
    path.write_text("\n".join(["weight,remark,price", *lines, ""]), encoding="utf-8")
    return path


def test_money_from_weights_is_learned_and_predicted_in_plain_numbers(run, parcels, tmp_path):
    trained = run("train", parcels, "--target", "price", "--drop", "remark", *TRAIN, "--run-dir", "m")
    assert trained.code == 0
    assert "column 'weight': 'kg' after each number; read as numbers" in trained.err
    assert "column 'price': '$' before each number; read as numbers" in trained.err
    assert "written like 1,234.5 kg" in run("show", "m").out
    answers = []
    for cells in (["2.50 kg", "7 kg"], ["2.50", "7"]):
        (tmp_path / "new.csv").write_text("\n".join(["weight", *cells, ""]), encoding="utf-8")
        answers.append(run("predict", "m", tmp_path / "new.csv").out)
    assert answers[0] == answers[1]
    np.testing.assert_allclose([float(line) for line in answers[0].splitlines()[1:]], [2500, 7000], rtol=0.1)
    assert "rmse" in run("evaluate", "m", parcels).out
    (tmp_path / "new.csv").write_text("weight\n2 kg\n3 lb\n", encoding="utf-8")
    refused = run("predict", "m", tmp_path / "new.csv")
    assert refused.code == 3
    assert "line 3, column 'weight': expected a number with 'kg', or with nothing beside it" in refused.error


@pytest.mark.parametrize("option", [("--task", "regress"), ("--loss", "squared_error")])
@pytest.mark.parametrize("target", ["remark", "1"])
def test_a_regression_on_text_names_the_cell(run, parcels, option, target):
    refused = run("train", parcels, "--target", target, *option, "--epochs", 1)
    assert refused.code == 3
    assert "line 2, column 'remark': expected a number, since the task is a regression, got 'remark 0'" in refused.error
    assert "hint: write numbers" in refused.err


def test_a_target_of_remarks_is_refused(run, parcels):
    refused = run("train", parcels, "--target", "remark", "--epochs", 1)
    assert refused.code == 3
    assert "text that differs in nearly every row, 200 texts in 200 rows" in refused.error


def test_a_regression_on_text_of_a_parquet_file_names_the_cell(run, parcels):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pd.read_csv(parcels).to_parquet(parcels.with_suffix(".parquet"))
    refused = run("train", parcels.with_suffix(".parquet"), "--target", "remark", "--task", "regress")
    assert "column 'remark', row 0 (from 0): expected a number, since the task is a regression" in refused.error
