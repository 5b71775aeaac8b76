"""The housing example on a small table of the same columns; its figures on predictions that are known to be right."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

EXAMPLE = "housing.py"
HEADER = [
    "longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households",
    "median_income", "median_house_value", "ocean_proximity",
]  # fmt: skip
ROWS, HOLES = 320, 20


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """As many households as a third of the rooms, values by income, every 16th row without its bedrooms."""
    rng = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("housing") / "california_housing.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for i in range(ROWS):
            rooms, income = rng.integers(200, 4000), rng.uniform(1, 10)
            households = rng.poisson(rooms / 3) + 1
            value = min(500001.0, 40000 * income * rng.uniform(0.8, 1.2))
            bedrooms = "" if i % (ROWS // HOLES) == 3 else float(households + 5)
            place = ("INLAND", "NEAR BAY", "<1H OCEAN")[i % 3]
            numbers = [float(rooms), bedrooms, float(3 * households), float(households), income, value]
            writer.writerow([-120 - income, 35.5, 30.0, *numbers, place])
    return path


def split_of(y):
    return SimpleNamespace(y=y, y_test=y, X_test=None)


def test_the_whole_example(lesson, table, tmp_path, capsys):
    picture = tmp_path / "picture.svg"
    lesson.main(table.parent, picture, epochs=2)
    said = capsys.readouterr().out
    assert f"{ROWS - HOLES} rows without missing values, {(ROWS - HOLES) // 4} of them to test on" in said
    assert "rows where quantiles cross: 0" in said
    assert said.count("largest gap: ") == 4
    assert len(ElementTree.parse(picture).getroot().findall("{*}g")) == 3


def test_features_are_numbers_and_hold_no_answer(lesson, table):
    columns = lesson.read_columns(table)
    X = lesson.features(columns, without=["households", "median_house_value"])
    assert X.shape == (ROWS - HOLES, 8 - 1 + 3)
    np.testing.assert_array_equal(X[:, -3:].sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(X[:, 3]), columns["total_rooms"])
    assert not any(np.array_equal(column, np.log(columns["households"])) for column in X.T)


def test_a_true_normal_distribution_has_no_gap(lesson, rng, capsys):
    mean, variance = rng.normal(size=40000), rng.uniform(0.1, 4, 40000)
    data = split_of(mean + np.sqrt(variance) * rng.normal(size=40000))
    net = SimpleNamespace(predict_distribution=lambda _: (mean, variance))
    points = lesson.report_normal(net, data, of="price")
    np.testing.assert_allclose(points.observed, points.predicted, atol=0.012)
    net = SimpleNamespace(predict_distribution=lambda _: (mean, 4 * variance))
    points = lesson.report_normal(net, data, of="price")
    assert points.observed[0] == pytest.approx(0.0005, abs=0.001)  # 3.3 deviations below, where 1.6 were due
    assert "largest gap" in capsys.readouterr().out


def test_the_density_of_a_price_from_that_of_its_logarithm(lesson, rng, capsys):
    from chainrule.nn.metrics import gaussian_nll

    log_price = rng.normal(1, 0.5, 2000)
    mean, variance = np.full(2000, 1.0), np.full(2000, 0.25)
    lesson.report_normal(
        SimpleNamespace(predict_distribution=lambda _: (mean, variance)), split_of(log_price), of="log price"
    )
    price = np.exp(log_price)
    density = np.exp(-((log_price - 1) ** 2) / 0.5) / (price * 0.5 * np.sqrt(2 * np.pi))
    assert gaussian_nll(log_price, mean, variance) != pytest.approx(-np.log(density).mean(), abs=0.1)
    assert f"nll {-np.log(density).mean():.4f}" in capsys.readouterr().out


def test_quantiles_and_counts_that_are_true(lesson, rng, capsys):
    y = rng.uniform(size=20000)
    net = SimpleNamespace(predict=lambda _: np.tile(lesson.LEVELS, (20000, 1)))
    points = lesson.report_quantiles(net, split_of(y))
    np.testing.assert_allclose(points.observed, lesson.LEVELS, atol=0.012)
    mean = rng.uniform(100, 900, 20000)
    points = lesson.report_counts(SimpleNamespace(predict=lambda _: mean), split_of(rng.poisson(mean).astype(float)))
    np.testing.assert_allclose(points.observed, points.predicted, rtol=0.01)
    assert "squared error by mean: 1.0" in capsys.readouterr().out


def test_a_file_that_is_not_there(lesson, tmp_path):
    with pytest.raises(SystemExit, match="does not exist"):
        lesson.main(tmp_path)
