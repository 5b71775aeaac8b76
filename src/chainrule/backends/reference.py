"""The specification: every kernel of the contract in plain array operations, written once.

``self.xp`` is NumPy, CuPy or a guarded NumPy, so this text is three bodies: what the CPU runs when nothing faster is
installed, what a GPU runs when no fused kernel exists, and what a test runs under a guard that refuses host looks. It
says what the result is; a faster body may say how to get it sooner, and is held to this one by the contract test.

No branch here looks at a number on the device: device scalars are picked with index arrays of length one
(``state[BATCH:BATCH+1]``) and combined by array operations. The kernels also carry complex arrays, for the
gradient check by complex step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chainrule.backends.base import HALTED, RUNNING, STEP, ActivationName, Array
from chainrule.backends.losses import ReferenceLosses, slot_of
from chainrule.backends.philox import philox_words


class ReferenceBackend(ReferenceLosses):
    """The kernels; memory and execution are left to the bodies for NumPy and CuPy. The losses: :mod:`losses`."""

    def _parts(self, size: int) -> Iterator[slice]:
        """Slices of a flat array: all of it at once, unless a body knows a better size for its caches."""
        yield slice(0, size)

    # ---- elements -------------------------------------------------------------------------------

    def fill(self, value: float, *, out: Array) -> None:
        out.fill(value)

    def copy(self, source: Array, *, out: Array) -> None:
        out[...] = source

    def standardize(self, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
        z = (x - mean) / scale
        out[...] = z if math.isinf(limit) else z / self.xp.sqrt(1 + (z / limit) ** 2)

    def first_nonfinite(self, x: Array) -> int | None:
        bad = ~self.xp.isfinite(x).reshape(-1)
        first = int(self.download(bad.argmax()))
        return first if bool(self.download(bad[first])) else None

    # ---- layers ---------------------------------------------------------------------------------

    def matmul(self, a: Array, b: Array, *, out: Array) -> None:
        self.xp.matmul(a, b, out=out)

    def activate(self, activation: ActivationName, z: Array, *, out: Array) -> None:
        ACTIVATE[activation](self.xp, z, out)

    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        self.matmul(x, W, out=z)
        self.xp.add(z, b[..., None, :], out=z)
        if activation != "identity" or z is not y:
            self.activate(activation, z, out=y)

    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        if activation != "identity":
            derivative = self._scratch(saved.shape, saved.dtype, use="derivative")
            DERIVATIVE[activation](self.xp, saved, derivative)
            self.xp.multiply(dy, derivative, out=dz)
        elif dz is not dy:
            dz[...] = dy
        self.xp.sum(dz, axis=-2, out=db)

    def matmul_activation_backward(
        self, dz: Array, W: Array, activation: ActivationName, saved: Array, *, out: Array, db: Array
    ) -> None:
        self.matmul(dz, W.swapaxes(-1, -2), out=out)
        self.activation_backward(activation, saved, out, dz=out, db=db)

    # ---- from logits to predictions -------------------------------------------------------------

    def softmax(self, logits: Array, *, out: Array) -> None:
        xp = self.xp
        xp.subtract(logits, logits.max(axis=-1, keepdims=True), out=out)
        xp.exp(out, out=out)
        xp.divide(out, out.sum(axis=-1, keepdims=True), out=out)

    def argmax(self, x: Array, *, out: Array) -> None:
        out[...] = x.argmax(axis=-1)

    def positive(self, x: Array, *, out: Array) -> None:
        out[...] = x > 0

    def exp(self, x: Array, *, out: Array) -> None:
        self.xp.exp(x, out=out)

    # ---- batches and random numbers -------------------------------------------------------------

    def gather(
        self, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
    ) -> None:
        rows = order[position * stride + self._rows(len(out[0]))]
        for source, batch in zip(sources, out, strict=True):
            batch[...] = source[rows]
        position += 1

    def _words(self, key: tuple[int, int], counter: tuple[int, int, int], count: int) -> Array:
        return philox_words(self.xp, count, counter, key)

    def uniform(
        self, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
    ) -> None:
        words = self._words(key, counter, out.size)
        u = (words >> self.xp.uint64(8)).astype(self.xp.float64) * 2.0**-24
        out[...] = (low + (high - low) * u).reshape(out.shape)

    def permutation(self, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
        # One sort of distinct 64-bit numbers, the word above, the element below: no order among equals to define.
        words = self._words(key, counter, out.size)
        tagged = (words << self.xp.uint64(32)) | self.xp.arange(out.size, dtype=self.xp.uint64)
        tagged.sort()
        out[...] = (tagged & self.xp.uint64(0xFFFFFFFF)).astype(out.dtype)

    # ---- optimisers -----------------------------------------------------------------------------

    def _learning_rate(self, lr: Array, state: Array, factor: float) -> Array:
        """(1,) float64: this batch's learning rate, and 0 in a run that has halted."""
        rate = lr[self.xp.minimum(slot_of(state), len(lr) - 1)] * factor
        return self.xp.where(state[HALTED] == RUNNING, rate, 0.0)

    def _subtract(self, params: Array, update: Array, state: Array) -> None:
        """params -= update, and nothing in a run that has halted, where ``update`` may be nan."""
        self.xp.subtract(params, self.xp.where(state[HALTED] == RUNNING, update, 0), out=params)

    def sgd(
        self, params: Array, grads: Array, velocity: Array | None, lr: Array, state: Array, *,
        lr_factor: float, momentum: float, nesterov: bool, weight_decay: float,
    ) -> None:  # fmt: skip
        xp = self.xp
        rate = self._learning_rate(lr, state, lr_factor).astype(params.dtype)
        for part in self._parts(params.size):
            p, g = params[part], grads[part]
            update = self._scratch(p.shape, p.dtype, use="update")
            xp.multiply(p, weight_decay, out=update)
            xp.add(update, g, out=update)  # g of the formula
            if velocity is not None:
                v = velocity[part]
                xp.multiply(v, momentum, out=v)
                xp.add(v, update, out=v)
                if nesterov:
                    step = self._scratch(p.shape, p.dtype, use="step")
                    xp.multiply(v, momentum, out=step)
                    xp.add(update, step, out=update)
                else:
                    update = v
            step = self._scratch(p.shape, p.dtype, use="step")
            xp.multiply(update, rate, out=step)
            self._subtract(p, step, state)

    def adam(
        self, params: Array, grads: Array, m: Array, v: Array, lr: Array, state: Array, *,
        lr_factor: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    ) -> None:  # fmt: skip
        xp, dtype = self.xp, params.dtype
        rate = self._learning_rate(lr, state, lr_factor)
        step_size, step_eps = self._corrected(rate, state, beta1, beta2, eps, dtype)
        keep = (1 - rate * weight_decay).astype(dtype)
        for part in self._parts(params.size):
            p, g, mp, vp = params[part], grads[part], m[part], v[part]
            a = self._scratch(p.shape, dtype, use="update")
            b = self._scratch(p.shape, dtype, use="step")
            if weight_decay and decoupled:
                xp.multiply(p, keep, out=p)
            elif weight_decay:
                xp.multiply(p, weight_decay, out=b)
                xp.add(g, b, out=b)
                g = b
            xp.multiply(g, 1 - beta1, out=a)
            xp.multiply(mp, beta1, out=mp)
            xp.add(mp, a, out=mp)
            xp.multiply(g, g, out=a)
            xp.multiply(a, 1 - beta2, out=a)
            xp.multiply(vp, beta2, out=vp)
            xp.add(vp, a, out=vp)
            xp.sqrt(vp, out=a)
            xp.add(a, step_eps, out=a)
            xp.divide(mp, a, out=a)
            xp.multiply(a, step_size, out=a)
            self._subtract(p, a, state)

    def _corrected(
        self, rate: Array, state: Array, beta1: float, beta2: float, eps: float, dtype: Any
    ) -> tuple[Array, Array]:
        """(step_size, step_eps) with rate m^ / (sqrt(v^) + eps) = step_size m / (sqrt(v) + step_eps).

        Both bias corrections are the same for all elements, so they move out of the loop over them.
        """
        t = (state[STEP : STEP + 1] + 1).astype(self.xp.float64)
        root = self.xp.sqrt(1 - beta2**t)
        return (rate * root / (1 - beta1**t)).astype(dtype), (eps * root).astype(dtype)

    def clip_by_global_norm(self, grads: Array, *, max_norm: float) -> None:
        xp, squares = self.xp, 0.0
        for part in self._parts(grads.size):  # squared in float64, where no float32 over- or underflows
            square = self._scratch(grads[part].shape, xp.float64, use="square64")
            square[...] = grads[part]
            xp.multiply(square, square, out=square)
            squares = squares + square.sum()
        norm = xp.sqrt(squares)
        factor = xp.minimum(norm, max_norm) / xp.where(norm == 0, 1, norm)
        xp.multiply(grads, factor.astype(grads.dtype), out=grads)

    def tick(self, state: Array) -> None:
        state[:HALTED] += 1


