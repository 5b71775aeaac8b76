"""How far to trust a net: predictions drawn towards the best constant one by as much as rows held out ask for.

A net that has fitted noise is worse than the mean of the targets on new rows. How far to trust it is one number: with
z the net's logits and c those of the best constant prediction,

    z_f = c + f (z - c),   f in [0, 1] the factor with the least loss on rows that the net was not trained on.

f = 0 is the constant prediction: the epoch before the first, which no epoch that is kept can then be worse than. f = 1
is the net as it was trained. Of the squared error f is the slope of the targets on the predictions; of a softmax 1 / f
is its temperature, with the classes' shares at f = 0. Only the output layer changes: W -> f W, b -> f b + (1 - f) c.

The factor was chosen by m rows, and must pay for that as a parameter does. With D_f the deviance of these rows, their
loss less that of a prediction that is right for each of them, f is 0 if m (D_0 - D_f) / D_f <= 2 + 4 / (m - 2). Of a
deviance the unit of the target cancels, as do constants that a loss leaves out (log t! of a Poisson). Of weighted rows
m = (sum w)^2 / sum w^2, so that only ratios of weights matter; copies of a row are one row of their weight. A target
that never changes gives f = 0 for its outputs.

A loss of several parameters of a distribution (mean and variance, location and gaps of quantiles) has a factor for
each, as one that is sure of its mean may be wrong about its spread:

- gaussian_nll: f by the squared error of the mean alone. Then the log variance s -> c_s + g (s - c_s) + log q, g with
  the least negative log likelihood and q = mean((t - m_f)^2 / v_g) the factor by which variances were too small; q
  below 1 must pay for itself, and g too.
- quantile: f for the lowest quantile and g for the gaps above it, in turn, both by the loss.

Source: Copas 1983; van Houwelingen, le Cessie 1990, section 4 (shrinkage by cross-validation); Hurvich, Tsai 1989 (the
price of a parameter; of the squared error m log(L_0 / L_f), in first order the ratio above); McCullagh, Nelder 1989,
section 2.3 (deviance); Kish 1965, section 11.7 (effective number of rows); Guo et al. 2017 (temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.backends.contract.backend import LOSS
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.evaluation import Evaluator
from chainrule.nn.inputs.rows import InputReader, Rows
from chainrule.nn.layers.dense import Dense
from chainrule.nn.losses import baselines
from chainrule.nn.losses.names import GaussianNLL, Loss, Quantile
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state
from chainrule.train.feeding.copied_rows import number_copies
from chainrule.train.feeding.host_rows import HostRows

FACTORS = np.arange(101) / 100


class Shrinkage(NamedTuple):
    """What became of a net."""

    factor: float  # 1: as it was trained; 0: the best constant prediction
    valid_loss: float  # of the validation rows, afterwards
    spread_factor: float | None = None  # of variances or gaps between quantiles; None for losses without
    widened: float = 1.0  # what deviations of gaussian_nll were multiplied by besides

    @property
    def changed(self) -> bool:
        """Whether the net is another than the one that was trained."""
        return self.factor < 1 or (self.spread_factor is not None and self.spread_factor < 1) or self.widened != 1

    def __str__(self) -> str:
        text = f"to {self.factor:g} of the way from the best constant prediction"
        if self.spread_factor is not None:
            text += f", spreads to {self.spread_factor:g}"
        return text if self.widened == 1 else f"{text} and {self.widened:.3g} times as wide"


class HeldOut(NamedTuple):
    """What a net says of rows that it was not trained on, on the host in float64.

    Parameters
    ----------
    logits : (m, n_out)
    constant : (n_out,) logits of the best constant prediction for the rows that it was trained on
    targets : as the kernels have them
    weights : (m,), None for all ones
    copies : (m,) a number for each row, the same for copies of one; None if each stands for itself
    """

    logits: np.ndarray
    constant: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    copies: np.ndarray | None = None

    @property
    def row_weights(self) -> np.ndarray:
        """Of the different rows: that of a row and all its copies."""
        weights = np.ones(len(self.logits)) if self.weights is None else self.weights
        if self.copies is None:
            return weights
        _, number = np.unique(self.copies, return_inverse=True)
        return np.bincount(number, weights)

    def drawn(self, factors: np.ndarray | float, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """c + f (z - c) + shift, with an f for all outputs or one for each."""
        drawn: np.ndarray = self.constant + factors * (self.logits - self.constant) + shift
        return drawn


class Drawing(NamedTuple):
    """z -> c + f (z - c) + shift, with f and shift (n_out,) for each output; and the numbers that they were made of."""

    factors: np.ndarray
    shift: np.ndarray
    factor: float
    spread_factor: float | None = None
    widened: float = 1.0


def shrink_by(net: Network, rows: Rows | HostRows, held_out: Rows) -> Shrinkage | None:
    """Draw the predictions of a net trained on ``rows`` to the best constant one by what ``held_out`` asks for.

    None, and nothing is changed, if that constant is not known.
    """
    constant = best_constant(net, rows)
    if constant is None:
        return None
    fixed, said = constant_outputs(net, rows), on_held_out(net, constant, held_out)
    copies, _ = number_copies(said.logits, said.targets)
    found = choose(net.loss, [said._replace(copies=copies)], fixed)
    draw(net, constant, found)
    valid_loss = Evaluator(net, held_out)()["loss"]
    return Shrinkage(found.factor, valid_loss, found.spread_factor, found.widened)


# ---- what there is to choose by ---------------------------------------------------------------------


def best_constant(net: Network, rows: Rows | HostRows) -> np.ndarray | None:
    """(n_out,) logits of the best constant prediction for ``rows``; None if the loss knows of none, or if the
    net does not end with a dense layer, which alone can take it in. Synchronises."""
    if not isinstance(net.nodes[-1].layer, Dense):
        return None
    return net.loss.best_constant(*_targets_and_weights(net, rows))


def constant_outputs(net: Network, rows: Rows | HostRows) -> np.ndarray:
    """(n_out,) bool: the outputs for targets that are the same in all ``rows`` that weigh anything: there is nothing to
    learn but it."""
    loss, same = net.loss, np.atleast_1d(baselines.never_changes(*_targets_and_weights(net, rows)))
    if loss.task == "classify":
        return np.full(loss.n_out, same.all())
    return np.tile(same, 2) if isinstance(loss, GaussianNLL) else np.repeat(same, loss.outputs_each)


def on_held_out(net: Network, constant: np.ndarray, held_out: Rows) -> HeldOut:
    """What the net says of these rows, beside the ``constant`` of those that it was trained on. Synchronises."""
    be = net.backend
    logits = np.empty((len(held_out), net.n_out))
    with be.running():
        batch = net.bind(net.evaluation_rows(len(held_out)), training=False)
        read = InputReader(be, held_out.features, batch.n, net.dtype)
        for part, part_batch in batch.parts(len(held_out)):
            logits[part] = be.download(part_batch.forward(read(held_out.x[part])))
    targets, weights = _targets_and_weights(net, held_out)
    return HeldOut(logits, constant, targets, weights)


def _targets_and_weights(net: Network, rows: Rows | HostRows) -> tuple[np.ndarray, np.ndarray | None]:
    """On the host, numbers in float64."""
    targets, weights = rows.targets, rows.weights
    if not isinstance(rows, HostRows):
        be = net.backend
        targets, weights = be.download(targets), None if weights is None else be.download(weights)
    targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
    return targets, None if weights is None else weights.astype(np.float64)


# ---- the choice -------------------------------------------------------------------------------------


def to_the_constant(loss: Loss) -> Drawing:
    """The drawing at whose end is the best constant prediction."""
    spread = 0.0 if isinstance(loss, GaussianNLL) or _has_gaps(loss) else None
    return Drawing(np.zeros(loss.n_out), np.zeros(loss.n_out), 0.0, spread)


def choose(loss: Loss, held_out: Sequence[HeldOut], fixed: np.ndarray | None = None) -> Drawing:
    """How far to draw predictions by what one or several nets (of folds) said of rows held out; see the module.

    Parameters
    ----------
    fixed : (n_out,) bool, outputs that are to be the constant and have no say; by default none
    """
    if fixed is None or not fixed.any():
        return _chosen(loss, held_out)
    if fixed.all():
        return to_the_constant(loss)
    found = _chosen(loss, [part._replace(logits=np.where(fixed, part.constant, part.logits)) for part in held_out])
    return found._replace(factors=np.where(fixed, 0.0, found.factors), shift=np.where(fixed, 0.0, found.shift))


def _chosen(loss: Loss, held_out: Sequence[HeldOut]) -> Drawing:
    rows = effective_rows(np.concatenate([part.row_weights for part in held_out]))
    if isinstance(loss, GaussianNLL):
        return _mean_and_spread(loss, held_out, rows)
    if _has_gaps(loss):
        return _location_and_gaps(loss, held_out, rows)
    factor = least(np.array([deviance(loss, held_out, f) for f in FACTORS]), rows)
    return Drawing(np.full(loss.n_out, factor), np.zeros(loss.n_out), factor)


def effective_rows(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many rows of equal weight know as much."""
    largest = float(weights.max(initial=0.0))
    if not largest:
        return 0.0
    shares = weights / largest  # squares of 1e300 overflow and those of 1e-300 are 0
    return float(shares.sum()) ** 2 / float((shares**2).sum())


