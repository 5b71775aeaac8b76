"""Learning rates over a run: tables of one number per step, uploaded every epoch, read by the optimiser's kernel."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import OptionError
from chainrule.options import real_number, whole_number


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """lr(t) for update t = 0, 1, ... of T: a pure function, so that a run can resume at any update.

    Parameters
    ----------
    lr : the peak, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    """

    lr: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        real_number("lr", self.lr, above=True)
        real_number("warmup", self.warmup, below=1.0)

    @abc.abstractmethod
    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1) of a run of ``total`` updates: (count,) float64."""


@dataclass(frozen=True)
class AfterWarmup(Schedule):
    """A schedule that rises linearly over the first ``warmup`` of the updates, then is a function of the progress.

    t < t_w:   lr(t) = lr (t + 1) / t_w,   t_w = round(warmup T)
    t >= t_w:  lr(t) = lr(p),   p = (t - t_w) / (T - t_w) in [0, 1] the fraction of the run after the warm-up
    """

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1) of a run of ``total`` updates: (count,) float64."""
        t = np.arange(start, start + count, dtype=np.float64)
        warm = round(self.warmup * total)
        progress = np.clip((t - warm) / max(1, total - warm), 0.0, 1.0)
        return np.where(t < warm, self.lr * (t + 1) / max(1, warm), self._after_warmup(progress))

    @abc.abstractmethod
    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        """The rates at ``progress`` in [0, 1] of what follows the warm-up."""


@dataclass(frozen=True)
class Constant(AfterWarmup):
    """lr(t) = lr after the warm-up.

    Parameters
    ----------
    lr : above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    """

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return np.full_like(progress, self.lr)


@dataclass(frozen=True)
class Cosine(AfterWarmup):
    """lr(p) = final + (lr - final) (1 + cos(pi p)) / 2.

    p in [0, 1] is the fraction of the run after the warm-up.

    Parameters
    ----------
    lr : the learning rate after the warm-up, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    final : the learning rate at the end, from 0 to lr

    Source: Loshchilov, Hutter 2017, equation 5, without restarts.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_final(self.final, self.lr)

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return _cosine(self.lr, self.final, progress)


@dataclass(frozen=True)
class FlatCosine(AfterWarmup):
    """lr(p) = lr while p < flat, then a cosine down to ``final`` at p = 1.

    lr(p) = final + (lr - final) (1 + cos(pi max(0, (p - flat) / (1 - flat)))) / 2

    p in [0, 1] is the fraction of the run after the warm-up.

    Parameters
    ----------
    lr : the learning rate after the warm-up, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    flat : the value of p at which the rate begins to fall, in [0, 1)
    final : the learning rate at the end, from 0 to lr

    Source: Holzmueller, Grinsztajn, Steinwart 2024 (arXiv 2407.04491), "flat_cos", which has flat = 1/2 and final = 0.
    """

    flat: float = 0.5
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("flat", self.flat, below=1.0)
        _check_final(self.final, self.lr)

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return _cosine(self.lr, self.final, np.maximum(0.0, (progress - self.flat) / (1 - self.flat)))


@dataclass(frozen=True)
class Coslog4(AfterWarmup):
    """lr(p) = lr (1 - cos(2 pi log2(1 + 15 p))) / 2: four waves, each twice as long as the one before.

    p in [0, 1] is the fraction of the run after the warm-up. The rate starts at 0, peaks when 1 + 15 p is 2^(j + 1/2),
    j = 0, 1, 2, 3, and ends near 0.

    Parameters
    ----------
    lr : the learning rate at the peaks, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)

    Source: Holzmueller, Grinsztajn, Steinwart 2024 (arXiv 2407.04491), the schedule of RealMLP.
    """

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        rates: np.ndarray = self.lr * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * progress)))
        return rates


@dataclass(frozen=True)
class Step(AfterWarmup):
    """lr(p) = lr factor^k,   k the number of entries of ``at`` up to p.

    p in [0, 1] is the fraction of the run after the warm-up.

    Parameters
    ----------
    lr : the learning rate after the warm-up, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    factor : in (0, 1)
    at : the values of p at which the rate is multiplied by ``factor``, in (0, 1), rising

    Source: He et al. 2016, section 4.2 (a tenth, at half and at three quarters of the run); as
    torch.optim.lr_scheduler.MultiStepLR with these milestones.
    """

    factor: float = 0.1
    at: Sequence[float] = (0.5, 0.75)

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("factor", self.factor, above=True, below=1.0)
        given = self.at if isinstance(self.at, Sequence | np.ndarray) else (self.at,)
        at = tuple(real_number("a fraction of the run in at", p, above=True, below=1.0) for p in given)
        if not at or any(p >= q for p, q in itertools.pairwise(at)):
            raise OptionError(f"expected rising fractions of the run as at, got {self.at}", hint="(0.5, 0.75)")
        object.__setattr__(self, "at", at)  # a list becomes a tuple; the dataclass is frozen

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        passed: np.ndarray = np.searchsorted(np.asarray(self.at), progress, side="right")
        rates: np.ndarray = self.lr * np.power(self.factor, passed)
        return rates


