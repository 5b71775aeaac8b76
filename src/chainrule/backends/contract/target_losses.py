"""The contract of losses whose targets are numbers.

The rules of all losses: :class:`~chainrule.backends.contract.losses.LossContract`.
"""

from __future__ import annotations

import abc
from typing import Literal, TypeAlias

from chainrule.backends.contract.losses import LossBatch

ElementwiseLossName: TypeAlias = Literal[
    "sigmoid_cross_entropy", "squared_error", "absolute_error", "huber", "poisson", "gamma"
]


class TargetLossContract(abc.ABC):
    """As :class:`~chainrule.backends.contract.losses.LossContract`."""

    @abc.abstractmethod
    def elementwise_loss(
        self, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
    ) -> None:
        """A loss that is a sum over elements, l_i = sum_j( l(z_ij, t_ij) ), and its gradient.   Logits, targets (n, k).

        dlogits_ij = w_i (dl/dz) scale / sum w, with z, t for z_ij, t_ij and d = ``parameter``:

        sigmoid_cross_entropy  l = max(z, 0) - z t + log(1 + exp(-|z|))           dl/dz = sigmoid(z) - t, t in [0, 1]
        squared_error          l = (z - t)^2                                      dl/dz = 2 (z - t)
        absolute_error         l = |z - t|                                        dl/dz = sign(z - t), 0 at the kink
        huber                  l = c (z - t - c / 2), c = clip(z - t, -d, d)      dl/dz = c
        poisson                l = exp(z) - t z                                   dl/dz = exp(z) - t, t >= 0
        gamma                  l = z + t exp(-z)                                  dl/dz = 1 - t exp(-z), t > 0

        The first is in nats, in the form that overflows for no z. poisson and gamma are negative log likelihoods of a
        mean exp(z), without the terms that have no z. Source: Goodfellow, Bengio, Courville 2016, section
        6.2.2.2; Huber 1964, in the form of torch.nn.HuberLoss; McCullagh, Nelder 1989, sections 6.2 and 8.3.
        """

    @abc.abstractmethod
    def quantile_loss(self, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
        """Pinball loss of several quantiles that never cross, and its gradient.

        q_1 = z_1,   q_j = q_(j-1) + log(1 + exp(z_j));   g_j = [t < q_j] - levels_j;
        l_i = sum_j( (q_j - t) g_j ) = sum_j( max(levels_j (t - q_j), (levels_j - 1) (t - q_j)) );
        dl/dz_1 = g_1 + ... + g_L,   dl/dz_j = sigmoid(z_j) (g_j + ... + g_L)

        targets (n, k); logits, dlogits (n, k L): the L = len(levels) outputs of a target column stand side by side;
        levels rising in (0, 1). Source: Koenker, Bassett 1978; the increments that are above 0, from Gasthaus et al.
        2019, section 3.
        """

    @abc.abstractmethod
    def gaussian_nll(self, batch: LossBatch, *, scale: float, mean: bool) -> None:
        """Negative log likelihood of a Gaussian, in nats and without log(2 pi) / 2 per column, and its gradient.

        l_i = sum_j( (s + (m - t)^2 exp(-s)) / 2 ),   m = z_ij, s = z_i,k+j: mean and logarithm of the variance;
        dl/dm = (m - t) exp(-s),   dl/ds = (1 - (m - t)^2 exp(-s)) / 2

        targets (n, k); logits, dlogits (n, 2 k): the means, then the log variances. Source: Nix, Weigend 1994.
        """
