"""Quantiles, spreads and counts on California housing: are the predicted probabilities true?

    python examples/housing.py FOLDER_OR_CSV [PICTURE.svg]   # california_housing.csv, 20,640 rows, census of 1990

Nets of two hidden layers, each tested on a quarter of the rows, which no training saw:

- ``cr.Quantile``: five quantiles of the value of a house;
- ``cr.GaussianNLL``: its mean and its variance, each a function of the features; then those of its logarithm;
- ``cr.Poisson``: the number of households of a block group, from its rooms, people, income and place.

The table is made numeric in plain NumPy: rows with a missing value (207, all in total_bedrooms) are left out,
ocean_proximity becomes a column of 0 and 1 for each of its values, and the four counts are taken as logarithms, since
they span four powers of ten. Source: Pace, Barry 1997; the file is datasets/housing/housing.csv of ageron/handson-ml2,
whose author took the 207 numbers away by chance.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

import chainrule as cr
from chainrule.nn import metrics
from chainrule.nn.losses.baselines import quantiles as constant_quantiles
from chainrule.plots.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from chainrule.plots.svg import STYLE, Axis, colours

SEED = 0
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CENTRAL = (0.5, 0.8, 0.9, 0.95)  # of the intervals around the mean whose coverage is printed
FINE = tuple(i / 20 for i in range(1, 20))  # levels at which the normal distribution is compared
PRICE = 100_000.0  # the unit of house values: a number of size 1, as are its errors
COUNTS = ("total_rooms", "total_bedrooms", "population", "households")
FEATURE_LIMIT = 3.0  # standard deviations, as on the command line


class Points(NamedTuple):
    """What was predicted and what was observed, for one curve of the picture."""

    label: str
    predicted: np.ndarray
    observed: np.ndarray


class Split(NamedTuple):
    """Features and target of the rows to train on (a fifth of which validates) and of those to test on."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


