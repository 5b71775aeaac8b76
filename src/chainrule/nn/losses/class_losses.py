"""Losses of classes: one of k, or yes and no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.backends.contract.backend import Backend
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.losses import baselines, class_hints
from chainrule.nn.losses.base import Loss, NumberLoss, Support, Task, refuse_if
from chainrule.options import real_number


@dataclass(frozen=True, repr=False)
class _OneOfK(Loss):
    """Labels (n,): whole numbers in [0, k) for k outputs."""

    task: ClassVar[Task] = "classify"
    metric: ClassVar[str] = "accuracy"
    mean_kind: ClassVar[MemberMeanName] = "softmax"

    def bind(self, n_out: int) -> _OneOfK:
        if n_out < 2:
            raise OptionError(
                f"expected 2 classes or more for {self.name}, got {n_out}",
                hint="for yes or no with one output use loss='sigmoid_cross_entropy'",
            )
        return super().bind(n_out)

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            hint = class_hints.hint_of_matrix(y)
            raise ShapeError(f"expected labels (n,), whole numbers, got shape {y.shape}", hint=hint)
        if y.dtype.kind == "f":
            hint = "for numbers instead of classes: loss='squared_error'" if np.isfinite(y).all() else ""
            refuse_if(~np.isfinite(y) | (y != np.floor(y)), y, "a label", "a whole number", hint=hint)
        elif y.dtype.kind not in "biu":
            raise DataError(
                f"expected whole numbers from 0 to {self.n_out - 1}, got labels of dtype {y.dtype}",
                hint=class_hints.NUMBERED,
            )
        outside = (y < 0) | (y >= self.n_out)
        hint = class_hints.hint_of_labels(y, self.n_out) if outside.any() else ""
        refuse_if(outside, y, "a label", f"a class from 0 to {self.n_out - 1}", hint=hint)
        return y.astype(np.int32)

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The logarithms of the classes' shares of the weight, whose softmax are these shares."""
        return baselines.log_shares(targets, weights, self.n_out)


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(_OneOfK):
    """One of k classes: l_i = logsumexp(z_i) - sum_j(q_ij z_ij), q_i = (1 - s) onehot(label_i) + s / k, in nats.

    Parameters
    ----------
    label_smoothing : s in [0, 1): the share of the target that is spread over all classes, so that no logit has to
        grow without bound
    reduction : "mean" (over rows) or "sum"

    z (n, k), labels (n,) ints in [0, k). Source: Szegedy et al. 2016, section 7; torch.nn.CrossEntropyLoss.
    """

    convex: ClassVar[bool] = True
    name: ClassVar[str] = "softmax_cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "label_smoothing", real_number("label_smoothing", self.label_smoothing, below=1.0))

    @property
    def formula(self) -> str:
        if not self.label_smoothing:
            return f"{self.reduction}_i( logsumexp(z_i) - z_i[label_i] )"
        s = self.label_smoothing
        return f"{self.reduction}_i( logsumexp(z_i) - {1 - s:g} z_i[label_i] - {s:g} mean_j(z_ij) )"

    @property
    def gradient(self) -> str:
        s, n = self.label_smoothing, " / n" if self.mean else ""
        return f"(softmax(z) - {f'{1 - s:g} onehot(labels) - {s:g} / k' if s else 'onehot(labels)'}){n}"

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        return baselines.log_shares(targets, weights, self.n_out, smoothing=self.label_smoothing)

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """The entropy of a smoothed label."""
        s, k = self.label_smoothing, self.n_out
        return float(baselines.entropy(np.array([1 - s + s / k, *[s / k] * (k - 1)])))

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.softmax_cross_entropy(batch, label_smoothing=self.label_smoothing, scale=self.scale, mean=self.mean)


@dataclass(frozen=True, repr=False)
class Focal(_OneOfK):
    """One of k classes, rows that are right already counting for little: l_i = -(1 - q_i)^gamma log(q_i), in nats.

    Parameters
    ----------
    gamma : from 0 (the cross-entropy) up; 2 in the paper
    reduction : "mean" (over rows) or "sum"

    z (n, k), q_i = softmax(z_i)[label_i]. Source: Lin, Goyal, Girshick, He, Dollar 2017, section 3.2.
    """

    name: ClassVar[str] = "focal"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "gamma", real_number("gamma", self.gamma))

    @property
    def formula(self) -> str:
        return f"{self.reduction}_i( -(1 - q_i)^{self.gamma:g} log q_i ) where q_i = softmax(z_i)[label_i]"

    @property
    def gradient(self) -> str:
        g, n = f"{self.gamma:g}", " / n" if self.mean else ""
        factor, where = f"(1 - q)^{g} - {g} (1 - q)^({g} - 1) q log q", "where q_i = softmax(z_i)[label_i]"
        return f"({factor}) (softmax(z) - onehot(labels)){n} {where}"

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.focal_loss(batch, gamma=self.gamma, scale=self.scale, mean=self.mean)


@dataclass(frozen=True, repr=False)
class SigmoidCrossEntropy(NumberLoss):
    """Yes or no, k times: l_i = sum_j( max(z_ij, 0) - z_ij t_ij + log(1 + exp(-|z_ij|)) ), in nats.

    z, t (n, k), t in [0, 1].

    Parameters
    ----------
    label_smoothing : s in [0, 1): t becomes (1 - s) t + s / 2 at upload, in validation rows too
    reduction : "mean" (over rows and target columns) or "sum"
    """

    name: ClassVar[str] = "sigmoid_cross_entropy"
    task: ClassVar[Task] = "multilabel"
    convex: ClassVar[bool] = True
    metric: ClassVar[str] = "accuracy"
    support: ClassVar[Support] = "unit"
    mean_kind: ClassVar[MemberMeanName] = "sigmoid"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "label_smoothing", real_number("label_smoothing", self.label_smoothing, below=1.0))

    @property
    def formula(self) -> str:
        return f"{self.reduction}_ij( max(z, 0) - z t + log(1 + exp(-|z|)) )"

    @property
    def gradient(self) -> str:
        return f"(sigmoid(z) - t){' / (n * k)' if self.mean else ''}"

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        y, s = super().check_targets(y), self.label_smoothing
        return (1 - s) * y + s / 2 if s else y

    def _shape_hint(self, y: np.ndarray) -> str:
        return class_hints.hint_of_one_column(y, self.n_out) if y.ndim == 1 else super()._shape_hint(y)

    def _value_hint(self, y: np.ndarray) -> str:
        return class_hints.hint_of_yes_or_no(y)

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The log odds of the targets' means."""
        return baselines.log_odds(targets, weights)

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """The entropy of the targets, which is above 0 between yes and no, as for smoothed ones."""
        t = targets.astype(np.float64)
        rows = baselines.entropy(np.stack([t, 1 - t], axis=-1)).sum(axis=1)
        return float(np.average(rows, weights=weights))

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.elementwise_loss(batch, "sigmoid_cross_entropy", scale=self.scale, mean=self.mean)
