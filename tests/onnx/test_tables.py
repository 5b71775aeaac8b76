"""The ONNX file of a net of a table: each column is an input, and what becomes of it is in the file."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.onnx import cases, columns, export
from chainrule.onnx.columns import feeds_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'chainrule[onnx]'")

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
HEADER = "size,with,age,postcode,city,cast0\n"
ROWS = [
    f"{'' if i % 9 == 4 else 3e6 + i % 50},{('garden', 'pool', '')[i % 3]},{i % 7},{9000 + i % 3},"
    f"{('Köln', 'Bonn', 'x', 'y', 'z')[min(i % 11, 4)]},{i % 4 / 3}"
    for i in range(200)
]


@pytest.fixture
def training(tmp_path) -> cr.Table:
    (tmp_path / "t.csv").write_text(HEADER + "\n".join(ROWS) + "\n", encoding="utf-8")
    return cr.read_table(tmp_path / "t.csv", need_target=False, categorical=["postcode"])


def net_of(training: cr.Table, *, limit: float = 3.0, embed_above: int | None = None, **options) -> cr.Network:
    """Numbers with and without holes, text with and without them, and with rarer categories; weights far from 0."""
    parts = [
        cr.TableEncoder.fit({name: data}, max_categories=2 if name == "city" else 32, embed_above=embed_above)
        for name, data in training.columns.items()
    ]
    encoder = cr.TableEncoder(tuple(column for part in parts for column in part.columns))
    X = encoder.encode(training.columns)
    net = cr.MLP([X.shape[1], 8, 3], embedding=encoder.embedding(), seed=3, **options)
    net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=limit), encoder=encoder)
    return with_large_vectors(net)


def with_large_vectors(net: cr.Network) -> cr.Network:
    """Vectors as far apart as standardised numbers: at their initial size a wrong one would hardly show."""
    values = net.parameter_arena.download()
    net.assign_parameters({name: value * (30 if ".E" in name else 1) for name, value in values.items()})
    return net


def answers(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def table_of(path: Path, net: cr.Network, lines: list[str]) -> cr.Table:
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return cr.read_table(path, like=net)


# Holes, new categories, rare ones, numbers that text looks like, and numbers far out.
NEW = [
    "3000007,garden,3,9001,Köln,0.25", ",,,,,", "1e30,lake,-1e9,9999,Bonn,1e-30", "NA,?,nan,9001.0,y,null",
    "3000049,pool,6,9002.,Hamburg,9",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", [3.0, np.inf])
@pytest.mark.parametrize("embed_above", [None, 2, 1], ids=["columns", "some vectors", "vectors"])
def test_it_answers_as_the_net_does(tmp_path, training, dtype, limit, embed_above):
    """Labels equal, probabilities to rounding, without the package's own comparison."""
    net = net_of(training, dtype=dtype, limit=limit, embed_above=embed_above)
    assert len(net.codes()) == {None: 0, 2: 2, 1: 3}[embed_above]
    table = table_of(tmp_path / "new.csv", net, NEW if limit == 3.0 else [NEW[i] for i in (0, 1, 3, 4)])
    found = net.export_onnx(tmp_path / "net.onnx", input_dtype="float64", rows=table)
    assert found.rows == (2 if limit == 3.0 else 1) * cases.ROWS + len(table)
    given = answers(tmp_path / "net.onnx", feeds_of(net.preparation.encoder, table.columns, np.dtype(np.float64)))
    X = net.preparation.encode(table)
    close = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_array_equal(given["label"], net.predict_table(table))
    np.testing.assert_allclose(given["probabilities"], net.predict_proba(X), atol=close, rtol=close)
    # One row alone says the same.
    one = {
        name: values[:1] for name, values in feeds_of(net.preparation.encoder, table.columns, np.dtype("f8")).items()
    }
    np.testing.assert_allclose(
        answers(tmp_path / "net.onnx", one)["probabilities"], net.predict_proba(X[:1]), atol=close
    )