# ---- the table ------------------------------------------------------------------------------------


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns by name, without the rows that lack a value: numbers, and ocean_proximity as text."""
    if path.is_dir():
        path /= "california_housing.csv"
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; the CSV of 20,640 rows was expected, or the folder that holds it")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: text if name == "ocean_proximity" else text.astype(np.float64) for name, text in columns.items()}


def features(columns: dict[str, np.ndarray], *, without: Sequence[str]) -> np.ndarray:
    """(n, columns) numbers: counts as logarithms, ocean_proximity as one column a value."""
    parts = []
    for name, column in columns.items():
        if name == "ocean_proximity":
            parts += [column == value for value in np.unique(column)]
        elif name not in without:
            parts.append(np.log(column) if name in COUNTS else column)
    return np.stack(parts, axis=1).astype(np.float64)


def split(X: np.ndarray, y: np.ndarray) -> Split:
    """A quarter of the rows, by chance, to test on."""
    order = np.random.default_rng(SEED).permutation(len(y))
    train, test = np.split(order, [len(y) - len(y) // 4])
    return Split(X[train], y[train], X[test], y[test])


# ---- the nets -------------------------------------------------------------------------------------


def train(loss: cr.Quantile | cr.GaussianNLL | cr.Poisson, data: Split, *, epochs: int) -> cr.MLP:
    """A net of two hidden layers with the weights of the epoch that was best on a fifth of the training rows."""
    net = cr.MLP([data.X.shape[1], 64, 64, loss.outputs_for(1)], activation="silu", loss=loss, seed=SEED)
    net.preparation = cr.Preparation(
        features=cr.Standardization.fit(data.X, limit=FEATURE_LIMIT),
        targets=cr.Standardization.fit(data.y) if loss.standardizes else None,
    )
    trainer = cr.Trainer(
        net,
        cr.AdamW(cr.FlatCosine(2e-3), weight_decay=0.1),
        batch_size=128,
        epochs=epochs,
        seed=SEED,
        early_stopping=cr.EarlyStopping(patience=20),
    )
    run = trainer.fit(data.X, data.y, validation=0.2)
    print(f"  {run.history.epochs} epochs in {run.seconds:.1f} s, the best was epoch {run.best_epoch}")
    return net


def report_quantiles(net: cr.MLP, data: Split) -> Points:
    """Prints pinball loss and coverage of each level, beside the quantile of the training rows."""
    predicted = net.predict(data.X_test)
    constant = constant_quantiles(data.y[:, None], None, LEVELS)[0]
    observed = [metrics.coverage(data.y_test, q) for q in predicted.T]
    print("  level   coverage   pinball loss   of the best constant")
    for level, q, q0, covered in zip(LEVELS, predicted.T, constant, observed, strict=True):
        losses = [metrics.pinball(data.y_test, values, level) for values in (q, q0)]
        print(f"  {level:5.2f}   {covered:8.3f}   {losses[0]:12.4f}   {losses[1]:20.4f}")
    print(f"  rows where quantiles cross: {int((np.diff(predicted, axis=1) < 0).any(axis=1).sum())}")
    return print_gaps(Points("quantile", np.array(LEVELS), np.array(observed)))


def report_normal(net: cr.MLP, data: Split, *, of: str) -> Points:
    """Prints nll and the coverage of central intervals; the points are those of its quantiles.

    The density of a price is that of its logarithm by the price, so log(price) is added to the nll of the latter.
    """
    mean, variance = net.predict_distribution(data.X_test)
    deviation, normal = np.sqrt(variance), NormalDist()
    constant = np.full(len(mean), data.y.mean()), np.full(len(mean), data.y.var())
    by_price = data.y_test.mean() if of == "log price" else 0.0
    print(f"  nll {metrics.gaussian_nll(data.y_test, mean, variance) + by_price:.4f} nats per row", end="")
    print(f"   of the best constant {metrics.gaussian_nll(data.y_test, *constant) + by_price:.4f}")
    low, high = np.quantile(deviation, [0.05, 0.95])
    z = (data.y_test - mean) / deviation
    print(f"  predicted standard deviations from {low:.2f} to {high:.2f} (5 % and 95 % of the rows)")
    print(
        f"  errors in standard deviations: skewness {np.mean((z - z.mean()) ** 3) / z.std() ** 3:.2f} (normal: 0)",
        end="",
    )
    print(f", kurtosis {np.mean((z - z.mean()) ** 4) / z.std() ** 4:.1f} (normal: 3)")
    for level in CENTRAL:
        within = np.abs(z) <= normal.inv_cdf((1 + level) / 2)
        print(f"  central interval {level:.2f}: coverage {within.mean():.3f}")
    observed = [metrics.coverage(data.y_test, mean + normal.inv_cdf(level) * deviation) for level in FINE]
    return print_gaps(Points(f"normal, {of}", np.array(FINE), np.array(observed)))


def report_counts(net: cr.MLP, data: Split) -> Points:
    """Prints deviance and d2 beside the best constant; the points are means of tenths of the rows by prediction."""
    y, predicted = data.y_test, net.predict(data.X_test).astype(np.float64)
    deviance = metrics.poisson_deviance(y, predicted)
    constant = metrics.poisson_deviance(y, np.full(len(y), data.y.mean()))
    print(f"  deviance {deviance:.2f}   of the best constant {constant:.2f}   d2 {1 - deviance / constant:.4f}")
    print(f"  squared error by mean: {np.mean((y - predicted) ** 2 / predicted):.1f}; 1 if the counts were Poisson's")
    tenths = np.array_split(np.argsort(predicted, kind="stable"), 10)
    means = np.array([(predicted[rows].mean(), y[rows].mean()) for rows in tenths])
    print("  tenth   mean predicted   mean observed")
    for i, (p, o) in enumerate(means, 1):
        print(f"  {i:5d}   {p:14.1f}   {o:13.1f}")
    ratios = means[:, 1] / means[:, 0] - 1
    print(f"  largest gap: {100 * ratios[np.argmax(np.abs(ratios))]:+.1f} %")
    return Points("tenths of the rows", means[:, 0], means[:, 1])


def print_gaps(points: Points) -> Points:
    """The points, after their largest gap is printed."""
    gaps = points.observed - points.predicted
    worst = int(np.argmax(np.abs(gaps)))
    print(f"  largest gap: {100 * gaps[worst]:+.1f} points, at level {points.predicted[worst]:.2f}")
    return points


# ---- the picture ----------------------------------------------------------------------------------


class Panel:
    """Two axes on which curves, bands and diagonals are drawn, as SVG text."""

    def __init__(self, number: int, title: str, x: Axis, y: Axis, names: tuple[str, str], ticks: str = "g") -> None:
        self.x_axis, self.y_axis = x, y
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        self.parts = [
            f'<g transform="translate({number * WIDTH} 0)">',
            f'<text class="title" x="{LEFT}" y="24">{title}</text>',
            f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>',
            f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{names[0]}</text>',
            f'<text transform="translate(16 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">{names[1]}</text>',
        ]
        for value in y.ticks:
            at = self.at(x.low, value)[1]
            self.parts.append(f'<path class="grid" d="M{LEFT} {at}H{right}"/>')
            self.parts.append(
                f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{value:{ticks if value else "g"}}</text>'
            )
        for value in x.ticks:
            at = self.at(value, y.low)[0]
            self.parts.append(f'<path class="axis" d="M{at} {bottom}v4"/>')
            self.parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the picture."""
        across, up = self.x_axis.fraction(x), self.y_axis.fraction(y)
        return round(LEFT + across * (WIDTH - RIGHT - LEFT), 1), round(
            HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP), 1
        )

    def line(self, x: Sequence[float], y: Sequence[float], look: str) -> None:
        self.parts.append(f'<path fill="none" {look} d="M{"L".join(f"{a} {b}" for a, b in map(self.at, x, y))}"/>')

    def dots(self, x: Sequence[float], y: Sequence[float], colour: str) -> None:
        self.parts += [f'<circle cx="{a}" cy="{b}" r="3.5" fill="{colour}"/>' for a, b in map(self.at, x, y)]

    def band(self, x: Sequence[float], reach: Sequence[float]) -> None:
        edge = [*map(self.at, x, reach), *map(self.at, x[::-1], [-r for r in reach[::-1]])]
        self.parts.append(f'<path class="band" d="M{"L".join(f"{a} {b}" for a, b in edge)}Z"/>')

    def note(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        a, b = self.at(x, y)
        self.parts.append(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{text}</text>')


def draw(levels: Sequence[Points], counts: Points, n: int) -> str:
    """Coverage against level, the gap between the two, and the means of counts."""
    blue, orange = colours(2)
    looks = [f'stroke="{blue}" stroke-width="2"', f'stroke="{orange}" stroke-width="2"']
    looks.append(looks[1] + ' stroke-dasharray="5 4"')
    unit = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1))
    gaps = [100 * (p.observed - p.predicted) for p in levels]
    most = max(4.0, float(np.ceil(max(np.abs(gap).max() for gap in gaps))))
    whole = Panel(0, "House values: levels", unit, unit, ("nominal level", "observed coverage"))
    apart = Panel(
        1,
        "The gap, magnified",
        unit,
        Axis(-most, most, tuple(np.arange(-(most // 4) * 4, most + 0.1, 4))),
        ("nominal level", "observed less nominal, points"),
        "+g",
    )
    whole.line((0, 1), (0, 1), 'class="best"')
    grid = np.linspace(0.005, 0.995, 100)
    apart.band(grid, 200 * np.sqrt(grid * (1 - grid) / n))
    apart.note(0.99, 2 - most // 4 * 4, f"grey: chance, two standard errors of {n:,} rows", "end")
    for i, (points, gap, look) in enumerate(zip(levels, gaps, looks, strict=True)):
        whole.line(points.predicted, points.observed, look)
        apart.line(points.predicted, gap, look)
        if points.label == "quantile":
            whole.dots(points.predicted, points.observed, blue)
            apart.dots(points.predicted, gap, blue)
        whole.line((0.05, 0.12), (0.95 - 0.08 * i,) * 2, look)
        whole.note(0.14, 0.935 - 0.08 * i, points.label)
    both = np.concatenate([counts.predicted, counts.observed])
    low, high = both.min() / 1.25, both.max() * 1.25
    ticks = tuple(t for e in range(5) for m in (1, 2, 5) if low <= (t := m * 10.0**e) <= high)
    axis = Axis(low, high, ticks, logarithmic=True)
    means = Panel(2, "Households: mean counts", axis, axis, ("predicted, a tenth of the rows", "observed"))
    means.line((low, high), (low, high), 'class="best"')
    means.dots(counts.predicted, counts.observed, blue)
    body = "\n".join("\n".join([*panel.parts, "</g>"]) for panel in (whole, apart, means))
    style = STYLE + ".band{fill:currentColor;fill-opacity:.13}"
    size = f'width="{3 * WIDTH}" height="{HEIGHT}" viewBox="0 0 {3 * WIDTH} {HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>Calibration on California housing</title>'
        f"<style>{style}</style>\n{body}\n</svg>\n"
    )


def main(table: Path, picture: Path | None = None, *, epochs: int = 100) -> None:
    columns = read_columns(table)
    price = columns["median_house_value"] / PRICE
    values = split(features(columns, without=["median_house_value"]), price)
    of_log = values._replace(y=np.log(values.y), y_test=np.log(values.y_test))
    # Bedrooms would give the answer away: nearly everywhere there are as many as households.
    other = features(columns, without=["households", "total_bedrooms", "median_house_value"])
    households = split(other, columns["households"])
    n = len(values.y_test)
    print(f"{len(price):,} rows without missing values, {n:,} of them to test on; values in units of 100,000 dollars")
    print("quantiles of the value")
    levels = [report_quantiles(train(cr.Quantile(LEVELS), values, epochs=epochs), values)]
    for of, data in (("price", values), ("log price", of_log)):
        print(f"mean and variance of the {of}")
        levels.append(report_normal(train(cr.GaussianNLL(), data, epochs=epochs), data, of=of))
    print("households, as a Poisson count")
    counts = report_counts(train(cr.Poisson(), households, epochs=epochs), households)
    if picture is not None:
        picture.write_text(draw(levels, counts, n), encoding="utf-8")
        print(f"picture  {picture}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    main(*map(Path, sys.argv[1:]))
