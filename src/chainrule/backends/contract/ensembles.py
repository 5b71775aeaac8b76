"""The contract from the outputs of the members of an ensemble to those of the ensemble.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
from typing import Literal, TypeAlias

from chainrule.backends.contract.arrays import Array

# What a prediction is of the logits, which says how the mean of predictions has logits again.
MemberMeanName: TypeAlias = Literal["identity", "softmax", "sigmoid", "exp", "quantiles", "mean_and_variance"]


class EnsembleContract(abc.ABC):
    """An ensemble predicts the mean of what its members predict."""

    @abc.abstractmethod
    def mean_of_members(self, logits: Array, kind: MemberMeanName, *, count: int = 1, out: Array) -> None:
        """Logits whose prediction is the mean of the predictions of the members' logits.

        With z the logits, a = 1 .. k the members and E the mean over them:

        * "identity":  out_ij = E(z_aij)
        * "softmax":   out_ij = log(E(softmax(z_ai)_j)); these are logarithms of probabilities that sum to 1
        * "sigmoid":   out_ij = log(p / (1 - p)), p = E(sigmoid(z_aij))
        * "exp":       out_ij = log(E(exp(z_aij)))
        * "quantiles", in groups of ``count`` columns: the first of each as "identity", the others, from which
          ``quantiles`` makes gaps log(1 + exp(z)), out_ij = log(exp(g) - 1), g = E(log(1 + exp(z_aij)))
        * "mean_and_variance", columns as the method of that name has them: m_ij = E(m_aij), and the logarithm of the
          variance of the mixture, s_ij = log(E(exp(s_aij)) + E((m_aij - m_ij)^2))

        All stays in logarithms: no probability, mean, gap or variance underflows or overflows that the members' logits
        can express. So logits of members that agree are theirs, to rounding (of a softmax, up to a constant per row).

        Parameters
        ----------
        logits : (k, n, c)   of the members, k at least 1; they may lie apart, as with a model axis
        count : quantiles per target column, of which c is a multiple; other kinds ignore it
        out : (n, c)         written; no memory of ``logits``

        Source: Lakshminarayanan, Pritzel, Blundell 2017, section 2.4 (the mixture, and its mean and variance).
        """