def test_what_the_file_takes(tmp_path, training):
    net = net_of(training)
    net.export_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    kinds = {x.name: x.type.tensor_type.elem_type for x in model.graph.input}
    number, text = onnx.TensorProto.DOUBLE, onnx.TensorProto.STRING
    assert kinds == {"size": number, "with": text, "age": number, "postcode": text, "city": text, "cast0": number}
    for x in model.graph.input:
        assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["n", 1]
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 17), ("ai.onnx.ml", 3)}
    (about,) = (json.loads(p.value) for p in model.metadata_props)
    assert about["columns"] == net.preparation.encoder.kinds
    net.export_onnx(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


def test_every_mark_is_a_hole_but_where_it_is_a_category(tmp_path):
    column = CategoryColumn("c", ("NA", "a"), False, True, (0.25, 0.5, 0.25))
    net = cr.MLP([3, 2], seed=1, dtype="float64")
    net.preparation = cr.Preparation(encoder=cr.TableEncoder((column,)))
    net.export_onnx(tmp_path / "net.onnx")
    marks = sorted((MISSING | NOTHING) - {"NA"})
    given = answers(tmp_path / "net.onnx", {"c": np.array([*marks, "NA", None, np.nan], object)[:, None]})
    expected = net.predict_proba(np.array([[0, 0, 1]] * len(marks) + [[1, 0, 0]] + [[0, 0, 1]] * 2, float))
    np.testing.assert_allclose(given["probabilities"], expected, atol=1e-12)


@pytest.mark.parametrize("kind", [CategoryColumn, EmbeddedColumn])
def test_numbers_that_are_categories_may_come_as_floats(tmp_path, kind):
    """9001.0 is what pandas makes of 9001 in a column with a hole."""
    net = encoder_net(kind("c", ("9000", "9001"), False, False, (0.5, 0.5)))
    net.export_onnx(tmp_path / "net.onnx")
    given = answers(tmp_path / "net.onnx", {"c": np.array([["9001"], ["9001.0"], ["9001."], ["9001.5"]], object)})
    X = [[0, 1], [0, 1], [0, 1], [0.5, 0.5]] if kind is CategoryColumn else [[1], [1], [1], [2]]
    np.testing.assert_allclose(given["probabilities"], net.predict_proba(np.array(X, float)), rtol=1e-5)


@pytest.mark.parametrize("kind", [CategoryColumn, EmbeddedColumn])
def test_numbers_that_are_categories_are_written_as_in_training(tmp_path, kind):
    """Of a file with decimal commas 7,0 is 7, and 7.0 is another text, as when the table is read."""
    column = kind("c", ("7", "1500", "2.5"), False, False, (0.5, 0.25, 0.25), notation=Notation(","))
    net = encoder_net(column)
    net.export_onnx(tmp_path / "net.onnx")
    texts = ["7", "7,0", "7,", "7.0", "7.", "1500", "1.500", "1,500", "1500,0", "2,5", "2.5", "2.500"]
    (tmp_path / "t.csv").write_text("c;d\n" + "".join(f"{text};1\n" for text in texts))
    expected = net.predict_proba(net.preparation.encode(cr.read_table(tmp_path / "t.csv", like=net)))
    given = answers(tmp_path / "net.onnx", {"c": np.array(texts, object)[:, None]})
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)


def test_a_net_of_a_text_file_whose_target_has_a_decimal_mark(tmp_path):
    """The notation of the target is for later text files: an ONNX file has no target to read."""
    net = cr.MLP([1, 4, 1], loss="squared_error", seed=1)
    encoder = cr.TableEncoder((NumberColumn("a"),))
    net.preparation = cr.Preparation(encoder=encoder, target_name="y", target_notation=Notation(","))
    assert net.export_onnx(tmp_path / "net.onnx").rows


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("rarer", [False, True])
def test_new_text_and_holes_find_their_vector(tmp_path, rarer, missing):
    """That of the rarer, that of the holes, or if there is none the mean by the shares; computed by hand."""
    shares = (0.5, 0.2, *[0.1] * rarer, *[0.2] * missing)
    shares = (*shares[:-1], 1 - sum(shares[:-1]))
    net = encoder_net(EmbeddedColumn("c", ("NA", "b"), rarer, missing, shares))
    net.export_onnx(tmp_path / "net.onnx")
    p = net.parameter_arena.download()
    table = p["embedding0.E0"]
    mean = np.array(shares) @ table
    new, hole = table[2] if rarer else mean, table[2 + rarer] if missing else mean
    text = {"NA": table[0], "b": table[1], "new": new, "": hole, "NaN": hole, None: hole}
    logits = np.array(list(text.values())) @ p["dense0.W"] + p["dense0.b"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = answers(tmp_path / "net.onnx", {"c": np.array(list(text), object)[:, None]})
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)


