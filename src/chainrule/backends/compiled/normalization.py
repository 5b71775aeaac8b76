"""Layer and batch normalisation, as loops over rows; a single column NumPy adds up in the order of a row."""

from __future__ import annotations

from chainrule.backends.compiled.calls import call, each_member, known_dtype, number, numbers_of
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def layer_norm(
    self: NumPyBackend, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
) -> None:
    loops = LOOPS.normalization
    known_dtype(x, gain, bias, mean, inverse_std, y)
    for of_x, of_gain, of_bias, of_mean, of_inverse, of_y in each_member(
        (x, 2), (gain, 1), (bias, 1), (mean, 1), (inverse_std, 1), (y, 2)
    ):
        distance = self._scratch(of_x.shape, x.dtype, use="normalized")
        var = self._scratch(of_mean.shape, x.dtype, use="variance")
        call(loops.row_moments, of_x, distance, of_mean, var)
        call(loops.invert, var, number(eps, x.dtype), of_inverse)
        call(loops.normalize_rows, of_x, of_mean, of_inverse, of_gain, of_bias, of_y)


@with_fallback
def layer_norm_backward(
    self: NumPyBackend,
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
    loops, column_sums = LOOPS.normalization, LOOPS.layers.column_sums
    known_dtype(dy, x, gain, mean, inverse_std, dgain, dbias)
    for of_dy, of_x, of_gain, of_mean, of_inverse, of_dx, of_dgain, of_dbias in each_member(
        (dy, 2), (x, 2), (gain, 1), (mean, 1), (inverse_std, 1), (dx, 2), (dgain, 1), (dbias, 1)
    ):
        product = self._scratch(of_x.shape, x.dtype, use="product")
        call(loops.times_normalized_rows, of_dy, of_x, of_mean, of_inverse, product)
        call(column_sums, product, 0, of_dgain)
        call(column_sums, of_dy, 0, of_dbias)
        if dx is not None:
            g = self._scratch(of_x.shape, x.dtype, use="normalized")
            call(loops.row_input_gradient, of_dy, of_x, of_gain, of_mean, of_inverse, product, g, of_dx)


@with_fallback
def batch_norm(
    self: NumPyBackend,
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
    loops, (n, k), dtype = LOOPS.normalization, x.shape[-2:], x.dtype
    known_dtype(x, gain, bias, mean, inverse_std, running_mean, running_var, y)
    for of_x, of_gain, of_bias, of_mean, of_inverse, of_running_mean, of_running_var, of_y in each_member(
        (x, 2), (gain, 1), (bias, 1), (mean, 1), (inverse_std, 1), (running_mean, 1), (running_var, 1), (y, 2)
    ):
        var = self._scratch((k,), dtype, use="variance")
        if k == 1:
            distance = self._scratch((1, n), dtype, use="normalized")
            call(loops.row_moments, of_x.T, distance, of_mean, var)
        else:
            call(loops.column_moments, of_x, 0, of_mean, var)
        call(loops.invert, var, number(eps, dtype), of_inverse)
        call(loops.normalize_columns, of_x, of_mean, of_inverse, of_gain, of_bias, of_y)
        if n > 1:  # last: a loop that cannot be compiled must find them as they were
            call(loops.move, of_running_mean, of_mean, numbers_of((1.0, momentum), dtype), state)
            call(loops.move, of_running_var, var, numbers_of((n / (n - 1), momentum), dtype), state)


@with_fallback
def batch_norm_inference(
    self: NumPyBackend, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
) -> None:
    loops = LOOPS.normalization
    known_dtype(x, gain, bias, mean, var, y)
    for of_x, of_gain, of_bias, of_mean, of_var, of_y in each_member(
        (x, 2), (gain, 1), (bias, 1), (mean, 1), (var, 1), (y, 2)
    ):
        inverse_std = self._scratch(of_var.shape, x.dtype, use="along one")
        call(loops.invert, of_var, number(eps, x.dtype), inverse_std)
        call(loops.normalize_columns, of_x, of_mean, inverse_std, of_gain, of_bias, of_y)


@with_fallback
def batch_norm_backward(
    self: NumPyBackend,
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
    loops, (n, k) = LOOPS.normalization, x.shape[-2:]
    known_dtype(dy, x, gain, mean, inverse_std, dgain, dbias)
    for of_dy, of_x, of_gain, of_mean, of_inverse, of_dx, of_dgain, of_dbias in each_member(
        (dy, 2), (x, 2), (gain, 1), (mean, 1), (inverse_std, 1), (dx, 2), (dgain, 1), (dbias, 1)
    ):
        if k == 1:
            product = self._scratch((n, 1), x.dtype, use="product")
            call(loops.times_normalized_rows, of_dy.T, of_x.T, of_mean, of_inverse, product.T)
            call(LOOPS.layers.column_sums, product, 0, of_dgain)
            call(LOOPS.layers.column_sums, of_dy, 0, of_dbias)
        else:
            call(loops.column_gradients, of_dy, of_x, of_mean, of_inverse, 0, of_dgain, of_dbias)
        if dx is not None:
            factors = [self._scratch((k,), x.dtype, use=use) for use in ("along x", "along one", "factor")]
            part = self._scratch((n, k), x.dtype, use="normalized")
            call(loops.column_factors, of_dgain, of_dbias, of_gain, of_inverse, n, *factors)
            call(loops.column_input_gradient, of_dy, of_x, of_mean, of_inverse, *factors, part, of_dx)
