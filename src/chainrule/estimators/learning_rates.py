"""scikit-learn's learning rates as schedules."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chainrule.estimators.parameters import LEARNING_RATES, Parameters
from chainrule.optim.schedules import Constant, Cosine, Schedule
from chainrule.options import one_of, real_number
from chainrule.train.feeding.batch_plan import plan_batches

LOWEST_RATE = 1e-6  # below which "adaptive" does not shrink the rate
SHRINKS_BY = 5.0


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """lr(e) = lr / (seen + e n + 1)^power in epoch e = 0, 1, ... of n rows each.

    A solver that begins does so with lr, whatever was seen before it: as in scikit-learn.
    """

    power: float = 0.5
    rows: int = 1
    updates: int = 1  # per epoch
    seen: int = 0  # rows, by the fits before
    begins: bool = True

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1): (count,) float64."""
        epochs = np.arange(start, start + count) // self.updates
        rates: np.ndarray = self.lr / (self.seen + epochs * float(self.rows) + 1) ** self.power
        return np.where(epochs == 0, self.lr, rates) if self.begins else rates


@dataclass(frozen=True)
class Adaptive(Schedule):
    """lr divided by 5 whenever the loss has stopped falling; :class:`Convergence` says when."""

    present: list[float] = field(default_factory=list)  # the rate, once it is another than lr

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """The present rate: (count,) float64."""
        return np.full(count, (self.present or [self.lr])[0])

    def shrink(self) -> bool:
        """Lower the rate; False if it was as low as it gets."""
        rate = (self.present or [self.lr])[0]
        if rate <= LOWEST_RATE:
            return False
        self.present[:] = [rate / SHRINKS_BY]
        return True


def schedule_of(
    parameters: Parameters,
    lr: float,
    rows: int,
    batch_size: int,
    *,
    one_epoch: bool,
    present: list[float],
    seen: int,
    is_new: bool,
) -> Schedule:
    """The learning rate of a fit. As in scikit-learn "invscaling" and "adaptive" are of sgd alone.

    A single epoch, as ``partial_fit`` trains, has no end that a cosine could fall to: its rate is constant.

    Parameters
    ----------
    lr : the learning rate at the start
    rows, batch_size : of an epoch
    one_epoch : whether it is a ``partial_fit``
    present : of the solver, for :class:`Adaptive`
    seen : rows by the fits before
    is_new : whether the solver has made no step
    """
    kind = one_of("learning_rate", parameters.learning_rate, LEARNING_RATES)
    if kind == "cosine" and not one_epoch:
        return Cosine(lr)
    if parameters.solver == "sgd" and kind == "adaptive":
        return Adaptive(lr, present=present)
    if parameters.solver == "sgd" and kind == "invscaling":
        return InverseScaling(
            lr,
            power=real_number("power_t", parameters.power_t),
            rows=rows,
            updates=plan_batches(rows, batch_size).count,
            seen=seen,
            begins=is_new,
        )
    return Constant(lr)
