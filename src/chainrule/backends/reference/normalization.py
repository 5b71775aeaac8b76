"""Dropout and normalisation in the reference: part of :mod:`~chainrule.backends.reference.backend`.

Layer and batch normalisation are the same formulas along different axes. With x^ = (x - mean) inverse_std over the
elements that share a mean, and g the gradient by x^, the chain rule through mean and variance leaves

    dx = inverse_std (g - mean(g) - x^ mean(g x^)):

of g, what lies along the two directions that normalisation takes away is removed.
"""

from __future__ import annotations

from typing import Any

from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP, Array
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.philox import philox_words

BATCH_SHIFT = 16  # bits of a counter's word that are the layer's; the batch's number has those above
_WORD = 0xFFFFFFFF


class NormalizationKernels(ArrayOperations):
    """The part of the contract that drops out and normalises, in array operations."""

    def add(self, a: Array, b: Array, *, out: Array) -> None:
        self.xp.add(a, b, out=out)

    # ---- dropout --------------------------------------------------------------------------------

    def dropout(
        self, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
    ) -> None:
        xp = self.xp
        words = philox_words(xp, x.size, self._dropout_counter(state, counter), key).reshape(x.shape)
        out[...] = xp.where(words < xp.uint64(threshold(rate)), x.dtype.type(0), x * x.dtype.type(1 / (1 - rate)))

    def _dropout_counter(self, state: Array, counter: tuple[int, int]) -> tuple[Any, Any, int]:
        word = self.xp.uint64(_WORD)
        step, batch = (state[i : i + 1].astype(self.xp.uint64) for i in (STEP, BATCH))
        return step & word, (batch * self.xp.uint64(1 << BATCH_SHIFT) + self.xp.uint64(counter[0])) & word, counter[1]

    # ---- layer normalisation: statistics of a row -------------------------------------------------

    def layer_norm(
        self, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
    ) -> None:
        self._moments(x, 1, mean=mean, var=inverse_std)
        self._invert(inverse_std, eps)
        self._normalize(x, mean, inverse_std, gain, bias, 1, out=y)

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
        xp = self.xp
        normalized, product = self._parameter_gradients(dy, x, mean, inverse_std, 1, dgain, dbias)
        if dx is None:
            return
        along_one = self._scratch(mean.shape, mean.dtype, use="along one")
        along_x = self._scratch(mean.shape, mean.dtype, use="along x")
        xp.multiply(product, gain, out=product)  # g x^
        self._mean(product, -1, out=along_x)
        xp.multiply(dy, gain, out=product)  # g
        self._mean(product, -1, out=along_one)
        xp.multiply(normalized, along_x[:, None], out=normalized)
        xp.subtract(product, normalized, out=product)
        xp.subtract(product, along_one[:, None], out=product)
        xp.multiply(product, inverse_std[:, None], out=dx)

    # ---- batch normalisation: statistics of a column ----------------------------------------------

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
        n = len(x)
        self._moments(x, 0, mean=mean, var=inverse_std)
        if n > 1:
            self._move(running_mean, mean, 1.0, momentum, state)
            self._move(running_var, inverse_std, n / (n - 1), momentum, state)
        self._invert(inverse_std, eps)
        self._normalize(x, mean, inverse_std, gain, bias, 0, out=y)

    def batch_norm_inference(
        self, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
    ) -> None:
        inverse_std = self._scratch(var.shape, var.dtype, use="along one")
        inverse_std[...] = var
        self._invert(inverse_std, eps)
        self._normalize(x, mean, inverse_std, gain, bias, 0, out=y)

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
        xp, n = self.xp, len(x)
        normalized, product = self._parameter_gradients(dy, x, mean, inverse_std, 0, dgain, dbias)
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

    # ---- what both share --------------------------------------------------------------------------

    def _moments(self, x: Array, axis: int, *, mean: Array, var: Array) -> None:
        """Mean and variance along ``axis``.

        The mean is found as that of the differences from the first element, and the variance as that of the distances
        from the mean: large values that are close to each other keep their digits, equal ones have variance 0.
        """
        xp = self.xp
        first = x[:, 0] if axis else x[0]
        distance = self._scratch(x.shape, x.dtype, use="normalized")
        xp.subtract(x, first[:, None] if axis else first, out=distance)
        self._mean(distance, axis, out=mean)
        xp.subtract(distance, mean[:, None] if axis else mean, out=distance)
        xp.add(mean, first, out=mean)
        xp.multiply(distance, distance, out=distance)
        self._mean(distance, axis, out=var)

    def _mean(self, x: Array, axis: int, *, out: Array) -> None:
        self.xp.sum(x, axis=axis, out=out)
        self.xp.divide(out, x.shape[axis], out=out)

    def _invert(self, var: Array, eps: float) -> None:
        """var becomes 1 / sqrt(var + eps)."""
        xp = self.xp
        xp.add(var, eps, out=var)
        xp.sqrt(var, out=var)
        xp.divide(1, var, out=var)

    def _normalize(
        self, x: Array, mean: Array, inverse_std: Array, gain: Array, bias: Array, axis: int, *, out: Array
    ) -> None:
        """out = gain (x - mean) inverse_std + bias, with the statistics along ``axis``."""
        xp = self.xp
        self._standardize(x, mean, inverse_std, axis, out=out)
        xp.multiply(out, gain, out=out)
        xp.add(out, bias, out=out)

    def _standardize(self, x: Array, mean: Array, inverse_std: Array, axis: int, *, out: Array) -> None:
        """out = x^."""
        self.xp.subtract(x, mean[:, None] if axis else mean, out=out)
        self.xp.multiply(out, inverse_std[:, None] if axis else inverse_std, out=out)

    def _parameter_gradients(
        self, dy: Array, x: Array, mean: Array, inverse_std: Array, axis: int, dgain: Array, dbias: Array
    ) -> tuple[Array, Array]:
        """dgain and dbias; x^ and dy x^ in scratch memory."""
        xp = self.xp
        normalized = self._scratch(x.shape, x.dtype, use="normalized")
        product = self._scratch(x.shape, x.dtype, use="product")
        self._standardize(x, mean, inverse_std, axis, out=normalized)
        xp.multiply(dy, normalized, out=product)
        xp.sum(product, axis=0, out=dgain)
        xp.sum(dy, axis=0, out=dbias)
        return normalized, product

    def _move(self, running: Array, now: Array, factor: float, momentum: float, state: Array) -> None:
        """running += momentum (factor now - running), unless the run has halted."""
        xp = self.xp
        step = self._scratch(now.shape, now.dtype, use="along one")
        rate = xp.where(state[HALTED : HALTED + 1] == RUNNING, momentum, 0.0).astype(now.dtype)
        xp.multiply(now, factor, out=step)
        xp.subtract(step, running, out=step)
        xp.multiply(step, rate, out=step)
        xp.add(running, step, out=running)


def threshold(rate: float) -> int:
    """The least word that is kept: rate 2^32, rounded."""
    return min(round(rate * 2.0**32), _WORD)
