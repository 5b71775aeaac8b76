"""The specification: every kernel of the contract in plain array operations, written once.

``self.xp`` is NumPy, CuPy or a guarded NumPy, so this text is three bodies: what the CPU runs when nothing faster is
installed, what a GPU runs when no fused kernel exists, and what a test runs under a guard that refuses host looks. It
says what the result is; a faster body may say how to get it sooner, and is held to this one by the contract test.

No branch here looks at a number on the device: device scalars are picked with index arrays of length one
(``state[BATCH:BATCH+1]``) and combined by array operations. The kernels also carry complex arrays, for the
gradient check by complex step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from chainrule.backends.activations import ACTIVATE, DERIVATIVE
from chainrule.backends.base import (
    CORRECT,
    HALTED,
    LOSS,
    RUNNING,
    STEP,
    WEIGHT,
    ActivationName,
    Array,
)
from chainrule.backends.normalization import NormalizationKernels
from chainrule.backends.philox import philox_words
from chainrule.backends.reference_optimisers import ReferenceOptimisers, slot_of
from chainrule.errors import ShapeError


class ReferenceBackend(NormalizationKernels, ReferenceOptimisers):
    """The kernels; memory and execution are left to the bodies for NumPy and CuPy."""

    # ---- elements -------------------------------------------------------------------------------

    def fill(self, value: float, *, out: Array) -> None:
        out.fill(value)

    def copy(self, source: Array, *, out: Array) -> None:
        out[...] = source

    def apply(self, function: Callable[..., Array], *arrays: Array, out: Array) -> None:
        found = function(self.xp, *arrays)
        if getattr(found, "shape", None) != out.shape:
            came = getattr(found, "shape", type(found).__name__)
            raise ShapeError(f"a function of your own returned {came} where {out.shape} was expected")
        out[...] = found

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
        ACTIVATE[activation](self.xp, z, out, functools.partial(self._scratch, z.shape, z.dtype))

    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        self.matmul(x, W, out=z)
        self.xp.add(z, b[..., None, :], out=z)
        if activation != "identity" or z is not y:
            self.activate(activation, z, out=y)

    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        if activation != "identity":
            derivative = self._scratch(saved.shape, saved.dtype, use="derivative")
            scratch = functools.partial(self._scratch, saved.shape, saved.dtype)
            DERIVATIVE[activation](self.xp, saved, derivative, scratch)
            self.xp.multiply(dy, derivative, out=dz)
        elif dz is not dy:
            dz[...] = dy
        self.xp.sum(dz, axis=-2, out=db)

    def matmul_activation_backward(
        self, dz: Array, W: Array, activation: ActivationName, saved: Array, *, out: Array, db: Array
    ) -> None:
        self.matmul(dz, W.swapaxes(-1, -2), out=out)
        self.activation_backward(activation, saved, out, dz=out, db=db)

    # ---- losses ---------------------------------------------------------------------------------

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, state: Array, *,
        scale: float, mean: bool, totals: Array, dlogits: Array,
    ) -> None:  # fmt: skip
        xp = self.xp
        rows = self._rows(len(labels))
        xp.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=dlogits)
        chosen = dlogits[rows, labels]
        xp.exp(dlogits, out=dlogits)
        normalizer = dlogits.sum(axis=-1, keepdims=True)
        losses = xp.log(normalizer[:, 0]) - chosen
        xp.divide(dlogits, normalizer, out=dlogits)
        dlogits[rows, labels] -= 1
        self._finish(losses, weights, state, scale, mean, totals, dlogits)

    def sigmoid_cross_entropy(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *,
        scale: float, mean: bool, totals: Array, dlogits: Array,
    ) -> None:  # fmt: skip
        xp = self.xp
        # z - z t + ... in the form m - z t + log1p(exp(z - 2m)) with m = max(z, 0): never large, and analytic in z on
        # either side.
        m = self._scratch(logits.shape, logits.dtype, use="derivative")
        loss = self._scratch(logits.shape, logits.dtype, use="elements")
        self.activate("relu", logits, out=m)
        xp.multiply(m, -2, out=loss)
        xp.add(loss, logits, out=loss)
        xp.exp(loss, out=loss)
        xp.log1p(loss, out=loss)
        xp.add(loss, m, out=loss)
        xp.multiply(logits, targets, out=m)
        xp.subtract(loss, m, out=loss)
        losses = loss.sum(axis=-1)
        self.activate("sigmoid", logits, out=dlogits)
        xp.subtract(dlogits, targets, out=dlogits)
        self._finish(losses, weights, state, scale, mean, totals, dlogits)

    def squared_error(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *,
        scale: float, mean: bool, totals: Array, dlogits: Array,
    ) -> None:  # fmt: skip
        xp = self.xp
        xp.subtract(logits, targets, out=dlogits)
        square = self._scratch(dlogits.shape, dlogits.dtype, use="derivative")
        xp.multiply(dlogits, dlogits, out=square)
        self._finish(square.sum(axis=-1), weights, state, scale, mean, totals, dlogits, factor=2.0)

    def _finish(
        self, losses: Array, weights: Array | None, state: Array, scale: float, mean: bool, totals: Array,
        dlogits: Array, factor: float = 1.0,
    ) -> None:  # fmt: skip
        """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``."""
        xp = self.xp
        if weights is None:
            loss, weight = losses.sum(dtype=totals.dtype), len(losses)
            row_factor = factor * scale / (weight if mean else 1)
            if row_factor != 1:
                xp.multiply(dlogits, row_factor, out=dlogits)
        else:
            loss, weight = (losses * weights).sum(dtype=totals.dtype), weights.sum(dtype=totals.dtype)
            row_factor = factor * scale
            if mean:  # all weights 0: every row of the gradient is 0 whatever it is divided by, so divide by 1
                row_factor = (row_factor / xp.where(weight == 0, 1, weight)).astype(weights.dtype)
            xp.multiply(dlogits, (weights * row_factor)[:, None], out=dlogits)
        self._record(loss * scale, weight, state, totals)

    def _record(self, loss: Array, weight: Array | int, state: Array, totals: Array) -> None:
        slot = slot_of(state)
        totals[slot, LOSS] = loss
        totals[slot, WEIGHT] = weight
        halts = ~self.xp.isfinite(loss) & (state[HALTED] == RUNNING)
        state[HALTED : HALTED + 1] = self.xp.where(halts, state[STEP], state[HALTED])

    def count_correct(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
    ) -> None:
        if targets.ndim == 1:
            right = logits.argmax(axis=-1) == targets
        else:
            right = ((logits > 0) == (targets > 0.5)).all(axis=-1)
        count = right.sum() if weights is None else (right * weights).sum(dtype=totals.dtype)
        totals[slot_of(state), CORRECT] = count

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
