"""The contract of losses of classes, and what all losses share: the record of a batch, and the rules.

The rules that hold for all kernels: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import NamedTuple

from chainrule.backends.contract.arrays import Array


class LossBatch(NamedTuple):
    """The arrays of one batch that a loss reads and writes; n rows, k outputs of the net."""

    logits: Array  # (n, k) float; read
    targets: Array  # labels (n,) int32, or numbers (n, k) of the dtype of the logits; read
    weights: Array | None  # (n,), one per row; None if all are 1; read
    state: Array  # (3,) int64: which row of totals is this batch's; HALTED is written if the loss is not finite
    totals: Array  # (m, 3) float64, a row per batch; LOSS and WEIGHT of this batch are written
    dlogits: Array  # (n, k): the gradient by the logits is written; may be the memory of ``logits``

    def members(self) -> Iterator[LossBatch]:
        """The batch of each member, if logits are (m, n, k); targets and weights may be shared."""
        targets, weights = self.targets, self.weights
        # A label is one number per row, so an array of labels has one axis less than the logits.
        has_targets = targets.ndim == self.logits.ndim - (targets.dtype.kind in "iu")
        for j in range(len(self.logits)):
            yield LossBatch(
                self.logits[j],
                targets[j] if has_targets else targets,
                weights if weights is None or weights.ndim == 1 else weights[j],
                self.state,
                self.totals[j],
                self.dlogits[j],
            )


class LossContract(abc.ABC):
    """Each loss writes totals[state[BATCH], LOSS and WEIGHT] and dlogits, in one pass. z are the logits.

    With mean=True the loss is divided by sum_i(w_i), with mean=False by 1; ``scale`` multiplies it. Weights that are
    all zero give loss 0 and gradient 0. A loss that is not finite sets state[HALTED] to state[STEP], unless it is set
    already.
    """

    @abc.abstractmethod
    def softmax_cross_entropy(
        self, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
    ) -> None:
        """Cross-entropy of a softmax, in nats, and its gradient.   s = label_smoothing in [0, 1).

        q_i = (1 - s) onehot(labels_i) + s / k;   l_i = logsumexp(z_i) - sum_j(q_ij z_ij);
        dlogits_i = w_i (softmax(z_i) - q_i) scale / sum w

        The targets are labels, each in [0, k), which is checked when the rows are taken in, not here.
        Source: Goodfellow, Bengio, Courville 2016, section 6.2.2.3; Szegedy et al. 2016, section 7 (smoothing). The row
        maximum is subtracted before exp.
        """

    @abc.abstractmethod
    def focal_loss(self, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
        """Focal loss of a softmax, in nats, and its gradient: rows that are right already count for little.

        p_i = softmax(z_i)[labels_i];   l_i = -(1 - p_i)^gamma log p_i;
        dlogits_i = w_i f_i (softmax(z_i) - onehot(labels_i)) scale / sum w,
        f_i = (1 - p_i)^gamma - gamma (1 - p_i)^(gamma - 1) p_i log p_i

        Arrays as for ``softmax_cross_entropy``, which this is for gamma = 0. Source: Lin et al. 2017, section 3.2.
        """

    @abc.abstractmethod
    def count_correct(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
    ) -> None:
        """totals[state[BATCH], CORRECT] = sum_i(w_i [row i is right]).

        Labels (n,) of an int dtype: right if argmax(z_i) is the label (the first of equals).
        Targets (n, k): right if every sign of z_i agrees with targets_i > 1/2.
        """