@dataclass(frozen=True)
class Exponential(AfterWarmup):
    """lr(p) = lr factor^p: the same ratio from each update to the next, ``factor`` over the run.

    p in [0, 1] is the fraction of the run after the warm-up.

    Parameters
    ----------
    lr : the learning rate after the warm-up, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    factor : the rate at the end of the run over lr, in (0, 1)

    As torch.optim.lr_scheduler.ExponentialLR with gamma = factor^(1 / T), stepped at every update.
    """

    factor: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("factor", self.factor, above=True, below=1.0)

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        rates: np.ndarray = self.lr * np.power(self.factor, progress)
        return rates


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From lr / start_factor up to lr and down to lr / (start_factor end_factor), by half a cosine each.

    t_p = warmup T - 1;
    t <= t_p:   lr(t) = cosine from lr / start_factor to lr at t / t_p
    t > t_p:    lr(t) = cosine from lr to lr / (start_factor end_factor) at (t - t_p) / (T - 1 - t_p)

    Parameters
    ----------
    lr : the peak, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    start_factor, end_factor : at least 1

    Source: Smith, Topin 2018 (arXiv 1708.07120), in the form of torch.optim.lr_scheduler.OneCycleLR: two phases, and
    with cycle_momentum=False, since a changing momentum would need another table on the device.
    """

    warmup: float = 0.3
    start_factor: float = 25.0
    end_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("start_factor", self.start_factor, low=1.0)
        real_number("end_factor", self.end_factor, low=1.0)

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1) of a run of ``total`` updates: (count,) float64."""
        t = np.arange(start, start + count, dtype=np.float64)
        peak, first = self.warmup * total - 1, self.lr / self.start_factor
        up = _cosine(first, self.lr, np.clip(t / peak, 0.0, 1.0)) if peak > 0 else np.full_like(t, first)
        down = np.clip((t - peak) / (total - 1 - peak), 0.0, 1.0)
        return np.where(t <= peak, up, _cosine(self.lr, first / self.end_factor, down))


@dataclass(frozen=True)
class Plateau(AfterWarmup):
    """lr(t) = lr factor^k, with k increasing by 1 whenever ``monitor`` has not improved for ``patience`` epochs.

    ``rates`` is the table without these reductions, lr after the warm-up; the trainer counts
    (:class:`~chainrule.train.rates.RatesOfRun`) and multiplies.

    Parameters
    ----------
    lr : the learning rate after the warm-up, above 0
    warmup : fraction of the run in which the rate rises, in [0, 1)
    factor : in (0, 1)
    patience : epochs, at least 1
    monitor : a name in the history; by default valid_loss, without validation rows loss
    min_delta : the smallest change that counts as an improvement, in units of the metric
    lowest : the rate is never reduced below this

    As ReduceLROnPlateau of Keras; of PyTorch with threshold_mode="abs" and a patience of one less.
    """

    factor: float = 0.1
    patience: int = 10
    monitor: str | None = None
    min_delta: float = 0.0
    lowest: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("factor", self.factor, above=True, below=1.0)
        whole_number("patience", self.patience)
        real_number("min_delta", self.min_delta)
        if real_number("lowest", self.lowest) > self.lr:
            raise OptionError(f"lowest: expected a number from 0 to lr = {self.lr}, got {self.lowest}")

    def _after_warmup(self, progress: np.ndarray) -> np.ndarray:
        return np.full_like(progress, self.lr)


def _cosine(first: float, last: float, progress: np.ndarray) -> np.ndarray:
    """From ``first`` at 0 to ``last`` at 1 along half a cosine."""
    return last + (first - last) * (1 + np.cos(np.pi * progress)) / 2


def _check_final(final: float, lr: float) -> None:
    if real_number("final", final) > lr:
        raise OptionError(f"final: expected a number from 0 to lr = {lr}, got {final}")


def as_schedule(lr: float | Schedule) -> Schedule:
    """A number is a constant schedule."""
    if isinstance(lr, str | type):
        raise OptionError(f"lr: expected a number or a schedule, got {lr!r}", hint="1e-3 or cr.Cosine(1e-3)")
    return lr if isinstance(lr, Schedule) else Constant(lr)
