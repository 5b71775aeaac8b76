"""The losses: what is minimised, from logits, and what belongs to it.

l_i is the loss of row i, w_i its weight (1 where none are given). The loss of a batch is scale * sum w l / sum w, a
mean, or scale * sum w l, a sum. Formulas of l and of its gradient stand at the kernels in
:mod:`chainrule.backends.base`.
"""

from __future__ import annotations

import abc
from typing import Any, Literal

import numpy as np

from chainrule.backends.base import LOSS, WEIGHT, Array, Backend
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.options import one_of

Task = Literal["classify", "multilabel", "regress"]


class Loss(abc.ABC):
    """A loss for a net of ``n_out`` outputs. ``reduction`` is "mean" or "sum"."""

    name: str
    task: Task
    formula: str
    gradient: str

    def __init__(self, n_out: int, reduction: str = "mean") -> None:
        if reduction not in {"mean", "sum"}:
            raise OptionError(f"reduction {reduction!r} came", hint="one of mean, sum")
        self.n_out = n_out
        self.reduction = reduction
        self.mean = reduction == "mean"
        self.scale = 1.0

    def __call__(
        self, backend: Backend, logits: Array, targets: Array, weights: Array | None, state: Array, *,
        totals: Array, dlogits: Array,
    ) -> None:  # fmt: skip
        """Write the loss into ``totals`` and its gradient by the logits into ``dlogits``: the kernel of this name."""
        kernel = getattr(backend, self.name)
        kernel(logits, targets, weights, state, scale=self.scale, mean=self.mean, totals=totals, dlogits=dlogits)

    @abc.abstractmethod
    def check_targets(self, y: np.ndarray) -> np.ndarray:
        """``y`` as the kernels want it; ShapeError or DataError naming the first row that does not fit."""

    def value(self, totals: np.ndarray) -> Any:
        """The loss over several batches, from their rows of totals; a number of the totals' own dtype."""
        loss, weight = totals[:, LOSS].sum(), totals[:, WEIGHT].sum()
        return loss / weight if self.mean and weight else loss


class SoftmaxCrossEntropy(Loss):
    """One of k classes: l_i = logsumexp(z_i) - z_i[label_i], in nats.   z (n, k), labels (n,) ints in [0, k)."""

    name = "softmax_cross_entropy"
    task: Task = "classify"
    formula = "mean_i( logsumexp(z_i) - z_i[label_i] )"
    gradient = "(softmax(z) - onehot(labels)) / n"

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ShapeError(f"labels of shape {y.shape} came, (n,) whole numbers were expected")
        if y.dtype.kind == "f":
            _refuse_where(~np.isfinite(y) | (y != np.floor(y)), y, "a label", "a whole number")
        elif y.dtype.kind not in "biu":
            raise DataError(f"labels of dtype {y.dtype} came, whole numbers from 0 to {self.n_out - 1} were expected")
        _refuse_where((y < 0) | (y >= self.n_out), y, "a label", f"a class from 0 to {self.n_out - 1}")
        return y.astype(np.int32)


class _Elementwise(Loss):
    """A sum over the outputs of one number each: targets (n, n_out), or (n,) for one output.

    The mean is over rows and outputs, so that the learning rate need not change with their number: scale = 1 / n_out.
    """

    def __init__(self, n_out: int, reduction: str = "mean") -> None:
        super().__init__(n_out, reduction)
        if self.mean:
            self.scale = 1.0 / n_out

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 1 and self.n_out == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != self.n_out:
            expected = f"(n, {self.n_out})" + (" or (n,)" if self.n_out == 1 else "")
            raise ShapeError(f"targets of shape {y.shape} came, {expected} was expected")
        if y.dtype.kind not in "biuf":
            raise DataError(f"targets of dtype {y.dtype} came, numbers were expected")
        _refuse_where(~np.isfinite(y), y, "a target", "a finite number")
        return y


class SigmoidCrossEntropy(_Elementwise):
    """Yes or no, k times: l_i = sum_j max(z, 0) - z t + log(1 + exp(-|z|)), in nats.   z, t (n, k), t in [0, 1]."""

    name = "sigmoid_cross_entropy"
    task: Task = "multilabel"
    formula = "mean_ij( max(z, 0) - z t + log(1 + exp(-|z|)) )"
    gradient = "(sigmoid(z) - t) / (n * k)"

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        y = super().check_targets(y)
        _refuse_where((y < 0) | (y > 1), y, "a target", "a number from 0 to 1")
        return y


class SquaredError(_Elementwise):
    """l_i = sum_j (p_ij - t_ij)^2.   p, t (n, k), in squared units of the target."""

    name = "squared_error"
    task: Task = "regress"
    formula = "mean_ij( (p - t)^2 )"
    gradient = "2 (p - t) / (n * k)"

    def __init__(self, n_out: int, reduction: str = "mean") -> None:
        super().__init__(n_out, reduction)
        if not self.mean:
            self.formula, self.gradient = "sum_ij( (p - t)^2 )", "2 (p - t)"


LOSSES: dict[str, tuple[type[Loss], str]] = {
    "softmax_cross_entropy": (SoftmaxCrossEntropy, "mean"),
    "sigmoid_cross_entropy": (SigmoidCrossEntropy, "mean"),
    "squared_error": (SquaredError, "mean"),
    "squared_error_sum": (SquaredError, "sum"),
}


def find_loss(name: str, n_out: int) -> Loss:
    """The loss of that name for a net of ``n_out`` outputs; OptionError lists the names there are."""
    kind, reduction = LOSSES[one_of("loss", name, LOSSES)]
    if kind is SoftmaxCrossEntropy and n_out < 2:
        raise OptionError(
            f"softmax_cross_entropy over {n_out} class came, 2 or more were expected",
            hint="for yes or no with one output use loss='sigmoid_cross_entropy'",
        )
    return kind(n_out, reduction)


def _refuse_where(bad: np.ndarray, y: np.ndarray, what: str, expected: str) -> None:
    if bad.any():
        position: Any = tuple(int(i) for i in np.argwhere(bad)[0])
        at = f"row {position[0]}" + (f", column {position[1]}" if len(position) > 1 else "")
        raise DataError(f"{what} at {at} is {y[position]}, {expected} was expected")
