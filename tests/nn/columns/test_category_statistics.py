"""Statistics of the target for rarer categories: the formula by hand, for new rows and for training rows."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.columns import category_statistics
from chainrule.nn.columns.category_columns import CategoryColumn
from chainrule.nn.columns.category_statistics import CategoryStatistics
from chainrule.nn.columns.category_sums import WeightedTarget
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns


def texts(*cells: str | None) -> Categorical:
    names = tuple(dict.fromkeys(cell for cell in cells if cell is not None))
    return Categorical(np.array([-1 if c is None else names.index(c) for c in cells], np.int32), names)


CITY = texts(*"aaaabbcd", None)  # a has a slot of its own
PRICE = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
BLOCK = np.array([0, 0, 1, 1, 0, 1, 0, 1, 1])
MU = 5.0


def fitted(y: np.ndarray = PRICE, weights: np.ndarray | None = None, most: int = 1) -> TableEncoder:
    target = TargetColumns.of_numbers(y, "price")
    return TableEncoder.fit({"city": CITY}, target=target, max_categories=most, sample_weight=weights)


def test_target_statistics_of_new_rows_are_smoothed_means_and_log_counts():
    encoder = fitted()
    assert encoder.names[1:] == ("city is rarer", "city is missing", "city: mean of price", "city: log count")
    X = encoder.encode({"city": texts("b", "c", "d", "a", "new", None)})
    means = [(5 + 6 + 10 * MU) / 12, (7 + 10 * MU) / 11, (8 + 10 * MU) / 11, MU, MU, MU]
    np.testing.assert_allclose(X[:, -2], means, rtol=1e-15)
    np.testing.assert_allclose(X[:, -1], np.log1p([2, 1, 1, 4, 0, 0]), rtol=1e-15)


def test_target_statistics_of_training_rows_are_those_of_other_blocks():
    """Smoothed, and counted, as if the other block's share of the rows, 5 and 4 of 9, were all. c and d lie in one
    block each: they say nothing of their own rows, though something of new ones."""
    target = TargetColumns.of_numbers(PRICE, "price")
    X = fitted().encode_training({"city": CITY}, target=target, block=BLOCK)
    means = [*[MU] * 4, (9 / 5 * 6 + 10 * MU) / (9 / 5 + 10), (9 / 4 * 5 + 10 * MU) / (9 / 4 + 10), MU, MU, MU]
    np.testing.assert_allclose(X[:, -2], means, rtol=1e-14)
    counts = 9 * np.array([2 / 5, 2 / 5, 2 / 4, 2 / 4, 1 / 5, 1 / 4, 0, 0, 0])
    np.testing.assert_allclose(X[:, -1], np.log1p(counts), rtol=1e-14)
    np.testing.assert_array_equal(X[:, :-2], fitted().encode({"city": CITY})[:, :-2])


def test_rows_that_a_net_is_judged_by_are_in_no_statistics_of_training_rows():
    left_out = np.arange(len(PRICE)) == 5  # a row of b, whose other row lies in another block
    target = TargetColumns.of_numbers(PRICE, "price")
    X = fitted().encode_training({"city": CITY}, target=target, block=BLOCK, left_out=left_out)
    mu = PRICE[~left_out].mean()
    np.testing.assert_allclose(X[4], [*X[4, :-2], mu, 0.0], rtol=1e-15)
    np.testing.assert_allclose(X[5, -2:], [(9 / 4 * PRICE[4] + 10 * mu) / (9 / 4 + 10), np.log1p(9 / 4)], rtol=1e-14)
    np.testing.assert_allclose(X[:4, -2], mu, rtol=1e-15)


def test_target_statistics_count_sample_weights_in_means_and_rows_in_counts():
    weights = np.array([1.0, 1, 1, 1, 3, 1, 1, 0, 1])
    relative = weights / weights[weights > 0].mean()
    rows = np.flatnonzero(weights)
    target = TargetColumns.of_numbers(PRICE, "price")
    encoder = TableEncoder.fit(
        {"city": CITY}, rows=rows, target=target.take(rows), max_categories=1, sample_weight=7 * weights[rows]
    )
    mu = np.average(PRICE, weights=weights)
    (b, *_), statistics = encoder.encode({"city": texts("b")}), encoder.columns[0].statistics
    expected = (relative[4:6] @ PRICE[4:6] + 10 * mu) / (relative[4:6].sum() + 10)
    np.testing.assert_allclose(b[-2:], [expected, np.log(3)], rtol=1e-14)
    assert statistics.categories == ("b", "c")  # d has weight 0 alone
    X = encoder.encode_training({"city": CITY}, target=target, block=BLOCK, sample_weight=weights)
    expected = (2 * relative[4] * PRICE[4] + 10 * mu) / (2 * relative[4] + 10)  # the other block has half of the rows
    np.testing.assert_allclose(X[5, -2:], [expected, np.log(3)], rtol=1e-14)


def test_a_row_of_weight_0_gets_target_statistics_and_gives_none(rng):
    city = Categorical(rng.integers(0, 6, 40).astype(np.int32), tuple("abcdef"))
    target, block = TargetColumns.of_numbers(rng.normal(size=40)), rng.integers(0, 4, 40)
    weights = (rng.random(40) < 0.7).astype(float)
    rows = np.flatnonzero(weights)
    encoder = TableEncoder.fit({"c": city}, rows=rows, target=target.take(rows), max_categories=2)
    some = encoder.encode_training({"c": city}, rows=rows, target=target.take(rows), block=block[rows])
    weighted = encoder.encode_training({"c": city}, target=target, block=block, sample_weight=weights)
    np.testing.assert_allclose(weighted[rows], some, rtol=1e-13)


def test_target_statistics_of_noise_say_nothing_of_a_rows_own_target(rng):
    """2,000 categories of about five rows: the mean that a new row would get is 0.4 correlated with the own target."""
    n = 10_000
    city = Categorical(rng.integers(0, 2000, n).astype(np.int32), tuple(f"c{i}" for i in range(2000)))
    y, block = rng.normal(size=n), rng.integers(0, 16, n)
    encoder = TableEncoder.fit({"city": city}, target=TargetColumns.of_numbers(y))
    training = encoder.encode_training({"city": city}, target=TargetColumns.of_numbers(y), block=block)[:, -2]
    rarer = training != y.mean()
    assert abs(np.corrcoef(training, y)[0, 1]) < 0.03
    assert abs(np.corrcoef(training[rarer], y[rarer])[0, 1]) < 0.03
    assert np.corrcoef(encoder.encode({"city": city})[:, -2], y)[0, 1] > 0.3, "or this tries nothing"


def test_no_target_of_a_block_changes_the_target_statistics_of_its_rows(rng):
    """But for mu, to which every row gives a part in n."""
    n = 200
    city, block = Categorical(rng.integers(0, 20, n).astype(np.int32), tuple("abcdefghijklmnopqrst")), np.arange(n) % 8
    y = rng.normal(size=n)
    other = np.where(block == 3, rng.permutation(y[block == 3]).mean() * 2 - y, y)  # the same mean of all rows
    found = []
    for values in (y, other):
        target = TargetColumns.of_numbers(values)
        encoder = TableEncoder.fit({"city": city}, target=target, max_categories=2)
        found.append(encoder.encode_training({"city": city}, target=target, block=block)[:, -2])
    np.testing.assert_allclose(found[0][block == 3], found[1][block == 3], rtol=1e-12, atol=1e-14)
    assert (np.abs(found[0] - found[1])[block != 3] > 1e-3).any(), "or this tries nothing"


def test_target_statistics_of_classes_are_shares():
    kind = np.array([0, 1, 2, 1, 0, 2, 1, 1, 2])
    three = TargetColumns.of_classes(kind, ("x", "y", "z"))
    assert three.labels == ("share of x", "share of y", "share of z")
    X = TableEncoder.fit({"city": CITY}, target=three, max_categories=1).encode({"city": texts("b", "c")})
    mu = np.bincount(kind) / 9
    np.testing.assert_allclose(X[0, -4:-1], (np.array([1, 0, 1]) + 10 * mu) / 12, rtol=1e-15)
    np.testing.assert_allclose(X[:, -4:-1].sum(axis=1), 1, rtol=1e-15)
    two = TargetColumns.of_classes(kind > 0, ("no", "yes"))
    assert two.labels == ("share of yes",)
    assert two.values[:, 0].tolist() == (kind > 0).tolist()
    assert TargetColumns.of_classes(kind, tuple("abcdefgh")).values.shape == (9, 8)
    assert TargetColumns.of_classes(kind, tuple("abcdefghi")) is None
    assert TargetColumns.of_classes(kind, ()) is None


def test_target_statistics_of_several_targets_are_a_mean_each():
    both = TargetColumns.of_numbers(np.column_stack([PRICE, -PRICE]), "price")
    assert both.labels == ("mean of price 0", "mean of price 1")
    X = TableEncoder.fit({"city": CITY}, target=both, max_categories=1).encode({"city": texts("b")})
    np.testing.assert_allclose(X[0, -3:-1], [(11 + 50) / 12, -(11 + 50) / 12])
    assert TargetColumns.of_numbers(PRICE).labels == ("mean of target",)
    assert TargetColumns.of_numbers(np.ones((3, 9))) is None


@pytest.mark.parametrize("size", [1.7e308, 1e-308, 1e12])
def test_target_statistics_of_very_large_and_small_targets_are_finite(size):
    y = size * np.array([1, -1, 1, 1, 1, 1, -1, 1, 1])
    target = TargetColumns.of_numbers(y)
    encoder = TableEncoder.fit({"city": CITY}, target=target, max_categories=1)
    X = encoder.encode({"city": texts("b", "c")})
    np.testing.assert_allclose(X[:, -2] / size, [(2 + 10 * 5 / 9) / 12, (-1 + 10 * 5 / 9) / 11], rtol=1e-9)
    assert np.isfinite(encoder.encode_training({"city": CITY}, target=target, block=BLOCK)).all()


@pytest.mark.parametrize(("most", "has_some"), [(1, True), (2, True), (3, False), (4, False), (32, False)])
def test_only_columns_with_at_least_two_rarer_categories_have_target_statistics(most, has_some):
    encoder = fitted(most=most)
    assert encoder.has_statistics == has_some
    if not has_some:
        plain = TableEncoder.fit({"city": CITY}, max_categories=most)
        assert encoder == plain
        X = encoder.encode_training({"city": CITY}, target=None, block=BLOCK)
        np.testing.assert_array_equal(X, plain.encode({"city": CITY}))


def test_embedded_columns_and_fits_without_a_target_have_no_target_statistics():
    assert not TableEncoder.fit({"city": CITY}, max_categories=1).has_statistics
    target = TargetColumns.of_numbers(PRICE)
    assert not TableEncoder.fit({"city": CITY}, max_categories=1, embed_above=2, target=target).has_statistics


def test_the_most_frequent_of_very_many_categories_have_target_statistics(monkeypatch):
    monkeypatch.setattr(category_statistics, "MOST_CATEGORIES", 2)
    encoder = fitted()
    assert encoder.columns[0].statistics.categories == ("b", "c")  # c before d: by name
    X = encoder.encode({"city": texts("d")})
    np.testing.assert_array_equal(X[0, -2:], [MU, 0])
    assert encoder.unseen({"city": CITY}) == {"city": ["d"]}


def test_a_rarer_category_with_target_statistics_is_known():
    encoder = fitted()
    assert encoder.unseen({"city": texts("a", "b", "new")}) == {"city": ["new"]}
    assert encoder.texts["city"].names == {"a", "b", "c", "d"}
    assert TableEncoder.fit({"city": CITY}, max_categories=1).texts["city"].names == {"a"}


def test_target_statistics_are_numbers_of_x():
    encoder = TableEncoder.fit(
        {"n": np.arange(9.0), "city": CITY, "m": np.arange(9.0)},
        target=TargetColumns.of_numbers(PRICE),
        max_categories=1,
    )
    assert [encoder.names[j] for j in encoder.number_columns] == ["n", "city: mean of target", "city: log count", "m"]


def test_target_statistics_have_a_piecewise_linear_encoding(rng):
    table = {"city": Categorical(rng.integers(0, 40, 300).astype(np.int32), tuple(f"c{i}" for i in range(40)))}
    target = TargetColumns.of_classes(rng.integers(0, 3, 300), tuple("xyz"))
    encoder = TableEncoder.fit(table, target=target, max_categories=5)
    X = encoder.encode_training(table, target=target, block=np.arange(300) % 8)
    encoding = encoder.piecewise_linear(X, None, bins=4)
    assert [j for j, edges in enumerate(encoding.edges) if edges] == list(encoder.number_columns) == [6, 7, 8, 9]


def test_a_target_that_does_not_fit_is_refused():
    table, target, encoder = {"city": CITY}, TargetColumns.of_numbers(PRICE), fitted()
    with pytest.raises(OptionError, match="target: expected that of the training rows"):
        encoder.encode_training(table, target=None, block=BLOCK)
    with pytest.raises(DataError, match="'city': expected the rows and the target that its statistics are of"):
        encoder.encode_training(table, target=TargetColumns.of_numbers(PRICE[::-1].copy()), block=BLOCK)
    rows = np.arange(8)
    with pytest.raises(DataError, match="'city': expected the rows and the target"):
        encoder.encode_training(table, target=target.take(rows), block=BLOCK[rows], rows=rows)
    with pytest.raises(ShapeError, match="a block and a target per row of 9, got 8 and 9"):
        encoder.encode_training(table, target=target, block=BLOCK[:8])
    with pytest.raises(ShapeError, match="target: expected 9 rows, as the table has, got 8"):
        TableEncoder.fit(table, target=target.take(np.arange(8)), max_categories=1)
    with pytest.raises(DataError, match="target: expected finite numbers"):
        TargetColumns.of_numbers(np.array([1.0, np.nan]))
    with pytest.raises(ShapeError, match=r"expected \(n, 1\) numbers"):
        TargetColumns(PRICE, ("mean of price",))
    with pytest.raises(DataError, match="expected categories, as in training, got numbers"):
        encoder.encode({"city": PRICE})


GOOD = {"categories": ("b", "c"), "labels": ("mean",), "means": np.ones((2, 1)), "counts": np.ones(3), "mu": np.ones(1)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"categories": ("b", "b")}, {"categories": ()}, {"categories": (3, "c")}, {"labels": ()}, {"labels": (1,)},
        {"means": np.ones((3, 1))}, {"means": np.full((2, 1), np.nan)}, {"counts": np.ones(1)}, {"mu": np.ones(2)},
        {"counts": -np.ones(3)}, {"counts": np.ones((3, 1))},
    ],
)  # fmt: skip
def test_category_statistics_that_contradict_themselves_are_refused(wrong):
    CategoryStatistics(**GOOD)
    with pytest.raises(OptionError, match="expected"):
        CategoryStatistics(**GOOD | wrong)


@pytest.mark.parametrize(("categories", "rarer"), [(("a", "x"), True), (("b",), True), (("a",), False)])
def test_category_statistics_of_another_column_are_refused(categories, rarer):
    statistics = CategoryStatistics(**GOOD)
    CategoryColumn("c", ("a",), True, False, (0.5, 0.5), statistics=statistics)
    shares = tuple(np.full(len(categories) + rarer, 1 / (len(categories) + rarer)).tolist())
    with pytest.raises(OptionError, match="expected statistics of the rarer categories of 'c'"):
        CategoryColumn("c", categories, rarer, False, shares, statistics=statistics)


def test_category_statistics_are_equal_if_their_numbers_are():
    same, other = CategoryStatistics(**GOOD), CategoryStatistics(**GOOD | {"mu": np.zeros(1)})
    assert same == CategoryStatistics(**GOOD)
    assert hash(same) == hash(CategoryStatistics(**GOOD))
    assert same != other
    assert same != "statistics"


def test_the_mean_of_a_weighted_target():
    weighted = WeightedTarget.of(TargetColumns.of_numbers(PRICE), np.arange(9.0))
    np.testing.assert_allclose(weighted.mu, [np.average(PRICE, weights=np.arange(9))], rtol=1e-15)
