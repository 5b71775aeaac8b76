"""The part of the contract that layers are made of; see :mod:`~chainrule.backends.contract.backend`."""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import ActivationName, Array, EmbeddingPlan


class LayerContract(abc.ABC):
    """Products and activations, sums, dropout, normalisation."""

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
    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        """z = x @ W + b,   y = act(z).   x (n, n_in), W (n_in, n_out), b (n_out,), z and y (n, n_out).

        ``b`` has the dtype of ``y``. ``z`` may be ``y`` (and is, where there is no way back or the derivative is a
        function of the output: no memory is spent on what is not read). Apart, y is act of the z that is kept, in its
        dtype.
        """

    @abc.abstractmethod
    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        """dz = dy * act'(saved),   db = sum_rows(dz).   saved, dy, dz (n, n_out), db (n_out,).

        ``dz`` may be ``dy``. ``saved`` is the output y = act(z) where act' is a function of it:

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
        self, dz: Array, W: Array, activation: ActivationName, saved: Array, *, out: Array, db: Array
    ) -> None:
        """out = (dz @ W.T) * act'(saved),   db = sum_rows(out).

        The way back across the border of two dense layers: dz (n, n_out) and W (n_in, n_out) belong to the upper
        one, ``activation``, ``saved``, ``out`` (n, n_in) and ``db`` (n_in,) to the lower.
        """

    @abc.abstractmethod
    def add(self, a: Array, b: Array, *, out: Array) -> None:
        """out = a + b.   All of one shape and dtype; ``out`` may be either."""

    # ---- dropout and normalisation --------------------------------------------------------------
    # x, y, dy, dx (n, k) in the storage dtype; all else in the net's own.

    @abc.abstractmethod
    def dropout(
        self, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
    ) -> None:
        """out_e = x_e / (1 - rate) where word_e >= rate 2^32, else 0.   ``out`` may be ``x``.

        word_e is word e % 4 of Philox4x32-10 with this key and the counter (e // 4, state[STEP],
        counter[0] + 2^16 state[BATCH], counter[1]): the same bits on every body. The way back is the same call with dy
        in place of x, so no mask is kept.

        Source: Srivastava et al. 2014, section 4, with the factor in training rather than in prediction.
        """

    @abc.abstractmethod
    def layer_norm(
        self, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
    ) -> None:
        """x^_ij = (x_ij - mean_i) inverse_std_i,   y = gain x^ + bias.   gain, bias (k,), mean, inverse_std (n,).

        mean_i = 1/k sum_j x_ij,   inverse_std_i = 1 / sqrt(1/k sum_j (x_ij - mean_i)^2 + eps); both are written.
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
        """dgain = sum_i dy x^,   dbias = sum_i dy,   and with g = dy gain, the gradient by x^,

        dx = inverse_std_i (g - mean_j(g) - x^ mean_j(g x^)).

        ``dx`` may be ``dy``, and is None where nobody asks for it.
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
        """x^_ij = (x_ij - mean_j) inverse_std_j,   y = gain x^ + bias.   All but x and y are (k,).

        mean_j = 1/n sum_i x_ij,   var_j = 1/n sum_i (x_ij - mean_j)^2,   inverse_std_j = 1 / sqrt(var_j + eps);
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
        """dgain = sum_i dy x^,   dbias = sum_i dy,   dx = gain inverse_std_j (dy - dbias / n - x^ dgain / n).

        ``dx`` may be ``dy``, and is None where nobody asks for it.
        """

    # ---- embedding ------------------------------------------------------------------------------
    # x (n, n_in) and tables, means, shares, dtables, all flat, in the net's own dtype: a code above 256 is no number of
    # bf16. y and dy (n, width) in the storage dtype; codes (n, m) int32. Table t of a plan is
    # T_t = tables[start : start + rows width] as (rows, width); of means and shares each table's follow each other.

    @abc.abstractmethod
    def embed(
        self, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
    ) -> None:
        """y_i = [numbers of x_i | T_1[c_i1] | T_2[c_i2] | ...],   codes_it = c_it = x[i, column_t].

        The codes are whole numbers in [0, rows_t), checked when the rows came in. With ``means``, rows_t is a code
        too and stands for means_t.
        """

    @abc.abstractmethod
    def embed_backward(self, dy: Array, codes: Array, plan: EmbeddingPlan, *, dtables: Array) -> None:
        """dT_t[c] = sum over rows i with codes_it = c of the part of dy_i that T_t[c] went to; else 0.

        What lies between the tables stays as it is. Added in an order of its own by each body, the same in every run.
        The codes are below rows_t.
        """

    @abc.abstractmethod
    def embed_means(self, tables: Array, shares: Array, plan: EmbeddingPlan, *, means: Array) -> None:
        """means_t = sum_c shares_tc T_t[c]."""
