"""What a loss is: a kernel of the contract with its options, the targets that it takes, and its baseline.

l_i is the loss of row i, w_i its weight (1 if none are given). The loss of a batch is a mean,
scale * sum_i(w_i l_i) / sum_i(w_i), or a sum, sum_i(w_i l_i). The scale of a mean is 1 over the number of target
columns (for quantiles also over that of the levels); of one of k classes, and of a custom loss, it is 1. The formulas
of l and of its gradient are at the kernels in :mod:`chainrule.backends.contract.losses`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from chainrule.backends.contract.backend import LOSS, WEIGHT, Array, Backend
from chainrule.backends.contract.ensembles import MemberMeanName
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

    They are exactly equal if the target is constant.
    """

    constant: float
    perfect: float


@dataclass(frozen=True, repr=False)
class Loss(abc.ABC):
    """A loss with its options. A net binds it to its outputs: :meth:`bind`.

    l_i is the loss of row i. The loss of a batch is its weighted mean over rows, divided by the number of target
    columns (for quantiles also by the number of levels); of one of k classes and of a custom loss it is over rows
    alone. With ``reduction="sum"`` it is the weighted sum over rows, undivided.

    Parameters
    ----------
    reduction : "mean" or "sum"

    Attributes
    ----------
    name : str, under which model files have it
    task : "classify", "multilabel" or "regress"
    metric : recorded beside the loss: "accuracy"; "d2", the fraction of the loss of the best constant prediction that
        is explained, 1 - (l - l_perfect) / (l_constant - l_perfect), the mean over target columns, 0 for a constant
        one, and called "r2" for the squared error; or empty
    support : which numbers a target may be: "real", "unit" (from 0 to 1), "nonnegative" or "positive"
    standardizes : bool, whether targets may be standardised
    n_out : int, outputs of the net that this loss is bound to; 0 if it is not bound
    convex : bool, whether l_i is known to be convex in the logits
    mean_kind : str, how the mean of the predictions of several nets has logits: a kind of
        ``Backend.mean_of_members``

    Source of d2: Hastie, Tibshirani, Wainwright 2015, equation 3.11, and scikit-learn's d2_* scores.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    metric: ClassVar[str]
    support: ClassVar[Support] = "real"
    standardizes: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    mean_kind: ClassVar[MemberMeanName] = "identity"
    shown_as: ClassVar[str] = ""  # in the repr of a net, in the place of its name with options
    always_shown: ClassVar[Sequence[str]] = ()  # options that are printed at their defaults too

    reduction: str = field(default="mean", kw_only=True)
    n_out: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise OptionError(f"reduction: expected mean or sum, got {self.reduction!r}")

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in self.options.items()
            if name in self.always_shown or value != self._defaults[name]
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """The loss of a batch as a function of its logits z and targets t, unweighted.

        Abbreviations are defined after " where ".
        """

    @property
    @abc.abstractmethod
    def gradient(self) -> str:
        """Its gradient by the logits, in the same symbols."""

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
        """Outputs of the net per class or target column."""
        return 1

    def outputs_for(self, columns: int) -> int:
        """Outputs of a net for this many target columns (or classes)."""
        return columns * self.outputs_each

    @property
    def columns(self) -> int:
        """Target columns (or classes) of the net that this is bound to."""
        return self.n_out // self.outputs_each

    def bind(self, n_out: int) -> Self:
        """This loss for a net of ``n_out`` outputs; OptionError if it cannot have that many."""
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
        """The factor of l: a mean is over the targets of a row too, so that their number does not change the best
        learning rate."""
        return 1.0

    # ---- the loss -------------------------------------------------------------------------------

    @abc.abstractmethod
    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        """Write the loss into ``batch.totals`` and its gradient by the logits into ``batch.dlogits``."""

    @abc.abstractmethod
    def check_targets(self, y: np.ndarray) -> np.ndarray:
        """``y`` in the form that the kernels take; ShapeError or DataError naming the first row that does not fit."""

    def mean_of_members(self, backend: Backend, logits: Array, out: Array) -> None:
        """Logits (n, n_out) whose prediction is the mean of those of the members' logits (k, n, n_out)."""
        backend.mean_of_members(logits, self.mean_kind, count=self.outputs_each, out=out)

    def value(self, totals: np.ndarray) -> Any:
        """The loss over several batches, from their totals (batches, 3); a number of the totals' dtype."""
        loss, weight = totals[:, LOSS].sum(), totals[:, WEIGHT].sum()
        return loss / weight if self.mean and weight else loss

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        """For the metric, from targets (n, columns) and weights (n,); None if it needs none."""
        return None

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """l averaged over rows, of a prediction that is right for every row: what a deviance subtracts."""
        return 0.0

    def prove(self, backend: Backend) -> None:  # noqa: B027 - the library's own losses are checked by its tests
        """GradientError if the gradient is not that of the value: checked when a net is made."""

    def constant_logits(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """(n_out,) logits of the constant prediction that a training should start from, given targets (n, columns) and
        weights (n,); None if zeros will do."""
        return None

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """(n_out,) logits of the best prediction that is the same for every row, given targets in the form that the
        kernels take and weights (n,); None if it is unknown, as for a custom loss."""
        return self.constant_logits(targets, weights)

    # ---- predictions of a regression --------------------------------------------------------------

    def to_predictions(self, backend: Backend, logits: Array) -> None:  # noqa: B027 - most have nothing to do
        """Turn logits (n, n_out) into numbers of the target, in place."""

    def units(self, targets: Standardization) -> Units:
        """From those numbers to the target's own units, output by output."""
        return targets.units()

    def point(self, numbers: Array) -> Array:
        """What ``predict`` returns, from :meth:`to_predictions` in the target's units: (n,), (n, k), ..."""
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
            raise ShapeError(f"expected targets of shape {expected}, got {y.shape}", hint=self._shape_hint(y))
        if y.dtype.kind not in "biuf":
            raise DataError(f"expected numbers, got targets of dtype {y.dtype}")
        refuse_if(~np.isfinite(y), y, "a target", "a finite number")
        if self.support in OUTSIDE:
            is_outside, expected = OUTSIDE[self.support]
            if (outside := is_outside(y)).any():
                refuse_if(outside, y, "a target", expected, hint=self._value_hint(y))
        return y

    def _shape_hint(self, y: np.ndarray) -> str:
        """What to do about targets of another shape."""
        if y.ndim not in {1, 2} or not y.size:
            return ""
        outputs = f"{self.n_out} output{'s' if self.n_out > 1 else ''}"
        columns = 1 if y.ndim == 1 else y.shape[1]
        return f"the net has {outputs}; for these targets: MLP([..., {self.outputs_for(columns)}])"

    def _value_hint(self, y: np.ndarray) -> str:
        """What to do about finite targets outside of the loss's support."""
        return ""


def refuse_if(bad: np.ndarray, y: np.ndarray, what: str, expected: str, *, hint: str = "") -> None:
    """DataError for the first element that is bad."""
    if bad.any():
        position: Any = tuple(int(i) for i in np.argwhere(bad)[0])
        at = f"row {position[0]}" + (f", column {position[1]}" if len(position) > 1 else "")
        raise DataError(f"{what} at {at}: expected {expected}, got {y[position]}", hint=hint)