def price(rows: float) -> float:
    """What a parameter that was chosen by so many rows must gain, in twice the log likelihood."""
    return 2 + 4 / max(1.0, rows - 2)


def least(deviances: np.ndarray, rows: float) -> float:
    """The factor of :data:`FACTORS` with the least deviance; 0 if it does not pay for itself.

    Of equal deviances the largest factor: rows that cannot tell leave the net as it is.
    """
    finite = np.where(np.isfinite(deviances), deviances, np.inf)
    best = float(finite.min())
    if best == np.inf:
        return 1.0
    factor = float(FACTORS[np.flatnonzero(finite == best)[-1]])
    gain = finite[0] - best
    return 0.0 if gain > 0 and gain * rows <= price(rows) * max(best, 0.0) else factor


def deviance(
    loss: Loss, held_out: Sequence[HeldOut], factors: np.ndarray | float, shift: np.ndarray | float = 0.0
) -> float:
    """sum_i w_i (l_i - l of a perfect prediction) of predictions that are drawn so far."""
    return sum(_summed_loss(loss, part, part.drawn(factors, shift)) - _perfect(loss, part) for part in held_out)


def _summed_loss(loss: Loss, part: HeldOut, logits: np.ndarray) -> float:
    """sum_i w_i l_i, by the loss's own kernel on the host."""
    be = backend("cpu")
    totals, state = be.empty((1, 3), np.float64), new_state(be)
    with be.running():
        logits = np.ascontiguousarray(logits)
        loss(be, LossBatch(logits, part.targets, part.weights, state, totals, np.empty_like(logits)))
    return float(totals[0, LOSS]) / loss.scale


