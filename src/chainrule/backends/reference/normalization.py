"""Normalisation in the reference: part of :mod:`~chainrule.backends.reference.backend`.

Layer and batch normalisation are the same formulas along different axes. With x_hat = (x - mean) inverse_std over the
elements that share a mean, and g the gradient by x_hat, the chain rule through mean and variance leaves

    dx = inverse_std (g - mean(g) - x_hat mean(g x_hat)):

of g, what lies along the two directions that normalisation takes away is removed.
"""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import HALTED, RUNNING
from chainrule.backends.contract.members import over_members
from chainrule.backends.reference.array_operations import ArrayOperations


@over_members
def layer_norm(
    self: ArrayOperations, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
) -> None:
    self._moments(x, 1, mean=mean, var=inverse_std)
    _invert(self, inverse_std, eps)
    self._normalize(x, mean, inverse_std, gain, bias, 1, out=y)


@over_members
def layer_norm_backward(
    self: ArrayOperations,
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
    xp = self.xp
    normalized, product = _parameter_gradients(self, dy, x, mean, inverse_std, 1, dgain, dbias)
    if dx is None:
        return
    along_one = self._scratch(mean.shape, mean.dtype, use="along one")
    along_x = self._scratch(mean.shape, mean.dtype, use="along x")
    xp.multiply(product, gain, out=product)  # g x_hat
    mean_along(self, product, -1, out=along_x)
    xp.multiply(dy, gain, out=product)  # g
    mean_along(self, product, -1, out=along_one)
    xp.multiply(normalized, along_x[:, None], out=normalized)
    xp.subtract(product, normalized, out=product)
    xp.subtract(product, along_one[:, None], out=product)
    xp.multiply(product, inverse_std[:, None], out=dx)


@over_members
def batch_norm(
    self: ArrayOperations,
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
    n = len(x)
    self._moments(x, 0, mean=mean, var=inverse_std)
    if n > 1:
        _move(self, running_mean, mean, 1.0, momentum, state)
        _move(self, running_var, inverse_std, n / (n - 1), momentum, state)
    _invert(self, inverse_std, eps)
    self._normalize(x, mean, inverse_std, gain, bias, 0, out=y)


@over_members
def batch_norm_inference(
    self: ArrayOperations, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
) -> None:
    inverse_std = self._scratch(var.shape, var.dtype, use="along one")
    inverse_std[...] = var
    _invert(self, inverse_std, eps)
    self._normalize(x, mean, inverse_std, gain, bias, 0, out=y)


@over_members
def batch_norm_backward(
    self: ArrayOperations,
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
    xp, n = self.xp, len(x)
    normalized, product = _parameter_gradients(self, dy, x, mean, inverse_std, 0, dgain, dbias)
    if dx is None:
        return
    factor = self._scratch(mean.shape, mean.dtype, use="along one")
    xp.divide(dgain, n, out=factor)
    xp.multiply(normalized, factor, out=normalized)
    xp.subtract(dy, normalized, out=product)
    xp.divide(dbias, n, out=factor)
    xp.subtract(product, factor, out=product)
    xp.multiply(gain, inverse_std, out=factor)
    xp.multiply(product, factor, out=dx)


def moments(self: ArrayOperations, x: Array, axis: int, *, mean: Array, var: Array) -> None:
    """Mean and variance along ``axis``.

    The mean is found as that of the differences from the first element, and the variance as that of the distances
    from the mean: large values that are close to each other keep their digits, equal ones have variance 0.
    """
    xp = self.xp
    first = x[:, 0] if axis else x[0]
    distance = self._scratch(x.shape, x.dtype, use="normalized")
    xp.subtract(x, first[:, None] if axis else first, out=distance)
    mean_along(self, distance, axis, out=mean)
    xp.subtract(distance, mean[:, None] if axis else mean, out=distance)
    xp.add(mean, first, out=mean)
    xp.multiply(distance, distance, out=distance)
    mean_along(self, distance, axis, out=var)


def normalize(
    self: ArrayOperations, x: Array, mean: Array, inverse_std: Array, gain: Array, bias: Array, axis: int, *, out: Array
) -> None:
    """out = gain (x - mean) inverse_std + bias, with the statistics along ``axis``."""
    xp = self.xp
    _standardize(self, x, mean, inverse_std, axis, out=out)
    xp.multiply(out, gain, out=out)
    xp.add(out, bias, out=out)


def mean_along(self: ArrayOperations, x: Array, axis: int, *, out: Array) -> None:
    self.xp.sum(x, axis=axis, out=out)
    self.xp.divide(out, x.shape[axis], out=out)


def _invert(self: ArrayOperations, var: Array, eps: float) -> None:
    """var becomes 1 / sqrt(var + eps)."""
    xp = self.xp
    xp.add(var, eps, out=var)
    xp.sqrt(var, out=var)
    xp.divide(1, var, out=var)


def _standardize(self: ArrayOperations, x: Array, mean: Array, inverse_std: Array, axis: int, *, out: Array) -> None:
    """out = x_hat."""
    self.xp.subtract(x, mean[:, None] if axis else mean, out=out)
    self.xp.multiply(out, inverse_std[:, None] if axis else inverse_std, out=out)


def _parameter_gradients(
    self: ArrayOperations, dy: Array, x: Array, mean: Array, inverse_std: Array, axis: int, dgain: Array, dbias: Array
) -> tuple[Array, Array]:
    """dgain and dbias; x_hat and dy x_hat in scratch memory."""
    xp = self.xp
    normalized = self._scratch(x.shape, x.dtype, use="normalized")
    product = self._scratch(x.shape, x.dtype, use="product")
    _standardize(self, x, mean, inverse_std, axis, out=normalized)
    xp.multiply(dy, normalized, out=product)
    xp.sum(product, axis=0, out=dgain)
    xp.sum(dy, axis=0, out=dbias)
    return normalized, product


def _move(self: ArrayOperations, running: Array, now: Array, factor: float, momentum: float, state: Array) -> None:
    """running += momentum (factor now - running), unless the run has halted."""
    xp = self.xp
    step = self._scratch(now.shape, now.dtype, use="along one")
    rate = xp.where(state[HALTED : HALTED + 1] == RUNNING, momentum, 0.0).astype(now.dtype)
    xp.multiply(now, factor, out=step)
    xp.subtract(step, running, out=step)
    xp.multiply(step, rate, out=step)
    xp.add(running, step, out=running)
