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
import sys
from collections.abc import Callable, Sequence

from chainrule.backends.contract.backend import FAR, HALVED_ABOVE, ActivationName, Array
from chainrule.backends.reference.activations import ACTIVATE, DERIVATIVE
from chainrule.backends.reference.embedding import EmbeddingKernels
from chainrule.backends.reference.losses import ReferenceLosses
from chainrule.backends.reference.normalization import NormalizationKernels
from chainrule.backends.reference.optimisers import ReferenceOptimisers
from chainrule.backends.reference.philox import philox_words
from chainrule.errors import ShapeError

LARGEST = sys.float_info.max


class ReferenceBackend(ReferenceLosses, NormalizationKernels, EmbeddingKernels, ReferenceOptimisers):
    """The kernels; memory and execution are left to the bodies for NumPy and CuPy."""

    # ---- elements -------------------------------------------------------------------------------

    def fill(self, value: float, *, out: Array) -> None:
        out.fill(value)

    def copy(self, source: Array, *, out: Array) -> None:
        out[...] = source

    def copy_columns(self, source: Array, columns: Sequence[int], *, out: Array) -> None:
        for j in columns:
            out[:, j] = source[:, j]

    def apply(self, function: Callable[..., Array], *arrays: Array, out: Array) -> None:
        found = function(self.xp, *arrays)
        if getattr(found, "shape", None) != out.shape:
            came = getattr(found, "shape", type(found).__name__)
            raise ShapeError(f"a function of your own returned {came} where {out.shape} was expected")
        out[...] = found

    def standardize(self, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
        xp = self.xp
        half = xp.where(xp.abs(mean) > HALVED_ABOVE, 0.5, 1.0).astype(mean.dtype)
        z = x * half
        z -= mean * half
        z /= scale * half
        if math.isfinite(limit):
            if z.dtype.kind == "f":
                most = min(FAR * limit, LARGEST)
                xp.clip(z, -most, most, out=z)
            bend = z / limit
            bend *= bend
            bend += 1
            z /= xp.sqrt(bend)
        out[...] = z

    def scale_and_shift(self, x: Array, scale: Array, shift: Array, *, out: Array) -> None:
        out[...] = x * scale + shift

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
