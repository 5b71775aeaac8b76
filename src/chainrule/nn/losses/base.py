"""What a loss is: a kernel of the contract with its options, and what belongs to it.

l_i is the loss of row i, w_i its weight (1 where none are given). The loss of a batch is scale * sum w l / sum w, a
mean, or scale * sum w l, a sum. Formulas of l and of its gradient stand at the kernels in
:mod:`chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from chainrule.backends.contract.backend import LOSS, WEIGHT, Array, Backend
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.inputs.standardization import Standardization, Units

Task = Literal["classify", "multilabel", "regress"]
Support = Literal["real", "unit", "nonnegative", "positive"]  # which numbers a target may be

OUTSIDE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "unit": (lambda y: (y < 0) | (y > 1), "a number from 0 to 1"),
    "nonnegative": (lambda y: y < 0, "a number from 0 up"),
    "positive": (lambda y: y <= 0, "a number above 0"),
}


class Baseline(NamedTuple):
    """What d2 is measured against: l averaged over rows, of the best constant prediction and of a perfect one.

    They are equal, exactly, where the target never changes.
    """

    constant: float
    perfect: float


@dataclass(frozen=True, repr=False)
class Loss(abc.ABC):
    """A loss with its options. ``reduction`` is "mean" (over rows and target columns) or "sum".

    A net binds it to its outputs: :meth:`bind`. ``metric`` is recorded beside the loss: "accuracy"; "d2", the fraction
    of the loss explained, beside the best constant prediction, 1 - (l - l_perfect) / (l_constant - l_perfect), of
    several target columns the mean of theirs, 0 for one that never changes, which is "r2" for the squared error; or
    empty. Source: Hastie, Tibshirani, Wainwright 2015, equation 3.11, and
    scikit-learn's d2_* scores.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    metric: ClassVar[str]
    support: ClassVar[Support] = "real"
    standardizes: ClassVar[bool] = True  # whether targets may be standardised

    reduction: str = field(default="mean", kw_only=True)
    n_out: int = field(default=0, init=False, compare=False)  # of the net that this loss is bound to

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise OptionError(f"reduction {self.reduction!r} came", hint="one of mean, sum")

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in self.options.items() if value != self._defaults[name]]
        return f"{type(self).__name__}({', '.join(changed)})"

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """The loss of a batch in words of its logits z (or predictions p) and targets t, unweighted.

        What it abbreviates follows after " where ".
        """

    @property
    @abc.abstractmethod
    def gradient(self) -> str:
        """Its gradient by the logits, in the same words."""

    # ---- options and outputs ----------------------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """What the loss was made with, by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    @property
    def _defaults(self) -> dict[str, Any]:
        return {f.name: f.default for f in dataclasses.fields(self) if f.init}

    @property
    def outputs_each(self) -> int:
        """Outputs of the net for a class or a target column."""
        return 1

    def outputs_for(self, columns: int) -> int:
        """Outputs of a net for so many target columns (or classes)."""
        return columns * self.outputs_each

    @property
    def columns(self) -> int:
        """Target columns (or classes) of the net that this is bound to."""
        return self.n_out // self.outputs_each

    def bind(self, n_out: int) -> Self:
        """This loss for a net of ``n_out`` outputs; OptionError where it has no use for so many."""
        if n_out % self.outputs_each:
            raise OptionError(
                f"expected a multiple of {self.outputs_each} outputs for {self}, got {n_out}",
                hint=f"it needs {self.outputs_each} outputs for each target column",
            )
        bound = dataclasses.replace(self)
        object.__setattr__(bound, "n_out", n_out)
        return bound

    @property
    def mean(self) -> bool:
        """Whether the loss of a batch is a mean."""
        return self.reduction == "mean"

    @property
    def scale(self) -> float:
        """What l is multiplied by: a mean is over the numbers of a row too, so that the learning rate need not change
        with them."""
        return 1.0

    # ---- the loss -------------------------------------------------------------------------------

    @abc.abstractmethod
    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        """Write the loss into ``batch.totals`` and its gradient by the logits into ``batch.dlogits``."""

    @abc.abstractmethod
    def check_targets(self, y: np.ndarray) -> np.ndarray:
        """``y`` as the kernels want it; ShapeError or DataError naming the first row that does not fit."""

    def value(self, totals: np.ndarray) -> Any:
        """The loss over several batches, from their rows of totals; a number of the totals' own dtype."""
        loss, weight = totals[:, LOSS].sum(), totals[:, WEIGHT].sum()
        return loss / weight if self.mean and weight else loss

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        """For the metric, from targets (n, columns) and weights (n,); None where it needs none."""
        return None

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """l averaged over rows, of a prediction that is right for every row: what a deviance is counted from."""
        return 0.0

    def prove(self, backend: Backend) -> None:  # noqa: B027 - the library's own are proven by its tests
        """GradientError where the gradient is not that of the value: asked when a net is made."""

    def constant_logits(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """(n_out,) logits of the constant prediction that a training should begin with, from targets (n, columns) and
        weights (n,); None where zeros will do."""
        return None

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """(n_out,) logits of the best prediction that is the same for every row, from targets as the kernels have them
        and weights (n,); None where it is not known, as of a loss of one's own."""
        return self.constant_logits(targets, weights)

    # ---- predictions of a regression --------------------------------------------------------------

    def to_predictions(self, backend: Backend, logits: Array) -> None:  # noqa: B027 - most have nothing to do
        """Turn logits (n, n_out) into numbers of the target, in place."""

    def units(self, targets: Standardization) -> Units:
        """The way from those numbers to the target's own units, output by output."""
        return targets.units()

    def point(self, numbers: Array) -> Array:
        """What ``predict`` answers, of :meth:`to_predictions` in the target's units: (n,), (n, k), ..."""
        return numbers[:, 0] if self.n_out == 1 else numbers


@dataclass(frozen=True, repr=False)
class NumberLoss(Loss):
    """A loss whose targets are numbers: (n, columns), or (n,) for one column."""

    @property
    def scale(self) -> float:
        return 1.0 / self.n_out if self.mean else 1.0

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 1 and self.columns == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != self.columns:
            expected = f"(n, {self.columns})" + (" or (n,)" if self.columns == 1 else "")
            raise ShapeError(f"expected targets of shape {expected}, got {y.shape}")
        if y.dtype.kind not in "biuf":
            raise DataError(f"expected numbers, got targets of dtype {y.dtype}")
        refuse_where(~np.isfinite(y), y, "a target", "a finite number")
        if self.support in OUTSIDE:
            is_outside, expected = OUTSIDE[self.support]
            refuse_where(is_outside(y), y, "a target", expected)
        return y


def refuse_where(bad: np.ndarray, y: np.ndarray, what: str, expected: str) -> None:
    """DataError for the first element that is bad."""
    if bad.any():
        position: Any = tuple(int(i) for i in np.argwhere(bad)[0])
        at = f"row {position[0]}" + (f", column {position[1]}" if len(position) > 1 else "")
        raise DataError(f"{what} at {at} is {y[position]}, {expected} was expected")
