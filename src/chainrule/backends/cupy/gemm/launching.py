"""A planned product as launches: one, or if its k is in parts two, of the parts and of their sum."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

from chainrule.backends.capture.memory import address, spans
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.gemm.cublaslt import PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import ITEM_SIZES, MatrixProduct, ProductArrays
from chainrule.backends.cupy.gemm.split_product import SplitProduct
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF

Plan: TypeAlias = PlannedProduct | SplitProduct

THREADS: Final = 256  # of a block
ELEMENTS: Final = 32  # of the result, of a block of sum_of_parts


def multiply(backend: Launcher, product: MatrixProduct, plan: Plan, arrays: ProductArrays) -> None:
    """Launch ``product`` of these arrays, by a plan of it or of one of its members, computed one after the other."""
    if isinstance(plan, SplitProduct):
        _multiply_in_parts(backend, product, plan, arrays)
        return
    addresses = [0 if array is None else address(array) for array in arrays]
    start = functools.partial(_run_each, plan, _addresses_of_members(product, plan.product, addresses))
    reads, writes = arrays.spans(product.epilogue)
    backend.submit(Launch(("product", product, *addresses), start, reads, writes, arrays.present))


def _multiply_in_parts(backend: Launcher, product: MatrixProduct, plan: SplitProduct, arrays: ProductArrays) -> None:
    a, b, out, *_ = arrays
    members, count = product.members, product.m * product.n
    parts = backend.scratch((members, plan.parts, count), np.dtype(plan.accumulator), use="parts of products")
    addresses = [address(a), address(b), address(parts)]
    into = product._replace(out_stride=plan.parts * count, result=plan.accumulator)
    start = functools.partial(_run_each, plan, _addresses_of_members(into, plan.product, addresses))
    key = ("parts of a product", product, plan.length, *addresses)
    backend.submit(Launch(key, start, spans(a) + spans(b), spans(parts), (a, b, parts)))
    sum_of_parts(backend, parts, out, out_stride=product.out_stride)


def sum_of_parts(backend: Launcher, parts: Array, out: Array, *, out_stride: int = 0) -> None:
    """out = sum_p( parts[:, p] ), by a fixed order.   parts (members, p, count), out of members * count elements."""
    members, number, count = parts.shape
    backend.launch(
        "sum_of_parts",
        VARIANT_OF[out.dtype],
        (-(-count // ELEMENTS), members),
        (THREADS,),
        parts=parts,
        out=out,
        number=number,
        count=count,
        out_stride=out_stride,
    )


def relu_signs(backend: Launcher, y: Array, signs: Array) -> None:
    """y = max(y, 0) and signs = [y > 0], as a product with the epilogue relu_aux_bias has them; a nan stays one.

    y (..., n, width), signs (..., n, bytes), C-contiguous.
    """
    columns = y.shape[-1]
    rows, bytes_used = y.size // columns, -(-columns // 8)
    backend.launch(
        "relu_signs",
        VARIANT_OF[y.dtype],
        (min(-(-rows * bytes_used // THREADS), 8 * backend.multiprocessors),),
        (THREADS,),
        y=y,
        signs=signs,
        rows=rows,
        columns=columns,
        step=signs.shape[-1],
        vector=columns * y.dtype.itemsize % ACCESS == 0 and address(y) % ACCESS == 0,
    )


def _addresses_of_members(
    product: MatrixProduct, planned: MatrixProduct, addresses: Sequence[int]
) -> list[tuple[int, ...]]:
    """The addresses for each run of what is planned: one, or if that is one member of several one for each."""
    runs = product.members // planned.members
    strides = (product.a_stride, product.b_stride, product.out_stride, product.bias_stride)
    dtypes = (product.operands, product.operands, product.result, product.result)
    steps = [stride * ITEM_SIZES[dtype] for stride, dtype in zip(strides, dtypes, strict=True)]
    steps.append(product.signs_stride // 8)
    return [tuple(at + j * step for at, step in zip(addresses, steps, strict=False)) for j in range(runs)]


def _run_each(plan: Plan, addresses: Sequence[tuple[int, ...]], stream: StreamHandle) -> None:
    """Queue a plan for each of these, with the stream's workspace."""
    for each in addresses:
        plan.run(*each, stream=stream.stream, workspace=stream.workspace, workspace_size=stream.workspace_size)
