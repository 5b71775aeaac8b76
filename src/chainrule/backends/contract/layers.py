"""The contract of dense layers: products, activations and their gradients.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
from typing import Any

from chainrule.backends.contract.arrays import ActivationName, Array


class LayerContract(abc.ABC):
    """Products, activations, sums."""

    @abc.abstractmethod
    def matmul(self, a: Array, b: Array, *, out: Array) -> None:
        """out = a @ b.   a (..., m, k), b (..., k, n), out (..., m, n).

        ``a`` and ``b`` may be transposed views; ``out`` overlaps neither. For entries of mixed signs the error per
        element is at most 8 u (|a| @ |b|), u the unit roundoff of the precision in use; sums of one sign lose more.
        """

    @abc.abstractmethod
    def activate(self, activation: ActivationName, z: Array, *, out: Array) -> None:
        """out = act(z), element by element; ``out`` may be ``z``.

        identity    z                                    relu      max(z, 0)
        leaky_relu  max(z, 0) + 0.01 min(z, 0)           elu       max(z, 0) + exp(min(z, 0)) - 1
        tanh        tanh(z)                              sigmoid   1 / (1 + exp(-z))
        softplus    log(1 + exp(z))                      silu      z / (1 + exp(-z))
        selu        1.0507 (max(z, 0) + 1.6733 (exp(min(z, 0)) - 1)), the constants to 16 digits
        gelu        z Phi(z), Phi(z) = (1 + erf(z / sqrt(2))) / 2, the normal distribution function
        gelu_tanh   z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2
        mish        z tanh(softplus(z))

        Each is right for every z: what overflows on the way, like exp(-z) of silu, is computed in another form. At
        -inf it has its limit. A nan stays a nan, through relu too. Relative errors are some units of roundoff, and of
        the last four below 0 as many more as their exponents are large (z^2 / 2 for gelu).

        Sources: Maas et al. 2013 (leaky_relu); Clevert et al. 2016 (elu); Klambauer et al. 2017 (selu); Dugas et al.
        2001 (softplus); Hendrycks, Gimpel 2016 (gelu, gelu_tanh, silu); Misra 2019 (mish).
        """

    @abc.abstractmethod
    def dense(
        self,
        x: Array,
        W: Array,
        b: Array,
        activation: ActivationName,
        *,
        z: Array,
        y: Array,
        signs: Array | None = None,
    ) -> None:
        """z = x @ W + b,   y = act(z).   x (n, n_in), W (n_in, n_out), b (n_out,), z and y (n, n_out).

        ``b`` has the dtype of ``y``. ``z`` may be ``y`` (and is, if there is no backward pass or the derivative is a
        function of the output: no memory is spent on what is not read). Apart, y is act of the z that is kept, in its
        dtype.

        ``signs`` is memory that :meth:`signs_per_row` asked for, if it did, and z is y. What is written there is for
        :meth:`matmul_activation_backward` of the same implementation alone.
        """

    def signs_per_row(
        self, rows: int | None, n_in: int, width: int, n_out: int, *, activation: ActivationName, dtype: Any
    ) -> int:
        """Bytes of ``signs`` per row, [y > 0] in a bit each, for a border of two dense layers; 0 if none are wanted.

        The lower layer is y = act(x @ W + b) with x (rows, n_in), y (rows, width); the upper one has n_out columns. A
        device that computes ``act`` and ``act'`` within the two products, and is faster by that, wants (rows, bytes) of
        uint8. It may time it when first asked, outside a step. For ``rows`` of None: the most that it may want.
        """
        return 0

    @abc.abstractmethod
    def scaled_dense(
        self, x: Array, scale: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array
    ) -> None:
        """z = (x * scale) @ W + b and y = act(z): factors of columns and a dense layer.

        x (n, n_in), scale (n_in,), W (n_in, n_out); else as :meth:`dense`. The factors may go into W in place of x.
        """

    @abc.abstractmethod
    def scaled_dense_backward(
        self, x: Array, scale: Array, W: Array, dz: Array, *, dW: Array, dscale: Array, dx: Array | None
    ) -> None:
        """dW = (x * scale).T @ dz,   dscale = sum_rows(x * (dz @ W.T)),   dx = (dz @ W.T) * scale unless it is None.

        With V_ij = scale_i W_ij and dV = x.T @ dz: dW_ij = scale_i dV_ij and dscale_i = sum_j( dV_ij W_ij ), without a
        product that has as many columns as x.
        """

    @abc.abstractmethod
    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        """dz = dy * act'(saved),   db = sum_rows(dz).   saved, dy, dz (n, n_out), db (n_out,).

        ``dz`` may be ``dy``. ``saved`` is the output y = act(z) if act' is a function of it:

        identity    1                                    relu      [y > 0], 0 at the kink
        leaky_relu  [y > 0] + 0.01 [y <= 0]              elu       1 + min(y, 0)
        tanh        1 - y^2                              sigmoid   y (1 - y)
        softplus    1 - exp(-y)                          selu      1.0507 [y > 0] + (y + 1.7581) [y <= 0]

        and the input z for the others, which go down before they go up:

        gelu        Phi(z) + z phi(z), phi(z) = exp(-z^2 / 2) / sqrt(2 pi)
        gelu_tanh   s + z s (1 - s) v',   s = sigmoid(v),  v = 2 sqrt(2 / pi) (z + 0.044715 z^3)
        silu        s + z s (1 - s),      s = sigmoid(z)
        mish        t + z s (1 - t^2),    s = sigmoid(z),  t = tanh(softplus(z))

        act' has an absolute error of some units of roundoff.
        """

    @abc.abstractmethod
    def matmul_activation_backward(
        self,
        dz: Array,
        W: Array,
        activation: ActivationName,
        saved: Array,
        *,
        out: Array,
        db: Array,
        signs: Array | None = None,
    ) -> None:
        """out = (dz @ W.T) * act'(saved),   db = sum_rows(out).

        The backward pass across the border of two dense layers: dz (n, n_out) and W (n_in, n_out) belong to the upper
        one, ``activation``, ``saved``, ``out`` (n, n_in), ``db`` (n_in,) and ``signs`` to the lower, whose
        :meth:`dense` has written ``saved`` and the signs.
        """

    @abc.abstractmethod
    def add(self, a: Array, b: Array, *, out: Array) -> None:
        """out = a + b.   All of one shape and dtype; ``out`` may be either."""