def test_each_of_many_categories_is_compared(tmp_path, monkeypatch):
    """Of 700 categories and 256 random rows most would never be asked for: the last but one is wrong here."""
    names = tuple(f"c{i:03}" for i in range(700))
    net = encoder_net(EmbeddedColumn("c", names, False, False, (1 / 700,) * 700), NumberColumn("a"))
    assert net.export_onnx(tmp_path / "net.onnx").rows == 702
    codes = columns._codes
    monkeypatch.setattr(columns, "_codes", lambda column: codes(column) | {"c698": 3})
    with pytest.raises(cr.DataError, match="nothing was written"):
        net.export_onnx(tmp_path / "net.onnx")


def test_float32_holds_seven_digits_of_a_number_and_float64_all(tmp_path, training):
    """Sizes of three million that differ by tenths: float32 merges them, and the documentation says so."""
    net = net_of(training, dtype="float64")
    table = table_of(tmp_path / "new.csv", net, ["3000000.1,pool,1,9000,Bonn,0", "3000000.02,pool,1,9000,Bonn,0"])
    for dtype in ("float32", "float64"):
        net.export_onnx(tmp_path / dtype, input_dtype=dtype)
        first, second = answers(tmp_path / dtype, feeds_of(net.preparation.encoder, table.columns, np.dtype(dtype)))[
            "probabilities"
        ]
        assert (first == second).all() == (dtype == "float32")


# ---- refusals ----------------------------------------------------------------------------------------------------


def encoder_net(*columns_of: object) -> cr.Network:
    encoder = cr.TableEncoder(columns_of)
    net = cr.MLP([len(encoder.names), 2], embedding=encoder.embedding())
    net.preparation = cr.Preparation(encoder=encoder)
    return with_large_vectors(net)


def net_with_statistics(*columns_of: CategoryColumn) -> cr.Network:
    """A net whose columns of text have statistics of a target for all but their most frequent category."""
    rng = np.random.default_rng(0)
    table = {column.name: Categorical(rng.integers(-1, len(column.categories), 300).astype(np.int32), column.categories)
             for column in columns_of}  # fmt: skip
    target = TargetColumns.of_numbers(3 * rng.normal(size=(300, 2)))
    fitted = cr.TableEncoder.fit(table, target=target, max_categories=1).columns
    encoder = tuple(
        dataclasses.replace(one, marks=column.marks, notation=column.notation)
        for one, column in zip(fitted, columns_of, strict=True)
    )
    return encoder_net(NumberColumn("a"), *encoder)


def column_of(*categories: str, **options) -> CategoryColumn:
    return CategoryColumn("c", categories, False, False, (1.0,) + (0.0,) * (len(categories) - 1), **options)


def test_target_statistics_are_a_table_in_the_file(tmp_path):
    """Each rarer category, a frequent one, a new one and a hole answer as the net does, and differ."""
    net = net_with_statistics(column_of("a", "b", "c", "d", "e"))
    assert net.export_onnx(tmp_path / "net.onnx").rows
    texts = [*"abcde", "new", ""]
    data = Categorical(np.array([0, 1, 2, 3, 4, 5, -1], np.int32), (*"abcde", "new"))
    expected = net.predict_proba(net.preparation.encoder.encode({"a": np.zeros(7), "c": data}))
    given = answers(tmp_path / "net.onnx", {"a": np.zeros((7, 1)), "c": np.array(texts, object)[:, None]})
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)
    assert len(np.unique(expected[:, 0].round(6))) == 7


