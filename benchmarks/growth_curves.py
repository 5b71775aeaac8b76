"""The curves of :mod:`growth`: what is measured, and at which sizes.

A further curve is one function under ``@curve``: it prepares the work of one size (files are kept in ``folder`` and
written once), imports what the work imports, and returns the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Work = Callable[[], object]
Prepare = Callable[[int, Path], Work]


class Curve(NamedTuple):
    """What is measured: ``prepare(size, folder)`` returns the work, ``unit`` says what the size counts."""

    title: str
    unit: str
    sizes: Sequence[int]
    prepare: Prepare


CURVES: dict[str, Curve] = {}


def curve(title: str, unit: str, sizes: Sequence[int]) -> Callable[[Prepare], Prepare]:
    """Register a function as the curve of its name."""

    def register(prepare: Prepare) -> Prepare:
        CURVES[prepare.__name__] = Curve(title, unit, sizes, prepare)
        return prepare

    return register


# ---- text tables

ROWS = (10_000, 100_000, 1_000_000)


def write_csv(path: Path, rows: int, holes: float = 0.0, columns: int = 21) -> Path:
    """Normal numbers of six decimals, some of them missing; the last column, without holes, is the target."""
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(f"x{j}" for j in range(columns)) + "\n")
        for start in range(0, rows, 10_000):
            numbers = rng.standard_normal((min(10_000, rows - start), columns))
            numbers[:, -1] = numbers[:, :5].sum(axis=1) + 0.1 * numbers[:, -1]
            numbers[:, :-1][rng.random((len(numbers), columns - 1)) < holes] = np.nan
            lines = (",".join([f"{x:.6f}" if not math.isnan(x) else "" for x in row]) for row in numbers.tolist())
            file.write("\n".join(lines) + "\n")
    return path


@curve("reading CSV, 21 numbers a row", "rows", ROWS)
def read_csv(rows: int, folder: Path) -> Work:
    path = write_csv(folder / f"plain-{rows}.csv", rows)
    import chainrule as cr
    from chainrule.tables.text import csv_reader  # noqa: F401

    return lambda: cr.read_table(path, target="x20")


@curve("reading CSV, 21 numbers a row, 5 % of them missing", "rows", ROWS)
def read_csv_with_holes(rows: int, folder: Path) -> Work:
    path = write_csv(folder / f"holes-{rows}.csv", rows, holes=0.05)
    import chainrule as cr
    from chainrule.tables.text import csv_reader  # noqa: F401

    return lambda: cr.read_table(path, target="x20")


@curve("chainrule train, 21 numbers a row, one epoch", "rows", ROWS)
def train_command(rows: int, folder: Path) -> Work:
    path = write_csv(folder / f"plain-{rows}.csv", rows)
    from chainrule.cli.main import main

    options = ["--target", "x20", "--task", "regress", "--device", "cpu", "--quiet", "--preset", "none"]
    options += ["--epochs", "1", "--run-dir", str(folder / "run"), "--overwrite"]
    return lambda: main(["train", str(path), *options])


# ---- categories and parameters

CATEGORIES = (500, 5_000, 50_000)
PARAMETERS = (500_000, 5_000_000, 50_000_000)
CATEGORY_ROWS = 160_000


@curve(f"chainrule train, {CATEGORY_ROWS:,} rows with a column of categories, one epoch", "categories", CATEGORIES)
def train_categories(count: int, folder: Path) -> Work:
    """The run directory stays in the folder, so that its files can be weighed."""
    path = folder / f"categories-{count}.csv"
    if not path.exists():
        rng = np.random.default_rng(0)
        codes = np.concatenate([np.tile(np.arange(count), 2), rng.integers(0, count, CATEGORY_ROWS)])[:CATEGORY_ROWS]
        x, levels = rng.standard_normal((CATEGORY_ROWS, 2)), rng.standard_normal(count)
        y = x[:, 0] + levels[codes] + 0.3 * rng.standard_normal(CATEGORY_ROWS)
        rows = zip(x.tolist(), codes.tolist(), y.tolist(), strict=True)
        lines = [f"{a:.4f},{b:.4f},c{code},{target:.4f}\n" for (a, b), code, target in rows]
        path.write_text("a,b,c,y\n" + "".join(lines))
    from chainrule.cli.main import main

    options = ["--target", "y", "--embed-above", "100", "--device", "cpu", "--quiet", "--preset", "none"]
    options += ["--epochs", "1", "--run-dir", str(folder / f"run-{count}"), "--overwrite"]
    return lambda: main(["train", str(path), *options])


@curve("building a net", "parameters", PARAMETERS)
def build(parameters: int, folder: Path) -> Work:
    import chainrule as cr

    cr.MLP([2, 2])  # what a process imports with its first net is none of this one's
    return lambda: cr.MLP(_layers(parameters))


@curve("writing a checkpoint, with Adam", "parameters", PARAMETERS)
def write_checkpoint(parameters: int, folder: Path) -> Work:
    """Taking it, and writing it to the disk: of a fit of one step."""
    import chainrule as cr
    from chainrule.train import fit

    net, taken = cr.MLP(_layers(parameters)), fit.take
    kept: list[Any] = []
    fit.take = lambda *given: kept.append(given) or taken(*given)
    options = {"batch_size": 8, "epochs": 1, "checkpoints": folder / "checkpoints"}
    cr.Trainer(net, cr.Adam(), **options).fit(np.eye(8, net.n_in, dtype=np.float32), np.arange(8) % 2)
    return lambda: taken(*kept[-1]).write(folder / f"checkpoint-{parameters}.safetensors")


def _layers(parameters: int) -> list[int]:
    """The widths of two square layers that have about so many parameters."""
    width = math.isqrt(parameters // 2)
    return [width, width, width, 2]


# ---- classes

EVALUATED, WIDE = 5_000, 1_000  # rows, and classes


def classes_and_rows(folder: Path, classes: int, rows: int) -> tuple[str, str]:
    """A model of so many classes with its initial weights, and rows with a class each; the paths of both."""
    model, data = folder / f"classes-{classes}.safetensors", folder / f"classes-{classes}-{rows}.npz"
    if not model.exists():
        import chainrule as cr

        net = cr.MLP([32, 64, classes])
        net.preparation = cr.Preparation(classes=tuple(f"c{i:06}" for i in range(classes)))
        net.save(model)
    if not data.exists():
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((rows, 32), np.float32), rng.permutation(np.resize(np.arange(classes), rows))
        np.savez(data, X=X, y=np.array([f"c{i:06}" for i in y]))
        np.save(data.with_suffix(".npy"), X)
    return str(model), str(data)


@curve("chainrule evaluate, 5,000 rows", "classes", (100, 1_000, 10_000))
def evaluate_classes(classes: int, folder: Path) -> Work:
    model, data = classes_and_rows(folder, classes, EVALUATED)
    from chainrule.cli.main import main

    return lambda: main(["evaluate", model, data, "--device", "cpu"])


@curve("chainrule predict to CSV, 1,000 classes", "rows x classes", (400_000, 4_000_000, 40_000_000))
def predict_to_csv(cells: int, folder: Path) -> Work:
    model, data = classes_and_rows(folder, WIDE, max(1, cells // WIDE))
    from chainrule.cli.main import main

    rows, out = str(Path(data).with_suffix(".npy")), str(folder / "predictions.csv")
    return lambda: main(["predict", model, rows, "--device", "cpu", "-o", out])


# ---- rows

CALLS = 200  # of what takes less than a millisecond


def table_of_columns(rows: int, columns: int, *, text: bool) -> Any:
    """A DataFrame of text, ten different ones in each column, or of normal numbers."""
    import pandas as pd

    rng = np.random.default_rng(0)
    cells = rng.choice(list("abcdefghij"), (rows, columns)) if text else rng.standard_normal((rows, columns))
    return pd.DataFrame(cells, columns=[f"x{j}" for j in range(columns)])


def one_row(X: Any) -> Work:
    """One row into a classifier of 32 hidden units, again and again."""
    from chainrule import MLPClassifier

    classifier = MLPClassifier((32,), max_iter=2, shrink=False, random_state=0).fit(X, np.arange(len(X)) % 2)
    row = X[:1]
    return lambda: [classifier.predict_proba(row) for _ in range(CALLS)]


@curve(f"{CALLS} predictions of one row of an array", "columns", (10, 40, 160))
def predict_one_row(columns: int, folder: Path) -> Work:
    return one_row(table_of_columns(500, columns, text=False).to_numpy())


@curve(f"{CALLS} predictions of one row of a DataFrame of numbers", "columns", (10, 40, 160))
def predict_one_row_of_frame(columns: int, folder: Path) -> Work:
    return one_row(table_of_columns(500, columns, text=False))


@curve(f"{CALLS} predictions of one row of a DataFrame of text", "columns", (10, 40, 160))
def predict_one_row_of_text(columns: int, folder: Path) -> Work:
    return one_row(table_of_columns(500, columns, text=True))


TABLE_ROWS = (1_000, 4_000, 16_000)


def fit_to_numbers(rows: int, **options: Any) -> Work:
    """A regressor on ten columns of numbers."""
    from chainrule import MLPRegressor
    from chainrule.backends.compiled import loading

    loading.load()  # what importing numba takes is none of a fit's growth
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 10))
    y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3] + 0.5 * rng.standard_normal(rows)
    MLPRegressor(random_state=0, **options | {"max_iter": 1}).fit(X, y)
    return lambda: MLPRegressor(random_state=0, **options).fit(X, y)


@curve("a fit of the default regressor", "rows", TABLE_ROWS)
def fit_default(rows: int, folder: Path) -> Work:
    return fit_to_numbers(rows)


@curve("a fit of one net of 100 units that is as it was trained", "rows", TABLE_ROWS)
def fit_one_net(rows: int, folder: Path) -> Work:
    return fit_to_numbers(rows, hidden_layer_sizes=(100,), shrink=False)


@curve("a fit of one net of 100 units that is shrunk by rows held out", "rows", TABLE_ROWS)
def fit_one_net_and_shrink(rows: int, folder: Path) -> Work:
    return fit_to_numbers(rows, hidden_layer_sizes=(100,))


# ---- rows of few bits


def fit_once(X: Any, y: np.ndarray) -> Work:
    """One epoch of the default classifier; what it imports is none of the rows' memory."""
    from chainrule import MLPClassifier
    from chainrule.backends.compiled import loading

    loading.load()
    MLPClassifier(random_state=0, max_iter=1).fit(X[:100], y[:100])
    return lambda: MLPClassifier(random_state=0, max_iter=1).fit(X, y)


@curve("an epoch of the default classifier on uint8, 784 columns", "rows", (12_000, 40_000, 120_000))
def fit_bytes(rows: int, folder: Path) -> Work:
    return fit_once(np.random.default_rng(0).integers(0, 256, (rows, 784), np.uint8), np.arange(rows) % 10)


@curve("an epoch of the default classifier on a DataFrame of text, 160 columns", "rows", (5_000, 15_000, 50_000))
def fit_text(rows: int, folder: Path) -> Work:
    return fit_once(table_of_columns(rows, 160, text=True), np.arange(rows) % 2)
