"""Layer and batch normalisation; sums over rows stay NumPy's, whose order is not worth imitating."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.normalization import mean_along


def _loops_for(x: Array) -> ModuleType | None:
    """The loops, if they can do this: a single column NumPy sums in another order."""
    return LOOPS.normalization if x.ndim == 2 and x.shape[1] > 1 and x.dtype.char in COMPILED_DTYPES else None


def moments(self: NumPyBackend, x: Array, axis: int, *, mean: Array, var: Array) -> None:
    loops = _loops_for(x)
    if loops is not None:
        try:
            if axis:
                distance = self._scratch(x.shape, x.dtype, use="normalized")
                loops.less_first(x, distance)
                mean_along(self, distance, axis, out=mean)
                loops.square_distances(distance, mean)
                np.add(mean, x[:, 0], out=mean)
                mean_along(self, distance, axis, out=var)
            else:
                loops.column_moments(x, mean, var)
                np.add(mean, x[0], out=mean)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend._moments(self, x, axis, mean=mean, var=var)


def normalize(
    self: NumPyBackend, x: Array, mean: Array, inverse_std: Array, gain: Array, bias: Array, axis: int, *, out: Array
) -> None:
    loops = _loops_for(x)
    if loops is not None:
        try:
            (loops.normalize_rows if axis else loops.normalize_columns)(x, mean, inverse_std, gain, bias, out)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend._normalize(self, x, mean, inverse_std, gain, bias, axis, out=out)


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
    loops = _loops_for(x)
    if loops is not None:
        try:
            product = self._scratch(x.shape, x.dtype, use="product")
            loops.row_gradients(dy, x, mean, inverse_std, product, dgain, dbias)
            if dx is None:
                return
            g = self._scratch(x.shape, x.dtype, use="normalized")
            along_one = self._scratch(mean.shape, mean.dtype, use="along one")
            along_x = self._scratch(mean.shape, mean.dtype, use="along x")
            loops.times_gain(dy, gain, product, g)
            mean_along(self, product, -1, out=along_x)
            mean_along(self, g, -1, out=along_one)
            loops.row_input_gradient(g, x, mean, inverse_std, along_x, along_one, dx)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.layer_norm_backward(self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)


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
    loops = _loops_for(x)
    if loops is not None:
        try:
            loops.column_gradients(dy, x, mean, inverse_std, dgain, dbias)
            if dx is None:
                return
            along_one, along_x, factor, row = (
                self._scratch(mean.shape, mean.dtype, use=use) for use in ("along one", "along x", "factor", "row")
            )
            np.divide(dbias, len(x), out=along_one)
            np.divide(dgain, len(x), out=along_x)
            np.multiply(gain, inverse_std, out=factor)
            loops.column_input_gradient(dy, x, mean, inverse_std, along_x, along_one, factor, dx, row)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.batch_norm_backward(self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