def _perfect(loss: Loss, part: HeldOut) -> float:
    weight = len(part.logits) if part.weights is None else part.weights.sum()
    return float(weight * loss.perfect(part.targets, part.weights))


# ---- mean and spread --------------------------------------------------------------------------------


def _mean_and_spread(loss: GaussianNLL, held_out: Sequence[HeldOut], rows: float) -> Drawing:
    """The mean by its own squared error; then the log variances, by the likelihood beside that mean."""
    k = loss.columns
    targets = np.concatenate([part.targets for part in held_out])
    weights = np.concatenate([np.ones(len(p.logits)) if p.weights is None else p.weights for p in held_out])
    deviations, constants = (np.concatenate(parts) for parts in zip(*map(_from_constant, held_out), strict=True))
    error = targets - constants[:, :k]
    factor = least(np.array([weights @ ((error - f * deviations[:, :k]) ** 2).sum(axis=1) for f in FACTORS]), rows)
    square = (error - factor * deviations[:, :k]) ** 2
    share = (weights / weights.sum())[:, None]

    def fitted(g: float) -> tuple[float, np.ndarray]:
        """Twice the negative log likelihood a row at the best q, and this q (k,)."""
        s = constants[:, k:] + g * deviations[:, k:]
        with np.errstate(over="ignore"):
            q = np.maximum((share * square * np.exp(-s)).sum(axis=0), np.finfo(np.float64).tiny)
        return float((share * s).sum() + np.log(q).sum() + k), q

    found = [fitted(float(g)) for g in FACTORS]
    likelihoods = np.array([value for value, _ in found])
    likelihoods = np.where(np.isfinite(likelihoods), likelihoods, np.inf)
    at = int(np.flatnonzero(likelihoods == likelihoods.min())[-1])
    if rows * (likelihoods[0] - likelihoods[at]) <= price(rows):
        at = 0
    spread_factor, q = float(FACTORS[at]), found[at][1]
    # -log q + q - 1 is what twice the log likelihood gains a row and column. Wider is the safe side and costs nothing.
    gains = rows * (q - 1 - np.log(q)) > price(rows)
    q = np.where(((q > 1) | gains) & square.any(axis=0), q, 1.0)
    if factor == 0 and spread_factor == 0:
        q = np.ones(k)  # the constant prediction, whose variance all training rows have chosen
    shift = np.concatenate([np.zeros(k), np.log(q)])
    factors = np.repeat([factor, spread_factor], k)
    return Drawing(factors, shift, factor, spread_factor, float(np.exp(np.log(q).mean() / 2)))


