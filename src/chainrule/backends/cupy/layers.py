"""Products, activations and the backward pass through them: ``layers.cu``, with ``activations.cuh``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chainrule.backends.capture.memory import address
from chainrule.backends.contract.backend import BF16, ActivationName, Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.gemm.launching import relu_signs
from chainrule.backends.cupy.gemm.matrix_product import ProductArrays
from chainrule.backends.cupy.gemm.relu_border import ReluBorder, signs_bytes
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.members import blocks_of, ends, members_behind_another, stride
from chainrule.backends.cupy.strips import (
    THREADS,
    are_aligned,
    are_alike,
    element_splits,
    launch_strips,
    strips,
    sum_splits,
)

ACTIVATIONS: Final = {  # the numbers in activations.cuh
    "identity": 0, "relu": 1, "tanh": 2, "sigmoid": 3, "leaky_relu": 4, "elu": 5, "selu": 6, "softplus": 7, "gelu": 8,
    "gelu_tanh": 9, "silu": 10, "mish": 11,
}  # fmt: skip # a table of numbers

# A product may end with a bias and a ReLU of its own, which saves a pass over the result. Which products can, is
# decided by these two alone.
#
# dtypes of results. For float64, which is not there for speed, cublasLt's documentation promises no epilogue.
BIAS_IN_EPILOGUE = frozenset({np.dtype(np.float32), BF16})
# Nothing says whether cublasLt's ReLU leaves a nan as it is, and a net whose weights are no longer finite must not
# continue with a finite loss, unnoticed. So each product is asked (`Gemm.keeps_nan`), and one that does not is followed
# by a kernel: one more launch per hidden layer. With False here no product has a ReLU, nor its derivative.
RELU_IN_EPILOGUE = True

# ---- forward --------------------------------------------------------------------------------------


@with_fallback
def matmul(self: Launcher, a: Array, b: Array, *, out: Array) -> None:
    if not _are_matrices(a, b, out):
        raise NotFusedError(f"a product {a.shape} @ {b.shape} of {a.dtype}")
    self.multiply(ProductArrays(a, b, out))


@with_fallback
def activate(self: Launcher, activation: ActivationName, z: Array, *, out: Array) -> None:
    if z.dtype not in VARIANT_OF or z.dtype != out.dtype or not z.size:
        raise NotFusedError(f"{activation} of {z.dtype} into {out.dtype}")
    if activation == "identity" and address(z) == address(out):
        return
    for z_part, out_part in blocks_of(z, out):
        _activate(self, activation, z_part, out_part)


def _activate(self: Launcher, activation: ActivationName, z: Array, out: Array) -> None:
    wide = ACCESS // z.dtype.itemsize
    packs = z.size // wide if are_aligned(z, out) else 0
    blocks = -(-max(packs, z.size - packs * wide) // THREADS)
    self.launch(
        "activate",
        VARIANT_OF[z.dtype],
        (min(blocks, 8 * self.multiprocessors),),
        (THREADS,),
        activation=ACTIVATIONS[activation],
        z=z,
        out=out,
        packs=packs,
        count=z.size,
    )


@members_behind_another("z", "y")
@with_fallback
def dense(
    self: Launcher,
    x: Array,
    W: Array,
    b: Array,
    activation: ActivationName,
    *,
    z: Array,
    y: Array,
    signs: Array | None = None,
) -> None:
    if not _are_matrices(x, W, z, y):
        raise NotFusedError(f"a layer {x.shape} @ {W.shape} of {x.dtype}")
    if y.dtype not in BIAS_IN_EPILOGUE:
        self.multiply(ProductArrays(x, W, y))
        _bias_activate(self, activation, y, b, z=z, y=y)
        return
    product = ProductArrays(x, W, z, _aligned(self, b))
    relu = _may_be_in_epilogue(activation, y) and address(z) == address(y)
    with_signs = product._replace(signs=signs)
    if relu and signs is not None and self.keeps_nan(with_signs, "relu_aux_bias"):
        self.multiply(with_signs, "relu_aux_bias")
    elif relu and signs is not None:
        self.multiply(product, "bias")
        relu_signs(self, y, signs)
    elif relu and self.keeps_nan(product, "relu_bias"):
        self.multiply(product, "relu_bias")
    else:
        self.multiply(product, "bias")
        self.activate(activation, z, out=y)


def signs_per_row(
    self: Launcher, rows: int | None, n_in: int, width: int, n_out: int, *, activation: ActivationName, dtype: Any
) -> int:
    stored = self.storage(dtype)
    if activation != "relu" or not RELU_IN_EPILOGUE or stored not in BIAS_IN_EPILOGUE:
        return 0
    if rows is not None:
        border = ReluBorder(rows, n_in, width, n_out, VARIANT_OF[stored], VARIANT_OF[np.dtype(dtype)], self.precision)
        if not self.fuses_relu(border):
            return 0
    return signs_bytes(width)


def _may_be_in_epilogue(activation: ActivationName, y: Array) -> bool:
    """Whether the activation that gives y, and its derivative, may be part of a product."""
    return activation == "relu" and RELU_IN_EPILOGUE and y.dtype in BIAS_IN_EPILOGUE


def _aligned(self: Launcher, b: Array) -> Array:
    """``b``, whose epilogue reads 16 bytes at a time; a copy if it, or that of a member, starts elsewhere."""
    aligned = _in_aligned_memory(self, b)
    if aligned is not b:
        self.copy(b, out=aligned)
    return aligned


def _in_aligned_memory(self: Launcher, b: Array) -> Array:
    """``b`` if it, or that of each member, starts at a multiple of 16 bytes; else memory that does."""
    if are_aligned(*ends(b, 1)):
        return b
    wide, n_out = ACCESS // b.dtype.itemsize, b.shape[-1]
    padded = self.scratch((*b.shape[:-1], -(-n_out // wide) * wide), b.dtype, use="aligned biases")
    return padded[..., :n_out]


def _bias_activate(self: Launcher, activation: ActivationName, product: Array, b: Array, *, z: Array, y: Array) -> None:
    """z = product + b,   y = act(z).   product, z, y (n, n_out), which may be one memory; b (n_out,)."""
    over = strips(y, product, z, *ends(b, 1))
    launch_strips(
        self,
        "bias_activate",
        y,
        over,
        element_splits(y.shape[-2], over, self.multiprocessors),
        activation=ACTIVATIONS[activation],
        product=product,
        b=b,
        z=None if address(z) == address(y) else z,
        y=y,
        b_stride=stride(b, 1),
    )


# ---- sums -----------------------------------------------------------------------------------------


@with_fallback
def add(self: Launcher, a: Array, b: Array, *, out: Array) -> None:
    arrays = (a, b, out)
    parts = list(blocks_of(*arrays))
    if not (are_alike(*arrays) and all(array.flags.c_contiguous for part in parts for array in part)):
        raise NotFusedError(f"a sum of {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    for part in parts:
        _add(self, *part)


def _add(self: Launcher, a: Array, b: Array, out: Array) -> None:
    wide = ACCESS // out.dtype.itemsize
    packs = out.size // wide if are_aligned(a, b, out) else 0
    blocks = -(-max(packs, out.size - packs * wide) // THREADS)
    self.launch(
        "add",
        VARIANT_OF[out.dtype],
        (min(blocks, 8 * self.multiprocessors),),
        (THREADS,),
        a=a,
        b=b,
        out=out,
        packs=packs,
        count=out.size,
    )


# ---- backward -------------------------------------------------------------------------------------


@members_behind_another("saved", "dy", "dz")
@with_fallback
def activation_backward(
    self: Launcher, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array
) -> None:
    if not _are_matrices(dy, dz):
        raise NotFusedError(f"the backward pass through {activation} of {dy.dtype} {dy.shape}")
    is_identity = activation == "identity"
    over = strips(dy, dz, *([] if is_identity else [saved]))
    splits = sum_splits(dy.shape[-2], over, self.multiprocessors)
    several, members = splits > 1, 1 if dy.ndim == 2 else len(dy)
    launch_strips(
        self,
        "activation_backward",
        dy,
        over,
        splits,
        activation=ACTIVATIONS[activation],
        saved=None if is_identity else saved,
        dy=dy,
        dz=None if is_identity and address(dz) == address(dy) else dz,
        db=db,
        db_stride=stride(db, 1),
        partials=self.scratch((members, splits, dy.shape[-1]), db.dtype, use="sums of strips") if several else None,
        tickets=self.zeroed_scratch((members, over.number), np.uint32, use="tickets of strips") if several else None,
    )


@with_fallback
def matmul_activation_backward(
    self: Launcher,
    dz: Array,
    W: Array,
    activation: ActivationName,
    saved: Array,
    *,
    out: Array,
    db: Array,
    signs: Array | None = None,
) -> None:
    factor = W.swapaxes(-1, -2)
    if signs is None or not _may_be_in_epilogue(activation, out):
        self.matmul(dz, factor, out=out)
        self.activation_backward(activation, saved, out, dz=out, db=db)
    elif self.sums_in_product(_way_back(self, dz, out, db)):
        sums = _in_aligned_memory(self, db)
        self.multiply(ProductArrays(dz, factor, out, sums, signs), "drelu_bgrad")
        if sums is not db:
            self.copy(sums, out=db)
    else:
        self.multiply(ProductArrays(dz, factor, out, None, signs), "drelu")
        self.activation_backward("identity", out, out, dz=out, db=db)  # db alone


def _way_back(self: Launcher, dz: Array, out: Array, db: Array) -> ReluBorder:
    rows, width = out.shape[-2:]
    return ReluBorder(rows, 0, width, dz.shape[-1], VARIANT_OF[out.dtype], VARIANT_OF[db.dtype], self.precision)


def _are_matrices(*arrays: Array) -> bool:
    """Whether there is something to do, on two axes or those of members, in dtypes that the kernels know."""
    return all(array.ndim in {2, 3} and array.dtype in VARIANT_OF and array.size for array in arrays)
