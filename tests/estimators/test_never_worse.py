"""With no option set, no table makes an estimator worse than the mean of its targets or its most frequent class.

Not by more than chance leaves: what is held out to learn how far to trust a net is as few rows as there are. The margin
is on the mean of three draws of each table or more, of two from 80 rows on, of one from 300 rows on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr

DRAWS, HELD_OUT = 3, 300
MARGIN = 0.15  # of R2, and of the fraction that is right

Table = tuple[np.ndarray, np.ndarray]  # with HELD_OUT further rows at the end


def table(
    n: int, d: int, target: Callable[[np.random.Generator, np.ndarray], np.ndarray], *, features: str = "normal"
) -> Callable[[int], Table]:
    def draw(seed: int) -> Table:
        rng = np.random.default_rng(seed)
        shape = (n + HELD_OUT, d)
        X = rng.standard_t(1.0, shape) if features == "far out" else rng.normal(size=shape)
        if features == "constant":
            X[:, -1] = 1.0
        if features == "repeated":
            X[:n] = np.repeat(X[: n // 4], 4, axis=0)
        y = target(rng, X)
        if features == "repeated":
            y[:n] = np.repeat(y[: n // 4], 4)
        return X, y

    return draw


def noise(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    return rng.normal(size=len(X))


REGRESSIONS = {
    "noise, 10 rows": table(10, 3, noise),
    "noise, 40 rows": table(40, 5, noise),
    "noise, 300 rows": table(300, 10, noise),
    "noise, 1,100 rows: another net": table(1100, 5, noise),
    "fewer rows than features": table(30, 100, noise),
    "few signals among many features": table(40, 100, lambda rng, X: X[:, 0] + rng.normal(size=len(X))),
    "a line through 10 rows": table(10, 1, lambda rng, X: 3 * X[:, 0]),
    "a constant column": table(50, 2, noise, features="constant"),
    "nothing but a constant column": table(50, 1, noise, features="constant"),
    "one weak feature": table(200, 1, lambda rng, X: 0.1 * X[:, 0] + rng.normal(size=len(X))),
    "huge numbers": table(80, 3, lambda rng, X: 1e15 + 1e12 * (X[:, 0] + 2 * rng.normal(size=len(X)))),
    "targets far out": table(150, 4, lambda rng, X: rng.standard_t(1.5, len(X))),
    "features far out": table(150, 4, noise, features="far out"),
    "targets of many sizes": table(100, 4, lambda rng, X: np.exp(2 * rng.normal(size=len(X)))),
    "one target": table(50, 3, lambda rng, X: np.full(len(X), 7.0)),
    "rows that repeat": table(60, 3, noise, features="repeated"),
}
CLASSES = {
    "12 rows": table(12, 3, lambda rng, X: rng.choice(2, len(X))),
    "one in five, 40 rows": table(40, 5, lambda rng, X: rng.choice(2, len(X), p=[0.8, 0.2])),
    "one in ten, 300 rows": table(300, 10, lambda rng, X: rng.choice(2, len(X), p=[0.9, 0.1])),
    "three": table(100, 8, lambda rng, X: rng.choice(3, len(X), p=[0.6, 0.3, 0.1])),
    "1,100 rows: another net": table(1100, 5, lambda rng, X: rng.choice(2, len(X), p=[0.7, 0.3])),
}


def draws_of(name: str) -> int:
    """Fewer of tables whose rows leave less to chance, one from 300 on; of 15 different rows three are too few."""
    if name == "rows that repeat":
        return 3 * DRAWS
    rows = len((REGRESSIONS | CLASSES)[name](0)[0]) - HELD_OUT
    return 1 if rows >= 300 else DRAWS - 1 if rows >= 80 else DRAWS


def gain_over_the_mean(X: np.ndarray, y: np.ndarray, seed: int, **options: bool | None) -> float:
    """R2 relative to the mean of the training targets."""
    n = len(X) - HELD_OUT
    reg = cr.MLPRegressor(device="cpu", random_state=seed, **options).fit(X[:n], y[:n])
    error, of_mean = (np.mean((y[n:] - p) ** 2) for p in (reg.predict(X[n:]), y[:n].mean()))
    return 1 - error / of_mean if of_mean else float(-error)


@pytest.mark.parametrize("name", REGRESSIONS)
def test_shrink_on_noise_is_never_worse_than_the_mean(name):
    gains = [gain_over_the_mean(*REGRESSIONS[name](seed), seed) for seed in range(draws_of(name))]
    assert np.mean(gains) > -MARGIN, gains
    if name == "a line through 10 rows":
        assert min(gains) > 0.8, "what there is to learn is learnt"


def test_without_shrinking_noise_is_worse_than_the_mean():
    assert gain_over_the_mean(*REGRESSIONS["noise, 40 rows"](0), 0, shrink=False, preset=None) < -0.3


@pytest.mark.parametrize("name", CLASSES)
def test_shrink_on_noise_is_never_worse_than_the_most_frequent_class(name):
    gains = []
    for seed in range(draws_of(name)):
        X, y = CLASSES[name](seed)
        n = len(X) - HELD_OUT
        y[: y.max() + 1] = range(y.max() + 1)  # all classes are there
        clf = cr.MLPClassifier(device="cpu", random_state=seed).fit(X[:n], y[:n])
        gains.append(clf.score(X[n:], y[n:]) - np.mean(y[n:] == np.bincount(y[:n]).argmax()))
    assert np.mean(gains) > -MARGIN, gains
