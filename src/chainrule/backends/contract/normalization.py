"""The contract of layer and batch normalisation.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array


class NormalizationContract(abc.ABC):
    """x, y, dy, dx (n, k) in the storage dtype; everything else in the net's own dtype."""

    @abc.abstractmethod
    def layer_norm(
        self, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
    ) -> None:
        """x_hat_ij = (x_ij - mean_i) inverse_std_i,   y = gain x_hat + bias.   gain, bias (k,), mean, inverse_std (n,).

        mean_i = sum_j(x_ij) / k,   inverse_std_i = 1 / sqrt(sum_j( (x_ij - mean_i)^2 ) / k + eps); both are written.
        Source: Ba, Kiros, Hinton 2016, equation 3.
        """

    @abc.abstractmethod
    def layer_norm_backward(
        self,
        dy: Array,
        x: Array,
        gain: Array,
        mean: Array,
        inverse_std: Array,
        *,
        dx: Array | None,
        dgain: Array,
        dbias: Array,
    ) -> None:
        """dgain = sum_i(dy x_hat),   dbias = sum_i(dy),   and with g = dy gain, the gradient by x_hat,

        dx = inverse_std_i (g - mean_j(g) - x_hat mean_j(g x_hat)).

        ``dx`` may be ``dy``, and is None if nobody asks for it.
        """

    @abc.abstractmethod
    def batch_norm(
        self,
        x: Array,
        gain: Array,
        bias: Array,
        state: Array,
        *,
        eps: float,
        momentum: float,
        mean: Array,
        inverse_std: Array,
        running_mean: Array,
        running_var: Array,
        y: Array,
    ) -> None:
        """x_hat_ij = (x_ij - mean_j) inverse_std_j,   y = gain x_hat + bias.   All but x and y are (k,).

        mean_j = sum_i(x_ij) / n,   var_j = sum_i( (x_ij - mean_j)^2 ) / n,   inverse_std_j = 1 / sqrt(var_j + eps);
        running_mean += momentum (mean - running_mean),   running_var += momentum (n / (n - 1) var - running_var)

        The running statistics stay as they are for a single row, which has no variance, and once state[HALTED] is set.
        Source: Ioffe, Szegedy 2015, algorithm 1; the factor n / (n - 1) from algorithm 2.
        """

    @abc.abstractmethod
    def batch_norm_inference(
        self, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
    ) -> None:
        """y = gain (x - mean_j) / sqrt(var_j + eps) + bias.   ``y`` may be ``x``."""

    @abc.abstractmethod
    def batch_norm_backward(
        self,
        dy: Array,
        x: Array,
        gain: Array,
        mean: Array,
        inverse_std: Array,
        *,
        dx: Array | None,
        dgain: Array,
        dbias: Array,
    ) -> None:
        """dgain = sum_i(dy x_hat),   dbias = sum_i(dy),   dx = gain inverse_std_j (dy - dbias / n - x_hat dgain / n).

        ``dx`` may be ``dy``, and is None if nobody asks for it.
        """