# ---- the activations and their derivatives, side by side; a derivative is a function of the output y --------------


def _copy(xp: Any, z: Array, out: Array) -> None:
    out[...] = z


def _ones(xp: Any, y: Array, out: Array) -> None:
    out.fill(1)


def _relu(xp: Any, z: Array, out: Array) -> None:
    if z.dtype.kind == "c":  # under the complex step: the slope at the kink is 0 on the way back, so here too
        xp.multiply(z, z.real > 0, out=out)
    else:
        xp.maximum(z, 0, out=out)


def _relu_derivative(xp: Any, y: Array, out: Array) -> None:
    xp.greater(y, 0, out=out, casting="unsafe")


def _tanh(xp: Any, z: Array, out: Array) -> None:
    xp.tanh(z, out=out)


def _tanh_derivative(xp: Any, y: Array, out: Array) -> None:
    xp.multiply(y, y, out=out)
    xp.subtract(1, out, out=out)


def _sigmoid(xp: Any, z: Array, out: Array) -> None:
    xp.negative(z, out=out)
    xp.exp(out, out=out)  # inf for very negative z, and 1 / inf is the right 0
    xp.add(out, 1, out=out)
    xp.divide(1, out, out=out)


def _sigmoid_derivative(xp: Any, y: Array, out: Array) -> None:
    xp.subtract(1, y, out=out)
    xp.multiply(out, y, out=out)


_Elementwise = Callable[[Any, Array, Array], None]
ACTIVATE: dict[str, _Elementwise] = {"identity": _copy, "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid}
DERIVATIVE: dict[str, _Elementwise] = {
    "identity": _ones,
    "relu": _relu_derivative,
    "tanh": _tanh_derivative,
    "sigmoid": _sigmoid_derivative,
}
