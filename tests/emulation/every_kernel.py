"""Every CUDA kernel once under a sanitizer, in a process of its own that has the sanitizer's runtime.

::

    python -m emulation.every_kernel address                # with LD_PRELOAD=libasan.so: see test_sanitizers.py
    python -m emulation.every_kernel thread folder/ kernel  # one kernel (float* out, int n) of other sources

Prints the names of the kernels that ran; the sanitizer ends the process if it finds something. Arrays have their
exact size, so that one element too many is seen.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import os
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.contract.backend import BF16, RUNNING, ActivationName, Array
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.cupy import kernels, layers
from chainrule.backends.cupy.gemm.launching import relu_signs, sum_of_parts
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, ProductArrays
from chainrule.backends.cupy.gemm.relu_border import signs_bytes
from chainrule.backends.cupy.members import stride
from emulation import compiled
from emulation.backend import EmulatedBackend, narrow
from emulation.every_member import every_member

# Bounds are checked with the threads of a block as coroutines, thirty times as fast as real threads; races need those.
# Unoptimised, because the compiler then is done in half the time and reports what it would else have optimised away.
ALWAYS = ("-g1", "-fno-gnu-unique")  # shared memory of a template belongs to each library, in its own size
UNDEFINED = ("-fsanitize=address,undefined", "-fno-sanitize=null,object-size,pointer-overflow")  # which "address" finds
compiled.SANITIZERS["address"] = (*UNDEFINED, "-fno-sanitize-recover=all", "-DON_CPU_UCONTEXT", "-O0", *ALWAYS)
compiled.SANITIZERS["thread"] = ("-fsanitize=thread", "-DON_CPU_THREADS", *ALWAYS)


class Cases(NamedTuple):
    """What the kernels are called with."""

    nets: tuple[tuple[str, str], ...]  # precision, dtype
    shapes: tuple[tuple[int, int], ...]  # rows, columns: whole vectors in a row or not, more than a block's threads
    also: tuple[int, int]  # a matrix whose columns are added up, beside those: by several blocks, or without vectors
    activations: tuple[ActivationName, ...]
    others: tuple[ActivationName, ...]  # which touch the same memory: their arithmetic is tried on a few numbers
    sources: tuple[np.dtype, ...]  # what is converted
    often: int  # as a kernel runs at most for a shape, the most demanding of its cases first


CASES = {
    "address": Cases(
        nets=(("fp32", "float32"), ("fp32", "float64"), ("bf16", "float32")),
        shapes=((34, 16), (5, 3), (1, 1), (2, 1030)),
        also=(2800, 3),
        activations=("identity", "tanh"),
        others=tuple(name for name in layers.ACTIVATIONS if name not in {"identity", "tanh"}),
        sources=tuple(kernels.KINDS),
        often=1000,
    ),
    # Real threads take a tenth of a second per block. What waits for what is the same for every type and function, and
    # blocks run one after another: that leaves little to try.
    "thread": Cases(
        nets=(("fp32", "float64"),),
        shapes=((34, 16),),
        also=(5, 3),
        activations=("tanh",),
        others=(),
        sources=(np.dtype(np.uint8),),
        often=1,
    ),
}

# Kernels in which several blocks add up columns, and one that is only launched behind them.
BY_SEVERAL_BLOCKS = ("batch_norm", "batch_norm_backward", "batch_norm_input_gradient", "layer_norm_parameter_gradients")


class ExactBackend(EmulatedBackend):
    """Arrays of their exact size, and a list of what was launched."""

    def __init__(self, precision: str, sanitizer: str) -> None:
        super().__init__(precision, sanitizer)
        self.multiprocessors = 2  # few blocks, and several rounds for each
        self.launched: set[str] = set()
        self.left: dict[str, int] = {}  # how often each kernel may still run for this shape
        self.wanted: set[tuple[str, str]] | None = None  # while nothing is to run: the sources and variants to compile

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.empty(shape, dtype)

    def multiply(self, arrays: ProductArrays, epilogue: Epilogue = "none") -> None:
        """No kernel of ours, but for the sum of parts of k."""
        out = arrays.out
        count = out.shape[-2] * out.shape[-1]
        parts = exact(np.ones((math.prod(out.shape[:-2]), 11, count)), np.float64 if out.dtype == float else np.float32)
        sum_of_parts(self, parts, out, out_stride=stride(out, 2))

    def launch(self, kernel: str, *args: Any, **arguments: Any) -> None:
        if self.left[kernel]:
            self.left[kernel] -= 1
            super().launch(kernel, *args, **arguments)

    def load_kernel(self, signature: kernels.Signature, variant: str) -> Callable[..., None]:
        if self.wanted is not None:
            self.wanted.add((signature.source, variant))
            return lambda *_: None
        self.launched.add(signature.kernel)
        return super().load_kernel(signature, variant)


def exact(values: Any, dtype: Any) -> np.ndarray:
    """A copy in memory of its own size."""
    if dtype == BF16:
        values = narrow(np.asarray(values, np.float32))
    out = np.empty(np.shape(values), dtype)
    out[...] = values
    return out


def every_method(be: ExactBackend, dtype: str, n: int, k: int, cases: Cases) -> None:
    """Each method of the contract, with the dtypes that a net of ``dtype`` brings."""
    be.left = dict.fromkeys(kernels.signatures(), cases.often)
    rng = np.random.default_rng(n * k)
    real, stored = np.dtype(dtype), be.storage(dtype)

    def some(shape: tuple[int, ...], kind: Any = real) -> np.ndarray:
        return exact(rng.normal(size=shape), kind)

    state = np.array([3, 1, RUNNING])
    labels, few = exact(rng.integers(0, k, n), np.int32), exact(rng.integers(0, 2, (n, k)), np.uint8)
    logits, weights, totals = some((n, k)), exact(rng.uniform(0.5, 1, n), real), np.empty((2, 3))

    for out in (some((n, k)), some((n, k), stored), labels.copy(), few.copy()):
        be.fill(1, out=out)
    for out in (some((n, k)), some((n, k), stored), exact(few, np.int32)):
        # To float32 is tried together with bf16.
        for kind in (out.dtype, *(cases.sources if (stored, real) != (np.float32, np.float32) else ())):
            be.copy(exact(few, kind), out=out)
    center, scale = rng.normal(size=k), rng.uniform(1, 2, k)
    for x, limit in ((few, np.inf), (logits, 2.0)):
        be.standardize(x, center, scale, limit=limit, out=some((n, k), stored))
        be.standardize(x, center, scale, limit=limit, out=some((n, k)))
    order = rng.permutation(2 * n)
    twice = [exact(rng.integers(0, 2, (2 * n, k)), np.uint8), some((2 * n, k)), rng.integers(0, k, 2 * n)]
    be.gather(twice, order, np.array([1]), stride=n, out=[some((n, k), stored), some((n, k)), labels.copy()])
    be.gather(twice[:1], order, np.array([0]), stride=n, out=[few.copy()])
    be.uniform((1, 2), (3, 4, 5), low=-1.0, high=1.0, out=some((n, k)))
    be.permutation((1, 2), (3, 4, 5), out=order)
    be.tick(state.copy())

    W, y, b = some((k, 7), stored), some((n, 7), stored), some((7,), stored)
    for activation in cases.activations:
        be.activate(activation, some((n, k), stored), out=some((n, k), stored))
        be.dense(some((n, k), stored), W, b, activation, z=y, y=y)
        be.dense(some((n, k), stored), W, b, activation, z=some((n, 7), stored), y=y)
        dy, db = some((n, k), stored), some((k,))
        be.activation_backward(activation, some((n, k), stored), dy, dz=dy, db=db)
        be.activation_backward(activation, some((n, k), stored), dy, dz=some((n, k), stored), db=db)
        be.matmul_activation_backward(y, W, activation, some((n, k), stored), out=dy, db=db)
    relu_signs(be, y, np.empty((n, 16), np.uint8))
    relu_signs(be, some((n, k), stored), np.empty((n, signs_bytes(k)), np.uint8))
    top = some((n, 7))
    be.dense(some((n, k), stored), W, some((7,)), "identity", z=top, y=top)
    be.matmul(some((n, k), stored).T, y, out=some((k, 7)))

    every_normalization(be, real, stored, n, k)
    every_embedding(be, real, stored, n, k)
    every_column(be, real, stored, n, k)

    options: dict[str, Any] = {"scale": 0.5, "mean": True}

    def batch(z: Array, targets: Array, w: Array, d: Array) -> LossBatch:
        return LossBatch(z, targets, w, state.copy(), totals, d)

    column, twice_as_wide = some((n, 1)), some((n, 2 * k))
    losses: list[tuple[Array, Callable[..., None]]] = [
        (logits, lambda z, w, d: be.softmax_cross_entropy(batch(z, labels, w, d), **options)),
        (logits, lambda z, w, d: be.softmax_cross_entropy(batch(z, labels, w, d), label_smoothing=0.1, **options)),
        (logits, lambda z, w, d: be.focal_loss(batch(z, labels, w, d), gamma=2.0, **options)),
        *((logits, lambda z, w, d, kind=kind: be.elementwise_loss(
            batch(z, exact(few, real), w, d), kind, parameter=1.0, **options))
            for kind in typing.get_args(ElementwiseLossName)),
        (logits, lambda z, w, d: be.quantile_loss(
            batch(z, column, w, d), levels=tuple((np.arange(k) + 1) / (k + 1)), **options)),
        (twice_as_wide, lambda z, w, d: be.gaussian_nll(batch(z, logits, w, d), **options)),
    ]  # fmt: skip
    for (z, loss), w in itertools.product(losses, (weights, None)):
        loss(z, w, some(z.shape, stored))
        if stored == real and cases.often > 1:
            same = z.copy()
            loss(same, w, same)
    for targets, w in itertools.product((exact(few, real), labels), (weights, None)):
        be.count_correct(logits, targets, w, state, totals=totals)
    be.softmax(logits, out=some((n, k)))
    be.exp(logits, out=some((n, k)))
    be.quantiles(logits, count=k, out=some((n, k)))
    be.mean_and_variance(twice_as_wide, out=some((n, 2 * k)))
    for kind in typing.get_args(MemberMeanName):
        be.mean_of_members(some((3, n, 2 * k)), kind, count=k, out=some((n, 2 * k)))
    be.argmax(logits, out=labels.copy())
    be.positive(logits, out=exact(few, np.int32))

    flat, lr = [exact(rng.uniform(size=n * k), real) for _ in range(4)], np.array([0.1, 0.2])
    for start in (0, 1):  # on a 16-byte border, and off it
        p, g, m, v = (a[start:] for a in flat)
        for velocity, nesterov in ((None, False), (m, False), (m, True)):
            be.sgd(p, g, velocity, lr, state, lr_factor=1.0, momentum=0.9, nesterov=nesterov, weight_decay=0.1)
        options: dict[str, Any] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True}
        be.adam(p, g, m, v, lr, state, lr_factor=1.0, weight_decay=0.1, **options)
        factors = exact(np.ones(n * k), stored)[start:]
        be.sgd(p, g, m, lr, state, lr_factor=1.0, momentum=0.9, nesterov=True, weight_decay=0.1, factors=factors)
        be.adam(p, g, m, v, lr, state, lr_factor=1.0, weight_decay=0.1, factors=factors, **options)
        be.clip_by_global_norm(g, max_norm=0.1)
        for mean in (True, False):
            be.accumulate(g, np.ones((2, 3)), state, group=2, mean=mean, out=v)
            be.penalize(p, g, np.ones((2, 3)), state, alpha=0.1, mean=mean)
        be.average(p, state, decay=0.9, out=m)


def every_normalization(be: ExactBackend, real: np.dtype, stored: np.dtype, n: int, k: int) -> None:
    """Sums, dropout, layer and batch normalisation."""
    rng, state = np.random.default_rng(n + k), np.array([3, 1, RUNNING])

    def some(shape: tuple[int, ...], kind: Any = real) -> np.ndarray:
        return exact(rng.uniform(0.5, 1.5, size=shape), kind)

    for start in (0, 1):  # on a 16-byte border, and off it
        one, other = some((n * k,), stored)[start:], some((n * k,), stored)[start:]
        if one.size:
            be.add(one, other, out=one)
            be.dropout(one, state, key=(1, 2), counter=(3, 4), rate=0.5, out=other)
    x, y, dy = (some((n, k), stored) for _ in range(3))
    gain, bias, running_mean, running_var, dgain, dbias = (some((k,)) for _ in range(6))
    for kind, length in (("layer", n), ("batch", k)):
        mean, inverse_std = some((length,)), some((length,))
        if kind == "layer":
            be.layer_norm(x, gain, bias, eps=1e-5, mean=mean, inverse_std=inverse_std, y=y)
        else:
            be.batch_norm(
                x,
                gain,
                bias,
                state,
                eps=1e-5,
                momentum=0.1,
                mean=mean,
                inverse_std=inverse_std,
                running_mean=running_mean,
                running_var=running_var,
                y=y,
            )
            be.batch_norm_inference(x, gain, bias, running_mean, running_var, eps=1e-5, y=y)
        for dx in (dy, None, y):
            back = getattr(be, f"{kind}_norm_backward")
            back(dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)


def every_embedding(be: ExactBackend, real: np.dtype, stored: np.dtype, n: int, k: int) -> None:
    """Tables for the first and the last column, of k numbers."""
    rng = np.random.default_rng(n + k)
    x = exact(rng.normal(size=(n, k + 1)), real)
    layer = cr.Embedding([0, k], [3, 2], [5, k])
    for column, count in zip(layer.columns, layer.counts, strict=True):
        x[:, column] = rng.integers(0, count + 1, n)
    plan, width = layer.plan(k + 1, [0, 15]), layer.width(k + 1)
    tables, means = exact(rng.normal(size=15 + 2 * k), real), exact(rng.normal(size=5 + k), real)
    codes, y = np.empty((n, 2), np.int32), np.empty((n, width), stored)
    be.embed_means(tables, exact(np.ones(5), real), plan, means=means)
    be.embed(x, tables, means, plan, codes=codes, y=y)
    for column, count in zip(layer.columns, layer.counts, strict=True):
        x[:, column] = rng.integers(0, count, n)
    be.embed(x, tables, None, plan, codes=codes, y=y)
    touched = exact(np.ones(5), np.float32)
    be.embed_backward(y, codes, plan, touched=touched, dtables=exact(tables, real))
    _every_update_of_vectors(be, real, stored, n, k)


def _every_update_of_vectors(be: ExactBackend, real: np.dtype, stored: np.dtype, n: int, k: int) -> None:
    """n vectors of k numbers, every other one of which is touched."""
    rng, state, lr = np.random.default_rng(n + k), np.array([3, 1, RUNNING]), np.array([0.1, 0.2])
    p, g, m, v = (exact(rng.uniform(size=n * k), real) for _ in range(4))
    plain: dict[str, Any] = {"lr_factor": 1.0, "weight_decay": 0.1, "touched": exact(np.arange(n) % 2, np.float32)}
    for velocity, nesterov in ((None, False), (m, False), (m, True)):
        be.sgd(p, g, velocity, lr, state, momentum=0.9, nesterov=nesterov, **plain)
    be.adam(p, g, m, v, lr, state, beta1=0.9, beta2=0.99, eps=1e-8, decoupled=True, **plain)
    factors = exact(np.ones(n * k), stored)
    be.adam(p, g, m, v, lr, state, beta1=0.9, beta2=0.99, eps=1e-8, decoupled=True, factors=factors, **plain)


def every_column(be: ExactBackend, real: np.dtype, stored: np.dtype, n: int, k: int) -> None:
    """Columns side by side and cut out, factors, piecewise-linear encodings; of one net and of two."""
    rng = np.random.default_rng(n + k)
    for members in ((), (2,)):

        def some(*shape: int, kind: Any = stored, members: tuple[int, ...] = members) -> np.ndarray:
            return exact(rng.normal(size=(*members, *shape)), kind)

        x, shared, wide = some(n, k), exact(rng.normal(size=(n, k)), stored), some(n, k + 5)
        be.join_columns(shared, some(n, 5), out=wide)
        be.take_columns(wide, 5, out=x)
        be.add_columns(wide, 0, out=x)
        scale, dscale = some(k, kind=real), some(k, kind=real)
        be.scale_columns(shared, scale, out=some(n, k))
        be.scale_columns(x, scale, out=x)
        for dx, of in ((None, x), (some(n, k), shared), (x, some(n, k))):
            be.scale_columns_backward(x, of, scale, dx=dx, dscale=dscale)
        made = cr.PiecewiseLinear([(-1.0, 0.0, 1.0), (0.0, 1.0)][:k]).pieces(k, real)
        pieces = Pieces(*(exact(v, v.dtype if v.dtype.kind == "i" else real) for v in made))
        y = some(n, len(pieces.width))
        be.piecewise_linear(shared, pieces, y=y)
        be.piecewise_linear_backward(y, y, pieces, dx=x)


def compile_what_is_wanted(sanitizer: str) -> None:
    """All libraries at once, rather than each when its first kernel is launched."""
    cases, wanted = CASES[sanitizer], set[tuple[str, str]]()
    for precision, dtype in cases.nets:
        backend = ExactBackend(precision, sanitizer)
        backend.wanted = wanted
        every_method(backend, dtype, 2, 3, cases)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(compiled.library, *which, sanitizer) for which in sorted(wanted)]:
            done.result()


def run(sanitizer: str) -> set[str]:
    """All methods in all cases; the names of the kernels that ran."""
    cases, launched = CASES[sanitizer], set[str]()
    for precision, dtype in cases.nets:
        backend = ExactBackend(precision, sanitizer)
        with backend.running():
            for n, k in cases.shapes:
                every_method(backend, dtype, n, k, cases)
                if cases.often > 1:
                    every_member(backend, n, k, dtype)
            for activation in cases.others:
                backend.left = dict.fromkeys(kernels.signatures(), cases.often)
                far = exact([[np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0, -0.0, 1.0]], backend.storage(dtype))
                backend.activate(activation, far, out=far.copy())
                backend.activation_backward(activation, far.copy(), far, dz=far, db=np.empty(8, dtype))
            dy = np.zeros(cases.also, backend.storage(dtype))
            backend.left["activation_backward"] = 1
            backend.activation_backward("tanh", dy, dy, dz=dy, db=np.empty(cases.also[1], dtype))
            backend.left = dict.fromkeys(kernels.signatures(), 0) | dict.fromkeys(BY_SEVERAL_BLOCKS, cases.often)
            every_normalization(backend, np.dtype(dtype), backend.storage(dtype), 2800, 3)
            backend.left["embed_backward"] = backend.left["scale_columns_backward"] = cases.often
            every_column(backend, np.dtype(dtype), backend.storage(dtype), 2800, 3)
            every_embedding(backend, np.dtype(dtype), backend.storage(dtype), 1100, 3)  # all warps of a block together
        launched |= backend.launched
    return launched


def planted(sanitizer: str, kernel: str) -> None:
    """One kernel ``(float* out, int n)`` of the folder that now holds the sources."""
    backend, out = EmulatedBackend("fp32", sanitizer), np.zeros(5, np.float32)
    backend.launch(kernel, "float32", (1,), (64,), out=out, n=out.size)
    print(kernel)


def main() -> None:
    os.environ.pop("LD_PRELOAD", None)  # the compiler is not to be checked
    sanitizer, *rest = sys.argv[1:]
    if rest:
        kernels.HERE = Path(rest[0])
        planted(sanitizer, rest[1])
        return
    compile_what_is_wanted(sanitizer)
    print(*sorted(run(sanitizer)))


if __name__ == "__main__":
    main()
