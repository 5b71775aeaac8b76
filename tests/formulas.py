"""The losses once more, by formulas other than those of the kernels if there are some: what backends are held to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.losses import LossBatch

Rows = tuple[np.ndarray, np.ndarray]  # l (n,), dl/dz of the shape of z

SMOOTHING, GAMMA, DELTA = 0.1, 2.0, 1.5


def softmax_rows(z: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> Rows:
    k = z.shape[1]
    log_sum = np.logaddexp.reduce(z, axis=1)
    q = (1 - smoothing) * np.eye(k)[labels] + smoothing / k
    losses = (q * (log_sum[:, None] - z)).sum(axis=1) if smoothing else log_sum - z[np.arange(len(z)), labels]
    return losses, np.exp(z - log_sum[:, None]) - q


def smoothed_rows(z: np.ndarray, labels: np.ndarray) -> Rows:
    return softmax_rows(z, labels, SMOOTHING)


def focal_rows(z: np.ndarray, labels: np.ndarray) -> Rows:
    """By the quotient of the definition rather than from -log p."""
    p = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    others = np.where(np.eye(z.shape[1], dtype=bool)[labels], 0, p).sum(axis=1)  # 1 - p
    nll, gradient = softmax_rows(z, labels)
    losses = others**GAMMA * nll
    factor = others**GAMMA + GAMMA * others ** (GAMMA - 1) * np.exp(-nll) * nll
    return losses, factor[:, None] * gradient


def sigmoid_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    return (t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)).sum(axis=1), np.exp(-np.logaddexp(0, -z)) - t


def squared_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    return ((z - t) ** 2).sum(axis=1), 2 * (z - t)


def absolute_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    return np.abs(z - t).sum(axis=1), np.sign(z - t)


def huber_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    e = np.abs(z - t)
    losses = np.where(e <= DELTA, e**2 / 2, DELTA * (e - DELTA / 2))
    return losses.sum(axis=1), np.where(e <= DELTA, z - t, DELTA * np.sign(z - t))


def poisson_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    return (np.exp(z) - t * z).sum(axis=1), np.exp(z) - t


def gamma_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    return (z + t / np.exp(z)).sum(axis=1), 1 - t / np.exp(z)


def quantile_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    """Quantile by quantile, and the gradient by the chain rule, term by term."""
    n, columns = t.shape
    count = z.shape[1] // columns
    z3, gradient, losses = z.reshape(n, columns, count), np.zeros((n, columns, count), z.dtype), np.zeros(n, z.dtype)
    q = np.zeros((n, columns), z.dtype)
    for j, level in enumerate(levels_of(count)):
        q = q + (np.logaddexp(0, z3[..., j]) if j else z3[..., 0])
        losses += np.where(t > q, level * (t - q), (1 - level) * (q - t)).sum(axis=1)
        slope = np.where(t >= q, -level, 1 - level)
        for i in range(j + 1):
            gradient[..., i] += slope * (np.exp(-np.logaddexp(0, -z3[..., i])) if i else 1)
    return losses, gradient.reshape(z.shape)


def gaussian_rows(z: np.ndarray, t: np.ndarray) -> Rows:
    k = t.shape[1]
    m, s = z[:, :k], z[:, k:]
    losses = (s / 2 + (t - m) ** 2 / (2 * np.exp(s))).sum(axis=1)
    return losses, np.hstack([(m - t) / np.exp(s), 0.5 - (t - m) ** 2 / (2 * np.exp(s))])


def levels_of(count: int) -> tuple[float, ...]:
    return tuple((np.arange(count) + 1) / (count + 1))


class LossCase(NamedTuple):
    """A loss as a backend computes it, and as it should be. For ``k`` outputs, or twice as many."""

    method: str
    rows: Callable[[np.ndarray, np.ndarray], Rows]
    options: dict[str, Any]
    kind: str = ""
    each: int = 1  # outputs per target column; 0 for as many as there are up to 7

    def call(self, backend: Any, *arrays: Any, totals: Any, dlogits: Any, **options: Any) -> None:
        """Of the ``arrays`` logits, targets, weights and state."""
        batch = LossBatch(*arrays, totals=totals, dlogits=dlogits)
        if self.method == "quantile_loss":
            options["levels"] = levels_of(batch.logits.shape[1] // batch.targets.shape[1])
        kind = (self.kind,) if self.kind else ()
        getattr(backend, self.method)(batch, *kind, **self.options, **options)

    def launches(self) -> str:
        """The kernel of the CUDA backend."""
        if "label_smoothing" in self.options:
            return "smoothed_softmax_cross_entropy"
        return f"elementwise_{self.kind}" if self.kind else self.method

    def draw(self, rng: np.random.Generator, n: int, k: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Logits and targets of n rows: (n, k), but (n, 2 k) logits for two outputs per column."""
        outputs = 2 * k if self.each == 2 else k
        z = (3 * rng.normal(size=(n, outputs))).astype(dtype)
        if self.method in {"softmax_cross_entropy", "focal_loss"}:
            return z, rng.integers(0, k, n).astype(np.int32)
        columns = k if self.each else k // max(d for d in range(1, 8) if k % d == 0)
        of_kind = {
            "sigmoid_cross_entropy": lambda size: rng.uniform(size=size),
            "poisson": lambda size: rng.poisson(2.0, size),
            "gamma": lambda size: rng.gamma(2.0, size=size),
        }
        return z, of_kind.get(self.kind, lambda size: rng.normal(size=size))((n, columns)).astype(dtype)


LOSSES = {
    "softmax_cross_entropy": LossCase("softmax_cross_entropy", softmax_rows, {}),
    "label_smoothing": LossCase("softmax_cross_entropy", smoothed_rows, {"label_smoothing": SMOOTHING}),
    "focal": LossCase("focal_loss", focal_rows, {"gamma": GAMMA}),
    "sigmoid_cross_entropy": LossCase("elementwise_loss", sigmoid_rows, {}, "sigmoid_cross_entropy"),
    "squared_error": LossCase("elementwise_loss", squared_rows, {}, "squared_error"),
    "absolute_error": LossCase("elementwise_loss", absolute_rows, {}, "absolute_error"),
    "huber": LossCase("elementwise_loss", huber_rows, {"parameter": DELTA}, "huber"),
    "poisson": LossCase("elementwise_loss", poisson_rows, {}, "poisson"),
    "gamma": LossCase("elementwise_loss", gamma_rows, {}, "gamma"),
    "quantile": LossCase("quantile_loss", quantile_rows, {}, each=0),
    "gaussian_nll": LossCase("gaussian_nll", gaussian_rows, {}, each=2),
}