def test_rarer_numbers_with_target_statistics_are_written_as_in_training(tmp_path):
    net = net_with_statistics(column_of("7", "1500", "2.5", "8", "9", notation=Notation(",")))
    net.export_onnx(tmp_path / "net.onnx")
    texts = ["7", "7,0", "7,", "7.0", "1500", "1.500", "1,500", "1500,0", "2,5", "2.5", "2.500", "8,0", "9,"]
    (tmp_path / "t.csv").write_text("c;a\n" + "".join(f"{text};1\n" for text in texts))
    table = cr.read_table(tmp_path / "t.csv", like=net)
    assert table.columns["c"].codes[:3].tolist() == [0, 0, 0]
    expected = net.predict_proba(net.preparation.encode(table))
    given = answers(tmp_path / "net.onnx", {"a": np.ones((13, 1)), "c": np.array(texts, object)[:, None]})
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)


def test_words_for_holes_with_target_statistics_are_text_in_a_typed_column(tmp_path):
    net = net_with_statistics(column_of("a", "NA", "b", "c", marks=("NA",)))
    net.export_onnx(tmp_path / "net.onnx")
    data = Categorical(np.array([1, 2, -1], np.int32), ("a", "NA", "b"), True)
    expected = net.predict_proba(net.preparation.encoder.encode({"a": np.zeros(3), "c": data}))
    given = answers(tmp_path / "net.onnx", {"a": np.zeros((3, 1)), "c": np.array([["NA"], ["b"], [""]], object)})
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)


@pytest.mark.parametrize("wrong", ["a row", "a text"])
def test_a_file_whose_target_statistics_disagree_is_not_written(tmp_path, monkeypatch, wrong):
    net, real = net_with_statistics(column_of("a", "b", "c", "d", "e")), columns._codes_of

    def moved(column, categories):
        found = real(column, categories)
        if len(categories) == len(column.categories):
            return found
        return found | ({"e": 3} if wrong == "a row" else {"e": len(categories)})

    monkeypatch.setattr(columns, "_codes_of", moved)
    with pytest.raises(cr.DataError, match="nothing was written"):
        net.export_onnx(tmp_path / "net.onnx")


class Dated:
    """A kind of column that this room has never heard of."""

    name, names, kind = "when", ("when",), "date"


@pytest.mark.parametrize(
    ("column", "match"),
    [
        (Dated(), "column 'when' is of kind 'date', which has no ONNX form"),
        (CategoryColumn("c", ("", "a"), False, False, (0.5, 0.5)), "the empty text as a category"),
        (EmbeddedColumn("c", ("", "a"), False, False, (0.5, 0.5)), "the empty text as a category"),
        (NumberColumn("label"), "column of the table has the name 'label'"),
    ],
)
def test_what_has_no_place_in_the_file(tmp_path, column, match):
    with pytest.raises(cr.OptionError, match=match):
        export(encoder_net(NumberColumn("a"), column), tmp_path / "net.onnx", unchecked=True)
    assert not list(tmp_path.iterdir())


def test_codes_that_the_net_does_not_embed(tmp_path):
    """Refused even if nothing is compared."""
    net = cr.MLP([1, 2])
    column = EmbeddedColumn("c", ("a", "b"), False, False, (0.5, 0.5))
    net.preparation = cr.Preparation(encoder=cr.TableEncoder((column,)))
    with pytest.raises(cr.OptionError, match="does not embed"):
        export(net, tmp_path / "net.onnx", unchecked=True)


def test_rows_that_are_no_such_table(tmp_path, training):
    net = net_of(training)
    for rows in (np.zeros((2, net.n_in)), cr.read_table("digits")):
        with pytest.raises(cr.DataError, match=r"(?s)a table with the columns of the net.*like=net"):
            net.export_onnx(tmp_path / "net.onnx", rows=rows)


