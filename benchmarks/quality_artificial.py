"""Artificial tables of ``quality.py``: what is known about them says what a model cannot do."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn import datasets

Rows = tuple[np.ndarray | pd.DataFrame, np.ndarray]
TEXTS = (5, 12, 40, 200, 1500, 8)  # categories of each column


def artificial(name: str) -> pd.DataFrame:
    """The table of this name, always the same rows; its column "target" is what is to be predicted."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) % 2**31)
    X, y = TABLES[name](rng)
    return pd.DataFrame(X).rename(columns=str).assign(target=y)


def _linear(rng: np.random.RandomState, rows: int, columns: int, noise: float) -> Rows:
    X = rng.randn(rows, columns)
    return X, X @ rng.randn(columns) + noise * rng.randn(rows)


def _step(rng: np.random.RandomState) -> Rows:
    """Steps along the axes, as trees like them."""
    X = rng.rand(4000, 8)
    y = np.sign(X[:, 0] - 0.5) * np.sign(X[:, 1] - 0.3) + (X[:, 2] > 0.6) * 2 + 0.3 * rng.randn(4000)
    return X, y


def _skew(rng: np.random.RandomState) -> Rows:
    """A target that is log-normal."""
    X = rng.randn(3000, 8)
    z = X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + 0.5 * np.abs(X[:, 3]) + 0.5 * rng.randn(3000)
    return X, np.exp(z)


def _voronoi(rng: np.random.RandomState) -> Rows:
    """The class of the nearest of 40 points."""
    X, centres, labels = rng.randn(4000, 5), rng.randn(40, 5), rng.randint(0, 2, 40)
    return X, labels[((X[:, None] - centres) ** 2).sum(2).argmin(1)]


def _boxes(rng: np.random.RandomState) -> Rows:
    """A three-dimensional chessboard of 27 boxes, three columns of nothing, 5 % wrong labels."""
    X = rng.rand(4000, 6)
    y = ((X[:, :3] * 3).astype(int).sum(1) % 2) ^ (rng.rand(4000) < 0.05)
    return X, y.astype(int)


def _texts(rng: np.random.RandomState, rows: int = 6000) -> tuple[pd.DataFrame, np.ndarray]:
    """Text of few to very many categories, some of them rare, and the signal without noise."""
    columns, signal = {}, np.zeros(rows)
    for j, count in enumerate(TEXTS):
        share = 1 / np.arange(1, count + 1)
        codes = rng.choice(count, rows, p=share / share.sum())
        columns[f"t{j}"] = codes.astype(str)
        signal = signal + rng.randn(count)[codes] * 0.7
    X = pd.DataFrame(columns)
    X["x0"], X["x1"] = rng.randn(rows), rng.randn(rows)
    signal = signal + X["x0"] + 0.5 * X["x1"] * (X["t0"] == "0") + np.sin(2 * X["x1"])
    return X, signal.to_numpy()


def _texts_of_numbers(rng: np.random.RandomState) -> Rows:
    X, signal = _texts(rng)
    return X, signal + rng.randn(len(X))


def _texts_of_classes(rng: np.random.RandomState) -> Rows:
    X, signal = _texts(rng)
    return X, (signal - np.median(signal) + rng.logistic(size=len(X)) > 0).astype(int)


def _classification(rows: int, columns: int, **options: float) -> Callable[[np.random.RandomState], Rows]:
    return lambda rng: datasets.make_classification(rows, columns, random_state=rng, **options)


def _friedman1(rows: int) -> Callable[[np.random.RandomState], Rows]:
    return lambda rng: datasets.make_friedman1(rows, 10, noise=1.0, random_state=rng)


TABLES: dict[str, Callable[[np.random.RandomState], Rows]] = {
    "friedman1": _friedman1(3000),
    "friedman300": _friedman1(300),
    "linear": lambda rng: _linear(rng, 2000, 20, 3.0),
    "linear200": lambda rng: _linear(rng, 200, 10, 2.0),
    "noise": lambda rng: (rng.randn(1500, 10), rng.randn(1500)),
    "noisec": lambda rng: (rng.randn(1500, 10), rng.randint(0, 2, 1500)),
    "step": _step,
    "skew": _skew,
    "sharp": _classification(
        4000, 5, n_informative=5, n_redundant=0, n_clusters_per_class=8, class_sep=1.5, flip_y=0.02
    ),
    "voronoi": _voronoi,
    "boxes": _boxes,
    "many20": _classification(4000, 20, n_informative=12, n_classes=20, n_clusters_per_class=2, class_sep=1.5),
    "many100": _classification(6000, 30, n_informative=20, n_classes=100, n_clusters_per_class=1, class_sep=2.5),
    "rare3": _classification(5000, 15, n_informative=8, weights=[0.97], class_sep=1.0, flip_y=0.01),
    "textsr": _texts_of_numbers,
    "texts": _texts_of_classes,
}
