"""Dropout, layer and batch normalisation of the compiled body: the loops of :mod:`normalization_loops`."""

from __future__ import annotations

import abc
from types import ModuleType
from typing import Final

import numpy as np

from chainrule.backends.compiled.loading import or_numpy
from chainrule.backends.contract.backend import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.normalization import threshold

COMPILED: Final = "fd"  # float32 and float64; what else passes through is a check in complex numbers or long double


class CompiledNormalization(NumPyBackend):
    """What differs from the reference; sums over rows stay NumPy's, whose order is not worth imitating."""

    @property
    @abc.abstractmethod
    def _normalization_loops(self) -> ModuleType | None:
        """The loops; None while they are not loaded."""

    def _loops_for(self, x: Array) -> ModuleType | None:
        """The loops, where they can do this: a single column NumPy sums in another order."""
        return self._normalization_loops if x.ndim == 2 and x.shape[1] > 1 and x.dtype.char in COMPILED else None

    @or_numpy
    def dropout(
        self, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
    ) -> None:
        loops = self._normalization_loops
        if loops is None or x.dtype.char not in COMPILED:
            super().dropout(x, state, key=key, counter=counter, rate=rate, out=out)
            return
        words = self._scratch((4 * loops.TILE,), np.uint32, use="words")
        loops.dropout(
            x.reshape(-1),
            *key,
            *self._counter_now(state, counter),
            np.uint32(threshold(rate)),
            x.dtype.type(1 / (1 - rate)),
            words,
            out.reshape(-1),
        )

    @or_numpy
    def _moments(self, x: Array, axis: int, *, mean: Array, var: Array) -> None:
        loops = self._loops_for(x)
        if loops is None:
            super()._moments(x, axis, mean=mean, var=var)
        elif axis:
            distance = self._scratch(x.shape, x.dtype, use="normalized")
            loops.less_first(x, distance)
            self._mean(distance, axis, out=mean)
            loops.square_distances(distance, mean)
            np.add(mean, x[:, 0], out=mean)
            self._mean(distance, axis, out=var)
        else:
            loops.column_moments(x, mean, var)
            np.add(mean, x[0], out=mean)

    @or_numpy
    def _normalize(
        self, x: Array, mean: Array, inverse_std: Array, gain: Array, bias: Array, axis: int, *, out: Array
    ) -> None:
        loops = self._loops_for(x)
        if loops is None:
            super()._normalize(x, mean, inverse_std, gain, bias, axis, out=out)
        else:
            (loops.normalize_rows if axis else loops.normalize_columns)(x, mean, inverse_std, gain, bias, out)

    @or_numpy
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
        loops = self._loops_for(x)
        if loops is None:
            super().layer_norm_backward(dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
            return
        product = self._scratch(x.shape, x.dtype, use="product")
        loops.row_gradients(dy, x, mean, inverse_std, product, dgain, dbias)
        if dx is None:
            return
        g = self._scratch(x.shape, x.dtype, use="normalized")
        along_one = self._scratch(mean.shape, mean.dtype, use="along one")
        along_x = self._scratch(mean.shape, mean.dtype, use="along x")
        loops.times_gain(dy, gain, product, g)
        self._mean(product, -1, out=along_x)
        self._mean(g, -1, out=along_one)
        loops.row_input_gradient(g, x, mean, inverse_std, along_x, along_one, dx)

    @or_numpy
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
        loops = self._loops_for(x)
        if loops is None:
            super().batch_norm_backward(dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
            return
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
