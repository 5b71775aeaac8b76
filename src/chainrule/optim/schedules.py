"""Learning rates over a run: tables of one number a step, uploaded every epoch, read by the optimiser's kernel."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np

from chainrule.errors import OptionError
from chainrule.options import real_number


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """lr(t) for step t = 0, 1, ... of T; rises linearly over the first ``warmup`` of the steps.

    t < t_w:   lr(t) = lr (t + 1) / t_w,   t_w = round(warmup T)

    Parameters
    ----------
    lr : the peak, above 0
    warmup : fraction of the run, in [0, 1)
    """

    lr: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        real_number("learning rate", self.lr, above=True)
        real_number("warmup", self.warmup, below=1.0)

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1) of a run of ``total`` steps: (count,) float64."""
        t = np.arange(start, start + count, dtype=np.float64)
        warm = round(self.warmup * total)
        progress = np.clip((t - warm) / max(1, total - warm), 0.0, 1.0)
        return np.where(t < warm, self.lr * (t + 1) / max(1, warm), self._after_warmup(progress))

    @abc.abstractmethod
    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        """The rates at ``progress`` in [0, 1] of what follows the warm-up."""


@dataclass(frozen=True)
class Constant(Schedule):
    """lr(t) = lr after the warm-up."""

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return np.full_like(progress, self.lr)


@dataclass(frozen=True)
class Cosine(Schedule):
    """lr(t) = final + (lr - final) (1 + cos(pi p)) / 2,   p in [0, 1) the progress after the warm-up.

    Source: Loshchilov, Hutter 2017, equation 5, without restarts.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if real_number("final learning rate", self.final) > self.lr:
            raise OptionError(f"final learning rate {self.final} came, a number from 0 to lr = {self.lr} was expected")

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return self.final + (self.lr - self.final) * (1 + np.cos(np.pi * progress)) / 2


def as_schedule(lr: float | Schedule) -> Schedule:
    """A number is a constant schedule."""
    return lr if isinstance(lr, Schedule) else Constant(lr)
