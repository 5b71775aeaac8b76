"""From a table to X: what training rows decide, what comes out, and that the model file keeps just that."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, ModelFileError, OptionError
from chainrule.files import model_file
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.column_data import Categorical, take
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation, Standardization

NAN = np.nan


def texts(*cells: str | None) -> Categorical:
    names = tuple(dict.fromkeys(cell for cell in cells if cell is not None))
    return Categorical(np.array([-1 if c is None else names.index(c) for c in cells], np.int32), names)


TABLE = {
    "size": np.array([1, NAN, 4, 10.0]),
    "age": np.array([5.0, 6, 7, 8]),
    "color": texts("red", None, "blue", "red"),
}


def test_numbers_get_medians_and_indicators_and_text_a_column_a_category():
    encoder = TableEncoder.fit(TABLE)
    assert encoder.names == (
        "size",
        "size is missing",
        "age",
        "color = blue",
        "color = red",
        "color is missing",
    )
    np.testing.assert_array_equal(
        encoder.encode(TABLE),
        [[1, 0, 5, 0, 1, 0], [4, 1, 6, 0, 0, 1], [4, 0, 7, 1, 0, 0], [10, 0, 8, 0, 1, 0]],
    )


COMPACT = {
    "categories": ({"c": texts(*"aab", None)}, np.uint8),
    "codes": ({"e": texts(*map(str, range(200)), *map(str, range(200)))}, np.uint8),
    "more codes than a byte has": ({"e": texts(*map(str, range(300)), *map(str, range(300)))}, np.float64),
    "whole numbers": ({"n": np.array([0, 255, NAN, 3.0]), "c": texts(*"abab")}, np.uint8),
    "filled by a fraction": ({"n": np.array([0, 1, NAN, 3.0, 2.0])}, np.float64),
    "a fraction": ({"n": np.array([0, 1.5])}, np.float64),
    "too large": ({"n": np.array([0, 256.0])}, np.float64),
    "below 0": ({"n": np.array([0, -1.0])}, np.float64),
    "minus 0": ({"n": np.array([1, -0.0])}, np.float64),
    "far behind": ({"n": np.array([*range(200)] * 50 + [0.5])}, np.float64),
}


@pytest.mark.parametrize(("table", "dtype"), COMPACT.values(), ids=COMPACT)
def test_compact_rows_are_the_same_numbers(table, dtype):
    encoder = TableEncoder.fit(table, embed_above=100)
    n = len(next(iter(table.values())))
    X, plain = encoder.encode(table, compact=True), encoder.encode(table)
    np.testing.assert_array_equal(X.astype(np.float64), plain, strict=True)
    assert X.dtype == dtype
    copy = {name: take(data, np.arange(n)) for name, data in table.items()}
    (released,) = encoder.encode_and_release(copy, [np.arange(1, n, 2)], compact=True)
    np.testing.assert_array_equal(released, plain[1::2])


def test_rows_with_shares_of_categories_are_not_compact():
    encoder = TableEncoder.fit({"c": texts(*"aab")})
    new = {"c": texts(*"abz")}
    assert encoder.encode(new, compact=True).dtype == np.float64
    assert encoder.encode(new, rows=np.array([0, 1]), compact=True).dtype == np.uint8


def test_only_training_rows_count():
    encoder = TableEncoder.fit(TABLE, rows=np.array([0, 2]))
    assert encoder.names == ("size", "age", "color = blue", "color = red")
    assert encoder.columns[0] == NumberColumn("size", 2.5, False)
    X = encoder.encode(TABLE, rows=np.array([1, 3]))
    np.testing.assert_array_equal(X, [[2.5, 6, 0.5, 0.5], [10, 8, 0, 1]])


def test_a_new_category_and_an_unknown_hole_are_an_average_row():
    """Where training rows filled no such column: the means of the columns, so that standardised they are nothing."""
    encoder = TableEncoder.fit({"c": texts(*"aab"), "n": np.array([1.0, 2, 6])})
    X = encoder.encode({"c": texts(*"aab"), "n": np.array([1.0, 2, 6])})
    new = encoder.encode({"n": np.array([NAN, 6]), "c": texts("z", None)})
    np.testing.assert_allclose(new, [[2 / 3, 1 / 3, 2], [2 / 3, 1 / 3, 6]])
    standard = Standardization.fit(X)
    np.testing.assert_allclose((new[:, :2] - standard.mean[:2]) / standard.scale[:2], 0, atol=1e-15)
    assert encoder.unseen({"c": texts("z", "a", None, "y")}) == {"c": ["z", "y"]}
    assert encoder.unseen({"c": texts("a")}) == {}


def test_the_rarest_share_a_column_which_new_ones_join():
    data = texts(*"aaabbccdde", None)
    column = CategoryColumn.fit("c", data, max_categories=3)
    assert column.names == ("c = a", "c = b", "c = c", "c is rarer", "c is missing")  # b before c before d: by name
    assert column.shares == pytest.approx((3 / 11, 2 / 11, 2 / 11, 3 / 11, 1 / 11))
    out = np.empty((5, 5))
    column.encode(texts("z", "d", "c", None, "a"), out=out)
    assert out.argmax(axis=1).tolist() == [3, 3, 2, 4, 0]
    assert (out.sum(axis=1) == 1).all()


def test_names_of_categories_not_their_codes_count():
    encoder = TableEncoder.fit({"c": texts("x", "y")})
    np.testing.assert_array_equal(encoder.encode({"c": texts("y", "x", "y")}), [[0, 1], [1, 0], [0, 1]])


def test_columns_in_another_order_and_more_of_them_change_nothing():
    encoder = TableEncoder.fit(TABLE)
    other = {"extra": texts(*"pqrs"), **dict(reversed(TABLE.items()))}
    np.testing.assert_array_equal(encoder.encode(other), encoder.encode(TABLE))


def test_a_constant_an_empty_and_a_single_row_column():
    table = {"k": np.full(2, 7.0), "empty": np.full(2, NAN), "c": texts(None, None)}
    encoder = TableEncoder.fit(table)
    X = encoder.encode(table)
    np.testing.assert_array_equal(X, [[7, 0, 1, 1], [7, 0, 1, 1]])
    assert Standardization.fit(X).is_constant.all()
    one = {"n": np.array([3.0])}
    assert TableEncoder.fit(one).encode(one).tolist() == [[3.0]]


def test_what_does_not_fit_is_refused():
    encoder = TableEncoder.fit(TABLE)
    with pytest.raises(DataError, match="lacks 2 of the 3 columns: 'size', 'color'"):
        encoder.encode({"age": np.ones(2)})
    with pytest.raises(DataError, match="'size': expected numbers, as in training, got text"):
        encoder.encode(TABLE | {"size": TABLE["color"]})
    with pytest.raises(DataError, match="'color': expected categories, as in training, got numbers"):
        encoder.encode(TABLE | {"color": TABLE["age"]})
    with pytest.raises(OptionError, match="max_categories"):
        TableEncoder.fit(TABLE, max_categories=0)
    with pytest.raises(OptionError, match="different names"):
        TableEncoder((NumberColumn("a"), NumberColumn("a")))
    with pytest.raises(OptionError, match="feature_names: expected those of the encoder"):
        Preparation(feature_names=("a",), encoder=encoder)


def test_long_tables_are_encoded_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    table = {"n": rng.normal(size=50), "c": texts(*rng.choice(list("abc"), 50))}
    table["n"][::7] = NAN
    encoder = TableEncoder.fit(table)
    whole, rows = encoder.encode(table), rng.permutation(50)[:31]
    monkeypatch.setattr("chainrule.nn.columns.table_encoder.PART", 8)
    np.testing.assert_array_equal(encoder.encode(table), whole)
    np.testing.assert_array_equal(encoder.encode(table, rows=rows), whole[rows])


@pytest.mark.parametrize("part", [1, 7, 100])
def test_columns_give_their_memory_back_while_they_are_encoded(monkeypatch, rng, part):
    """Each set of rows is what encode makes of it; the columns end empty, but for those in the memory of others."""
    monkeypatch.setattr("chainrule.nn.columns.table_encoder.PART", part)
    lent = rng.normal(size=(50, 2))
    table = {
        "a": np.where(rng.random(50) < 0.2, NAN, rng.normal(size=50)),
        "b": lent[:, 1],
        "c": texts(*rng.choice(["x", "y", None], 50)),
        "d": texts(*rng.choice([f"t{i}" for i in range(9)], 50)),
        "e": rng.normal(size=50),
    }
    encoder = TableEncoder.fit({name: table[name] for name in "dcba"}, embed_above=4)
    one, other = np.arange(50)[::3], np.array([1, 2, 49])
    expected = [encoder.encode(table, rows=rows) for rows in (one, other, one[:0])]
    found = encoder.encode_and_release(table, (one, other, one[:0]))
    for X, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(X, wanted)
    assert {name: len(data) for name, data in table.items()} == {"a": 0, "b": 50, "c": 0, "d": 0, "e": 50}
    with pytest.raises(DataError, match="lacks 1 of the 4 columns: 'd'"):
        encoder.encode_and_release({name: table[name] for name in "abc"}, (one,))


@pytest.fixture
def net():
    net = cr.MLP([6, 3, 1], loss="squared_error")
    net.preparation = Preparation(encoder=TableEncoder.fit(TABLE))
    return net


def test_the_model_file_keeps_the_encoder(net, tmp_path):
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert read.preparation == net.preparation
    assert read.preparation.feature_names == read.preparation.encoder.names
    read.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


BAD = {
    "no columns": [],
    "unknown kind": [{"kind": "date", "name": "a"}],
    "no name": [{"kind": "number", "fill": 0.0, "indicator": False}],
    "an unknown field": [{"kind": "number", "name": "a", "fill": 0.0, "indicator": False, "x": 1}],
    "fill is text": [{"kind": "number", "name": "a", "fill": "0", "indicator": False}],
    "fill is infinite": [{"kind": "number", "name": "a", "fill": float("inf"), "indicator": False}],
    "indicator is a number": [{"kind": "number", "name": "a", "fill": 0.0, "indicator": 1}],
    "name is a number": [{"kind": "number", "name": 3, "fill": 0.0, "indicator": False}],
    "other names": [{"kind": "number", "name": "b", "fill": 0.0, "indicator": False}],
    "too few": [{"kind": "number", "name": "size", "fill": 0.0, "indicator": True}],
}
CATEGORY = {"kind": "category", "name": "a", "categories": ["x"], "rarer": False, "missing": False, "shares": [1.0]}
BAD |= {
    f"category with {key} {value!r}": [CATEGORY | {key: value}]
    for key, value in [
        ("categories", "x"), ("categories", ["x", "x"]), ("categories", [3]), ("categories", []), ("categories", {}),
        ("rarer", 1), ("missing", True), ("shares", [0.5]), ("shares", [1.0, 0.0]), ("shares", ["1"]),
        ("shares", [-1]), ("shares", 1), ("name", None),
    ]
}  # fmt: skip


@pytest.mark.parametrize("columns", BAD.values(), ids=BAD.keys())
def test_a_model_file_with_other_columns_is_refused(net, tmp_path, columns):
    net.save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    try:
        model_file.write(tmp_path / "bad", description | {"columns": columns}, tensors)
    except ValueError:
        return  # infinity is not even written
    with pytest.raises(ModelFileError) as caught:
        cr.load(tmp_path / "bad", device="cpu")
    assert len(caught.value.message) < 400


def test_a_model_file_with_columns_and_without_their_names_is_refused(net, tmp_path):
    net.save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    model_file.write(tmp_path / "bad", description | {"feature_names": []}, tensors)
    with pytest.raises(ModelFileError, match="feature_names: expected those of the columns"):
        cr.load(tmp_path / "bad", device="cpu")


def test_deviations_by_parts_have_the_same_bits(monkeypatch, rng):
    for width in (1, 2, 3, 4, 5, 9):
        x = rng.normal(size=(40, width)) * 10 ** rng.normal(size=width)
        expected = x.std(axis=0, mean=x.mean(axis=0)[None])
        for elements in (1, 80, 120, 1 << 23):
            monkeypatch.setattr("chainrule.nn.inputs.standardization.ELEMENTS", elements)
            assert Standardization.fit(x).scale.tobytes() == expected.tobytes()


def test_robust_scaling():
    x = np.array([[0.0, 1, 0, 5, 0], [1, 1, 1, 5, 0], [2, 1, 0, 5, 1], [3, 1, 8, 5, 0], [1000, 1, 0, 5, 0]])
    found = Standardization.fit_robust(x[[0, 1, 2, 3, 4, 4]], limit=3.0)
    assert found.mean.tolist() == pytest.approx([2.5, 1, 0, 5, 1 / 6])
    found = Standardization.fit_robust(x, limit=3.0)
    assert found.mean.tolist() == [2, 1, 0, 5, 0.2]
    assert found.scale.tolist() == pytest.approx([2, np.inf, 1, np.inf, 0.4])
    assert found.limit == 3


def test_robust_scaling_of_a_column_that_is_mostly_0_has_half_its_range():
    found = Standardization.fit_robust(np.array([[0.0], [0], [0], [0], [0], [0], [0], [1], [8]]))
    assert (found.mean.tolist(), found.scale.tolist()) == ([0], [4])


def test_robust_scaling_leaves_columns_of_a_category_and_of_missing_values_as_the_standard_one():
    table = {"kind": texts(*"aabcab"), "size": np.array([1.0, np.nan, 3, 4, 50, 6])}
    encoder = TableEncoder.fit(table)
    X = encoder.encode(table)
    robust, standard = Standardization.fit_robust(X), Standardization.fit(X)
    number = encoder.names.index("size")
    same = np.arange(X.shape[1]) != number
    np.testing.assert_allclose(robust.mean[same], standard.mean[same], rtol=1e-15)
    np.testing.assert_allclose(robust.scale[same], standard.scale[same], rtol=1e-15)
    assert (robust.mean[number], robust.scale[number]) == (4, 3)


def test_robust_scaling_counts_rows_by_sample_weight(rng):
    x, weights = rng.normal(size=(60, 2)), rng.integers(0, 4, 60)
    x[:, 1] = x[:, 1] > 0
    weights[0] = 0
    x[0] = 1e300
    weighted = Standardization.fit_robust(x, sample_weight=weights)
    copied = Standardization.fit_robust(np.repeat(x, weights, axis=0))
    np.testing.assert_allclose(weighted.mean, copied.mean, rtol=0.05)
    np.testing.assert_allclose(weighted.scale, copied.scale, rtol=0.05)
    equal = Standardization.fit_robust(x, sample_weight=np.full(60, 0.1))
    np.testing.assert_array_equal(equal.mean[0], Standardization.fit_robust(x).mean[0])
    with pytest.raises(DataError, match="not all 0"):
        Standardization.fit_robust(x, sample_weight=np.zeros(60))


# ---- the encoding of numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("embed_above", [None, 2])
def test_the_numbers_of_a_table_have_a_piecewise_linear_encoding(rng, embed_above):
    """Neither categories nor what marks missing values; behind an embedding, whose columns come last."""
    size = np.where(rng.uniform(size=60) < 0.1, np.nan, rng.lognormal(size=60))
    kinds = Categorical(rng.integers(0, 5, 60).astype(np.int32), tuple("abcde"))
    table = {"kind": kinds, "size": size, "is new": np.arange(60.0) % 2, "age": rng.normal(40, 9, 60)}
    encoder = TableEncoder.fit(table, embed_above=embed_above)
    X = encoder.encode(table)
    features = Standardization.fit_robust(X, limit=3.0)
    encoding, embedding = encoder.piecewise_linear(X, features, bins=5), encoder.embedding()
    plain = [name for name in encoder.names if embedding is None or name != "kind"]
    assert [name for name, edges in zip(plain, encoding.edges, strict=True) if edges] == ["size", "age"]
    layers = [encoding] if embedding is None else [embedding, encoding]
    net = cr.Network([*layers, cr.Dense(2)], len(encoder.names), dtype="float64")
    net.preparation = Preparation(features, encoder=encoder)
    with net.backend.running():
        y = net.bind(60, training=False, keep_outputs=True)
        y.forward(net.upload_rows(X, np.zeros(60, int)).x)
    fractions = y.layers[len(layers) - 1].y[:, -encoding.fractions :]
    assert (fractions.min(), fractions.max()) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    low, *_, high = fractions[np.argsort(X[:, encoder.names.index("age")])][:, -5:].sum(axis=1)
    assert (low, high) == (pytest.approx(0, abs=1e-6), pytest.approx(5))  # the least and the largest age


def test_a_table_without_numbers_has_no_piecewise_linear_encoding():
    encoder = TableEncoder.fit({"kind": texts(*"aabcab"), "flag": np.array([0.0, 1, 1, 0, 1, 0])})
    X = encoder.encode({"kind": texts(*"aabcab"), "flag": np.array([0.0, 1, 1, 0, 1, 0])})
    assert encoder.piecewise_linear(X, None) is None


# ---- embedded columns -----------------------------------------------------------------------------


def many(*counts: int, missing: int = 0) -> Categorical:
    """Categories "c0", "c1", ... with so many rows each, then holes."""
    codes = np.repeat(np.arange(len(counts)), counts)
    return Categorical(
        np.append(codes, np.full(missing, -1)).astype(np.int32), tuple(f"c{i}" for i in range(len(counts)))
    )


def test_columns_with_many_categories_become_codes_and_others_stay_as_they_are():
    n = 12
    table = {"few": texts(*"ab" * 6), "x": np.arange(n, dtype=float), "many": many(3, 1, 4, 2, 1, missing=1)}
    assert TableEncoder.fit(table).names[3:] == (*(f"many = c{i}" for i in range(5)), "many is missing")
    assert TableEncoder.fit(table).embedding() is None
    assert TableEncoder.fit(table, embed_above=5).embedding() is None
    encoder = TableEncoder.fit(table, embed_above=4)
    assert encoder.names == ("few = a", "few = b", "x", "many")
    assert encoder.kinds == {"few": "category", "x": "number", "many": "category"}
    X = encoder.encode(table)
    # c0, c2 and c3 have two rows and more; c1 and c4 are rarer; then the hole.
    assert X[:, 3].tolist() == [0, 0, 0, 3, 1, 1, 1, 1, 2, 2, 3, 4]
    layer = encoder.embedding(widths=[6])
    assert (layer.columns, layer.counts, layer.widths, layer.shares) == ((3,), (5,), (6,), ((),))
    new = encoder.encode({"few": texts("a", "a"), "x": np.zeros(2), "many": texts("zzz", None)})
    assert new[:, 3].tolist() == [3, 4]
    assert encoder.unseen({"few": texts("a"), "x": np.zeros(1), "many": texts("zzz")}) == {"many": ["zzz"]}


def test_without_a_slot_for_it_a_new_category_is_an_average_row():
    table = {"many": many(2, 6)}
    encoder = TableEncoder.fit(table, embed_above=1)
    assert encoder.columns == (EmbeddedColumn("many", ("c0", "c1"), False, False, (0.25, 0.75)),)
    assert encoder.encode({"many": texts("zzz", None, "c1")})[:, 0].tolist() == [2, 2, 1]
    net = cr.MLP([1, 4, 2], embedding=encoder.embedding(), dtype="float64")
    E = net.parameters()["embedding0.E0"]
    net.preparation = Preparation(encoder=encoder)
    z = (0.25 * E[0] + 0.75 * E[1]) @ net.parameters()["dense0.W"]
    z = np.maximum(z, 0) @ net.parameters()["dense1.W"]
    np.testing.assert_allclose(net.predict_proba(np.array([[2.0]])), [np.exp(z) / np.exp(z).sum()], rtol=1e-12)


def test_the_most_frequent_have_a_vector_each():
    column = TableEncoder.fit({"c": many(2, 9, 5, 7)}, embed_above=1, max_categories=2).columns[0]
    assert (column.categories, column.rarer, column.shares) == (("c1", "c3"), True, (9 / 23, 7 / 23, 7 / 23))
    column = TableEncoder.fit({"c": many(*[1] * 8)}, embed_above=2).columns[0]
    assert (column.categories, column.rarer, column.shares) == ((), True, (1.0,)), "each row its own: nothing to learn"
    column = TableEncoder.fit({"c": many(2, 9, 5, 7)}, embed_above=4, max_categories=2).columns[0]
    assert column.names == ("c = c1", "c = c3", "c is rarer")
    wide = TableEncoder.fit({"c": many(*[1] * 40)}, embed_above=40).columns[0]
    assert len(wide.names) == 40, "up to embed_above a column each"


@pytest.mark.parametrize("option", ["embed_above", "max_categories"])
@pytest.mark.parametrize("value", [0, -3, 1.5, "9", True])
def test_options_of_the_encoder_are_checked(option, value):
    with pytest.raises(OptionError, match=option):
        TableEncoder.fit(TABLE, **{option: value})


def embedded_net() -> cr.Network:
    table = {"x": np.arange(9.0), "many": many(3, 2, 4)}
    encoder = TableEncoder.fit(table, embed_above=2)
    net = cr.MLP([2, 5, 3], embedding=encoder.embedding())
    net.preparation = Preparation(Standardization.fit(encoder.encode(table), limit=3.0), encoder=encoder)
    return net


def test_a_net_that_does_not_embed_the_codes_is_refused(tmp_path):
    encoder = embedded_net().preparation.encoder
    net = cr.MLP([2, 3])
    net.preparation = Preparation(encoder=encoder)
    with pytest.raises(OptionError, match=r"codes to columns \[1\] of X(?s:.*)embedding=encoder.embedding\(\)"):
        cr.Trainer(net).fit(np.zeros((9, 2)), np.arange(9) % 3)
    net.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="does not embed as such"):
        cr.load(tmp_path / "m", device="cpu")


def test_a_file_with_an_embedding_has_version_3_and_others_what_they_had(tmp_path):
    def version(net: cr.Network) -> int:
        import json

        import safetensors

        net.save(tmp_path / "m")
        with safetensors.safe_open(tmp_path / "m", framework="np") as file:
            return json.loads(file.metadata()[model_file.FORMAT.key])["version"]

    tabular = cr.MLP([2, 3])
    tabular.preparation = Preparation(encoder=TableEncoder.fit({"c": texts("x", "y")}))
    assert [version(net) for net in (cr.MLP([2, 3]), tabular, embedded_net())] == [1, 2, 3]
    net, rows = embedded_net(), np.array([[0.5, 0], [1, 2], [2, 3]])
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert read.preparation.encoder == net.preparation.encoder
    assert read.predict_proba(rows).tobytes() == net.predict_proba(rows).tobytes()


def test_a_row_of_weight_two_is_two_rows_in_medians_categories_and_shares(rng):
    """And only ratios of weights mean anything."""
    n = 40
    table = {
        "number": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n).round(1)),
        "text": Categorical(rng.integers(-1, 9, n).astype(np.int32), tuple("abcdefghi")),
    }
    weights = rng.integers(1, 4, n)
    repeated = np.repeat(np.arange(n), weights)
    twice = TableEncoder.fit(table, rows=repeated, max_categories=4)
    for factor in (1.0, 1e-6, 1 / weights.sum()):
        weighted = TableEncoder.fit(table, sample_weight=factor * weights, max_categories=4)
        assert [c.describe() | {"shares": 0} for c in weighted.columns] == [
            c.describe() | {"shares": 0} for c in twice.columns
        ]
        np.testing.assert_allclose(weighted.columns[1].shares, twice.columns[1].shares, rtol=1e-12)
    plain = TableEncoder.fit(table, max_categories=4)
    assert TableEncoder.fit(table, sample_weight=np.full(n, 0.3), max_categories=4).columns[0] == plain.columns[0]
    assert plain.columns[0].fill != twice.columns[0].fill, "or this tries nothing"


def test_a_mask_of_rows_is_these_rows_and_other_rows_are_refused():
    columns = {"a": np.arange(5.0), "b": np.arange(5.0) ** 2}
    mask = np.array([True, False, True, False, False])
    encoder = TableEncoder.fit(columns, rows=mask)
    assert encoder.encode(columns, rows=mask).tolist() == encoder.encode(columns, rows=np.array([0, 2])).tolist()
    assert encoder.encode(columns, rows=np.array([-1])).tolist() == [[4, 16]]
    for rows in (mask[:3], np.array([5]), np.array([0.5]), np.array([[0]])):
        for use in (lambda r: encoder.encode(columns, rows=r), lambda r: TableEncoder.fit(columns, rows=r)):
            with pytest.raises(DataError, match=r"rows: expected positions (of 5 rows, or a mask|from 0 to 4, got 5)"):
                use(rows)
    with pytest.raises(DataError, match="in ascending order"):
        encoder.encode_and_release(columns, [np.array([2, 1])])
    with pytest.raises(DataError, match="columns of one length, got lengths 1 to 5"):
        encoder.encode(columns | {"b": np.ones(1)})
    with pytest.raises(DataError, match="expected the columns of a table"):
        TableEncoder.fit([columns])


@pytest.mark.parametrize("options", [{"target_notation": ","}, {"encoder": "x"}])
def test_a_preparation_of_other_things_is_refused_at_once(options):
    with pytest.raises(OptionError, match=r"expected a (Notation|TableEncoder) or None"):
        Preparation(**options)