@pytest.mark.parametrize("embed_above", [None, 1], ids=["columns", "vectors"])
@pytest.mark.parametrize("wrong", ["fill", "shares", "slot", "indicator"])
def test_a_file_that_disagrees_is_not_written(tmp_path, training, monkeypatch, wrong, embed_above):
    """One mistake in what becomes of a hole, a new category or a known one is noticed."""
    net = net_of(training, embed_above=embed_above)
    if wrong in {"fill", "indicator"}:
        right = columns._number

        def number(g, column, x):
            filled = g.node(
                "Where", g.node("IsNaN", x), g.scalar(column.fill + (wrong == "fill") * 9, columns.DOUBLE), x
            )
            other = right(g, column, x)
            return [filled, *other[1:]] if wrong == "fill" else [other[0], *[filled] * (len(other) - 1)]

        monkeypatch.setattr(columns, "_number", number)
    else:
        codes = columns._codes

        def moved(column):
            found = codes(column)
            if wrong == "slot":
                return found | {column.categories[0]: 1}
            return {name: 0 if code < 0 else code for name, code in found.items()}

        monkeypatch.setattr(columns, "_codes", moved)
    with pytest.raises(cr.DataError, match="nothing was written"):
        net.export_onnx(tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


# ---- the command and the page ----------------------------------------------------------------------------------


@pytest.mark.parametrize("embed_above", [None, 1], ids=["columns", "vectors"])
def test_the_command(tmp_path, training, capsys, embed_above):
    from chainrule.cli.main import main

    net = net_of(training, embed_above=embed_above)
    net.save(tmp_path / "model.safetensors")
    assert main(["export", str(tmp_path / "model.safetensors"), "--onnx", str(tmp_path / "net.onnx")]) == 0
    said = capsys.readouterr().err
    assert f"checked  {2 * cases.ROWS} rows in onnxruntime" in said
    assert "inputs   6 columns of the table, (n, 1) each: 3 numeric (float64), 3 text" in said


def test_the_page(tmp_path, training, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    net = net_of(training)
    net.export_onnx("houses.onnx")
    table = table_of(tmp_path / "new.csv", net, [NEW[i] for i in (0, 1, 3, 4)])
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "pandas" in b)
    names: dict[str, object] = {}
    exec(compile(block.replace('"prediction"', '"label"'), str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["prices"], net.predict_table(table))


@pytest.mark.parametrize("embed_above", [None, 1], ids=["columns", "vectors"])
@pytest.mark.parametrize("most", [32, 2], ids=["all", "the most frequent"])
def test_words_for_holes_that_were_text_in_training_are_text(tmp_path, most, embed_above):
    """A typed column has nulls of its own: in the file too NA is what training had, and 1.0 is not 1."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed")

    def read(texts, **options):
        land = pd.Series(texts, dtype=object)
        return cr.read_table(pd.DataFrame({"land": land, "x": np.arange(len(land)) / 7}), need_target=False, **options)

    training = read(["NA", "ZA", None, "1.0", "1", "NA", "ZA", "nan"] * 9 + ["?"])
    encoder = cr.TableEncoder.fit(training.columns, max_categories=most, embed_above=embed_above)
    X = encoder.encode(training.columns)
    net = cr.MLP([X.shape[1], 8, 3], embedding=encoder.embedding(), seed=3)
    net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0), encoder=encoder)
    with_large_vectors(net)
    new = read(["NA", "ZA", None, "1.0", "1", "01", "2.0", "?", "null", "", "nan", "elsewhere"], like=net)
    net.export_onnx(tmp_path / "net.onnx", input_dtype="float64", rows=new)
    given = answers(tmp_path / "net.onnx", feeds_of(encoder, new.columns, np.dtype(np.float64)))
    expected = net.predict_proba(net.preparation.encode(new))
    np.testing.assert_allclose(given["probabilities"], expected, atol=1e-5)
    if most == 32:
        assert len({row.tobytes() for row in expected[[0, 1, 2, 3, 4]] - expected[[5]]}) == 5