def _from_constant(part: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    return part.logits - part.constant, np.broadcast_to(part.constant, part.logits.shape)


def _has_gaps(loss: Loss) -> bool:
    return isinstance(loss, Quantile) and len(loss.levels) > 1


def _location_and_gaps(loss: Loss, held_out: Sequence[HeldOut], rows: float) -> Drawing:
    """Two factors, found in turn from the best common one."""
    is_gap = np.arange(loss.n_out) % loss.outputs_each > 0

    def of(f: float, g: float) -> float:
        value = deviance(loss, held_out, np.where(is_gap, g, f))
        return value if np.isfinite(value) else np.inf

    def best(values: list[float]) -> float:
        return float(FACTORS[np.flatnonzero(np.array(values) == min(values))[-1]])

    f = g = best([of(float(x), float(x)) for x in FACTORS])
    g = best([of(f, float(x)) for x in FACTORS])
    f = best([of(float(x), g) for x in FACTORS])
    if (gain := of(0.0, 0.0) - of(f, g)) > 0 and gain * rows <= price(rows) * max(of(f, g), 0.0):
        f = g = 0.0
    return Drawing(np.where(is_gap, g, f), np.zeros(loss.n_out), f, g)


# ---- the net ----------------------------------------------------------------------------------------


def draw(net: Network, constant: np.ndarray, found: Drawing) -> None:
    """Draw the predictions of ``net`` to the ``constant``; a net that is to stay as it is keeps its bits."""
    if (found.factors == 1).all() and not found.shift.any():
        return
    arrays, name = net.parameter_arena.download(), net.nodes[-1].name
    W, b = arrays[f"{name}.W"], arrays[f"{name}.b"]
    bias = found.factors * b + (1 - found.factors) * constant + found.shift
    net.assign_parameters({f"{name}.W": (found.factors * W).astype(W.dtype), f"{name}.b": bias.astype(b.dtype)})
