"""How good an ensemble is, by the rows that some of its members never saw, and how sure that is.

Each of these rows is predicted by the mean of the c of k members that were not trained on it, so the score is that of
an ensemble of c: one of k is slightly better.

**Uncertainty.** The standard error of a metric t, whatever it is, by the jackknife over G = 50 sets of rows (as many as
there are rows, if those are fewer), drawn at random, groups and copies staying whole: with t_g the metric without the
rows of set g and t_mean the mean of these,

    se = sqrt((G - 1) / G * sum_g( (t_g - t_mean)^2 ))

It is that of the mean if t is one (of sets of equal size), and takes G computations of t. It says by how much the score
would differ on other rows, not with other nets.

Source: Kott 2001 (the delete-a-group jackknife); Efron, Stein 1981.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends import backend
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import GaussianNLL, Loss
from chainrule.nn.predictions import numbers, probabilities
from chainrule.nn.scores import score_classes, score_numbers
from chainrule.random import Purpose, stream
from chainrule.train.out_of_fold.blocks import together
from chainrule.train.out_of_fold.label_smoothing import unsmoothed_targets
from chainrule.train.out_of_fold.predictions import OutOfFoldPart

SETS = 50
LONG = 6  # digits of an error, from which on it is written with an exponent
JACKKNIFE = 2  # its stream of random numbers, beside those of blocks

Metrics = dict[str, float]


@dataclass(frozen=True)
class OutOfFoldScore:
    """Metrics of rows that members never saw, in the target's own units, as ``chainrule.nn.scores.score`` has them.

    Parameters
    ----------
    metrics, standard_errors : by name; the error of a metric is nan if it cannot be told, as of a single row
    rows : how many there are
    judges : the numbers of members that predict a row, ascending, each once
    members : k, of the ensemble
    """

    metrics: Metrics
    standard_errors: Metrics
    rows: int
    judges: tuple[int, ...]
    members: int

    def line(self, name: str) -> str:
        """``accuracy 0.861 +- 0.007 (612 rows that 2 of 8 nets never saw)``"""
        judges = " or ".join(map(str, self.judges))
        rows = f"{self.rows} row{'s' if self.rows != 1 else ''} that {judges} of {self.members} nets never saw"
        return f"{name} {with_error(self.metrics[name], self.standard_errors.get(name, math.nan))} ({rows})"

    def __str__(self) -> str:
        return self.line("accuracy" if "accuracy" in self.metrics else "r2")


def score_out_of_fold(
    loss: Loss,
    parts: Sequence[OutOfFoldPart],
    *,
    members: int,
    targets: Standardization | None = None,
    seed: int = 0,
    groups: np.ndarray | None = None,
    copies: np.ndarray | None = None,
) -> OutOfFoldScore:
    """The score of an ensemble of ``members`` by its out-of-fold predictions.

    Parameters
    ----------
    parts : at least one row; shrunk, if the ensemble is (``shrink_parts``)
    targets : how the targets were standardised for training; None if they were not
    seed : of the ensemble
    groups, copies : (n,) the same number for rows of the table that belong together, as for ``leave_out_blocks``
    """
    metrics_of, rows = _scorer(loss, parts, targets), np.concatenate([part.rows for part in parts])
    codes = [None if code is None else code[rows] for code in (groups, copies)]
    in_set = _sets(together(len(rows), *codes), seed)
    return OutOfFoldScore(
        metrics_of(np.ones(len(rows), bool)),
        jackknife(metrics_of, in_set),
        len(rows),
        tuple(sorted({len(part.members) for part in parts})),
        members,
    )


def jackknife(metrics_of: Callable[[np.ndarray], Metrics], in_set: np.ndarray) -> Metrics:
    """The standard error of each metric.

    Parameters
    ----------
    metrics_of : from (m,) bool, the rows that count
    in_set : (m,) the set of each row, from 0
    """
    count = int(in_set.max(initial=-1)) + 1
    if count < 2:
        return {}
    without = [metrics_of(in_set != g) for g in range(count)]
    names = [name for name in without[0] if all(name in found for found in without)]
    values = {name: np.array([found[name] for found in without]) for name in names}
    return {name: math.sqrt(count - 1) * _deviation(v) for name, v in values.items()}


def _deviation(values: np.ndarray) -> float:
    """Their standard deviation; the squares of the largest numbers would not be finite. nan if one of them is not."""
    largest = float(np.abs(values).max())
    if not math.isfinite(largest):
        return math.nan
    return largest * float((values / largest).std()) if largest > 0 else 0.0


def with_error(value: float, error: float) -> str:
    """``0.861 +- 0.007``: the error with one digit, two if the first is 1, and the value with as many decimals."""
    if not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return f"{value:.4g}"
    exponent = math.floor(math.log10(error))
    if exponent >= LONG:
        return f"{value:.2g} +- {error:.1g}"
    decimals = -exponent + (error / 10.0**exponent < 1.95)
    if decimals > 0:
        return f"{value:z.{decimals}f} +- {error:.{decimals}f}"
    return f"{round(value, decimals):z.0f} +- {round(error, decimals):.0f}"


def _scorer(
    loss: Loss, parts: Sequence[OutOfFoldPart], targets: Standardization | None
) -> Callable[[np.ndarray], Metrics]:
    """The metrics of the rows of a mask."""
    be, logits = backend("cpu"), np.concatenate([part.mean_logits(loss) for part in parts])
    y = unsmoothed_targets(loss, np.concatenate([part.targets for part in parts]))
    answer = (
        numbers(be, loss, logits.dtype, targets) if loss.task == "regress" else probabilities(be, loss, logits.dtype)
    )
    out = np.empty_like(logits)
    with be.running():
        answer.write(logits.copy(), out)
    if loss.task == "regress":
        y = y if targets is None else y * targets.units().scale + targets.units().shift
        point, variance = loss.point(out), loss.variance(out) if isinstance(loss, GaussianNLL) else None
        return lambda mask: score_numbers(loss, y[mask], point[mask], None if variance is None else variance[mask])
    if loss.task == "classify":
        predicted = logits.argmax(axis=1)
        return lambda mask: score_classes("classify", y[mask], predicted[mask], out[mask])
    single, y = loss.n_out == 1, np.round(y, 12)  # zeros and ones again, if labels were smoothed
    y, yes, out = (a[:, 0] if single else a for a in (y, (logits > 0).astype(np.int32), out))
    return lambda mask: score_classes("multilabel", y[mask], yes[mask], out[mask])


def _sets(unit: np.ndarray, seed: int) -> np.ndarray:
    """(m,) the set of each row, by the unit that it belongs to."""
    units = int(unit.max(initial=-1)) + 1
    order = np.empty(units, np.int64)
    backend("cpu").permutation(*stream(seed, Purpose.BLOCKS, index=JACKKNIFE), out=order)
    sets: np.ndarray = (order % min(SETS, units))[unit]
    return sets
