"""The contract from logits to losses, gradients and predictions; the rest, with its rules: :mod:`backend`."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from chainrule.backends.contract.arrays import Array

ElementwiseLossName: TypeAlias = Literal[
    "sigmoid_cross_entropy", "squared_error", "absolute_error", "huber", "poisson", "gamma"
]


class LossBatch(NamedTuple):
    """The arrays of one batch that a loss reads and writes; n rows, k outputs of the net."""

    logits: Array  # (n, k) float; read
    targets: Array  # labels (n,) int32, or numbers (n, k) of the dtype of the logits; read
    weights: Array | None  # (n,), one per row; None if all are 1; read
    state: Array  # (3,) int64: which row of totals is this batch's; HALTED is written if the loss is not finite
    totals: Array  # (m, 3) float64, a row per batch; LOSS and WEIGHT of this batch are written
    dlogits: Array  # (n, k): the gradient by the logits is written; may be the memory of ``logits``


class LossContract(abc.ABC):
    """What a device must be able to do with the outputs of a net."""

    # ---- losses ---------------------------------------------------------------------------------
    # Each writes totals[state[BATCH], LOSS and WEIGHT] and dlogits, in one pass. With mean=True the loss is divided by
    # sum_i w_i, with mean=False by 1; `scale` multiplies it. Weights that are all zero give loss 0 and gradient 0.
    # A loss that is not finite sets state[HALTED] to state[STEP] unless it is set already.

    @abc.abstractmethod
    def softmax_cross_entropy(
        self, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
    ) -> None:
        """Cross-entropy of a softmax, in nats, and its gradient.   s = label_smoothing in [0, 1).

        q_i = (1 - s) onehot(labels_i) + s / k;   l_i = logsumexp(logits_i) - sum_j q_ij logits_ij;
        dlogits_i = w_i (softmax(logits_i) - q_i) scale / sum w

        logits, dlogits (n, k) float; labels (n,) int32, each in [0, k), checked when the data comes in, not here.
        Source: Goodfellow, Bengio, Courville 2016, section 6.2.2.3; Szegedy et al. 2016, section 7 (smoothing). The row
        maximum is subtracted before exp.
        """

    @abc.abstractmethod
    def focal_loss(self, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
        """Focal loss of a softmax, in nats, and its gradient: rows that are right already count for little.

        p_i = softmax(logits_i)[labels_i];   l_i = -(1 - p_i)^gamma log p_i;
        dlogits_i = w_i f_i (softmax(logits_i) - onehot(labels_i)) scale / sum w,
        f_i = (1 - p_i)^gamma - gamma (1 - p_i)^(gamma - 1) p_i log p_i

        Arrays as for ``softmax_cross_entropy``, which this is for gamma = 0. Source: Lin et al. 2017, section 3.2.
        """

    @abc.abstractmethod
    def elementwise_loss(
        self, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
    ) -> None:
        """A loss that is a sum over elements, l_i = sum_j l(z, t), and its gradient.   All (n, k); z = logits_ij.

        dlogits_ij = w_i (dl/dz) scale / sum w, with t = targets_ij and d = ``parameter``:

        sigmoid_cross_entropy  l = max(z, 0) - z t + log(1 + exp(-|z|))           dl/dz = sigmoid(z) - t, t in [0, 1]
        squared_error          l = (z - t)^2                                      dl/dz = 2 (z - t)
        absolute_error         l = |z - t|                                        dl/dz = sign(z - t), 0 at the kink
        huber                  l = c (z - t - c / 2), c = clip(z - t, -d, d)      dl/dz = c
        poisson                l = exp(z) - t z                                   dl/dz = exp(z) - t, t >= 0
        gamma                  l = z + t exp(-z)                                  dl/dz = 1 - t exp(-z), t > 0

        The first is in nats, in the form that overflows for no z. poisson and gamma are negative log likelihoods of a
        mean exp(z), without the terms in which no z stands. Source: Goodfellow, Bengio, Courville 2016, section
        6.2.2.2; Huber 1964, in the form of torch.nn.HuberLoss; McCullagh, Nelder 1989, sections 6.2 and 8.3.
        """

    @abc.abstractmethod
    def quantile_loss(self, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
        """Pinball loss of several quantiles that never cross, and its gradient.

        q_1 = z_1,   q_j = q_(j-1) + log(1 + exp(z_j));   g_j = [t < q_j] - levels_j;
        l_i = sum_j (q_j - t) g_j = sum_j max(levels_j (t - q_j), (levels_j - 1) (t - q_j));
        dl/dz_1 = g_1 + ... + g_L,   dl/dz_j = sigmoid(z_j) (g_j + ... + g_L)

        targets (n, k); logits, dlogits (n, k L): the L = len(levels) outputs of a target column stand side by side;
        levels rising in (0, 1). Source: Koenker, Bassett 1978; the increments that are above 0, from Gasthaus et al.
        2019, section 3.
        """

    @abc.abstractmethod
    def gaussian_nll(self, batch: LossBatch, *, scale: float, mean: bool) -> None:
        """Negative log likelihood of a Gaussian, in nats and without its log(2 pi) / 2 a column, and its gradient.

        l_i = sum_j (s + (m - t)^2 exp(-s)) / 2,   m = logits_ij, s = logits_i,k+j: mean and logarithm of the variance;
        dl/dm = (m - t) exp(-s),   dl/ds = (1 - (m - t)^2 exp(-s)) / 2

        targets (n, k); logits, dlogits (n, 2 k): the means, then the log variances. Source: Nix, Weigend 1994.
        """

    @abc.abstractmethod
    def custom_loss(
        self, batch: LossBatch, value: Callable[..., Array], gradient: Callable[..., Array], *, scale: float, mean: bool
    ) -> None:
        """A loss of the user's own: l_i = value(xp, logits, targets)_i,   dl_i / dz_ij = gradient(xp, ...)_ij.

        dlogits_ij = w_i dl_i / dz_ij scale / sum w. As for ``apply``, a device does not record a step that calls it.
        """

    @abc.abstractmethod
    def count_correct(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
    ) -> None:
        """totals[state[BATCH], CORRECT] = sum_i w_i [row i is right].

        Labels (n,) of an int dtype: right where argmax(logits_i) is the label (the first of equals).
        Targets (n, k): right where every sign of logits_i agrees with targets_i > 1/2.
        """

    # ---- from logits to predictions -------------------------------------------------------------

    @abc.abstractmethod
    def softmax(self, logits: Array, *, out: Array) -> None:
        """out_ij = exp(logits_ij) / sum_k exp(logits_ik); ``out`` may be ``logits``."""

    @abc.abstractmethod
    def argmax(self, x: Array, *, out: Array) -> None:
        """out_i = the first j of the largest x_ij.   x (n, k), out (n,) int32."""

    @abc.abstractmethod
    def positive(self, x: Array, *, out: Array) -> None:
        """out = 1 where x > 0, else 0.   x, out of one shape, out int32."""

    @abc.abstractmethod
    def exp(self, x: Array, *, out: Array) -> None:
        """out = exp(x): the mean of a log link.   x, out of one shape; ``out`` may be ``x``."""

    @abc.abstractmethod
    def quantiles(self, logits: Array, *, count: int, out: Array) -> None:
        """The q of ``quantile_loss`` of ``count`` levels.   logits, out (n, k count), which may be one memory."""

    @abc.abstractmethod
    def mean_and_variance(self, logits: Array, *, out: Array) -> None:
        """out_ij = logits_ij, out_i,k+j = exp(logits_i,k+j).   logits, out (n, 2 k), which may be one memory."""
