"""What goes into a batch: rows by their number, copies, conversions, standardisation, counters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from chainrule.backends.compiled.calls import (
    call,
    contiguous_parts,
    each_member,
    known_dtype,
    number,
    numbers_of,
    recording,
)
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.batches import FAR
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.batches import LARGEST

NUMBERS: Final = COMPILED_DTYPES + "?bBhHiIlLqQ"  # dtypes that loops read; numba has no float16 on a CPU


@with_fallback
def gather(
    self: NumPyBackend, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
) -> None:
    loops = LOOPS.batches
    has_members = order.ndim == 2
    for source, batch in zip(sources, out, strict=True):
        _refuse_unknown(source, batch)
    for source, batch in zip(sources, out, strict=True):
        rank = batch.ndim - has_members
        if rank > 2:
            source, batch = _with_flat_rows(source, rank), _with_flat_rows(batch, rank)  # noqa: PLW2901
            rank = 2
        take = loops.gather if rank == 2 else loops.gather_numbers
        for of_source, of_order, of_batch in each_member((source, rank), (order, 1), (batch, rank)):
            call(take, of_source, of_order, position, stride, 0, of_batch)
    call(loops.advance, position)


@with_fallback
def fill(self: NumPyBackend, value: float, *, out: Array) -> None:
    if recording() is None:  # NumPy needs no loop of ours for it, and none has to be compiled for one more dtype
        NumPyBackend.fill(self, value, out=out)
        return
    _refuse_unknown(out, out)
    for (part,) in contiguous_parts(out):
        call(LOOPS.batches.fill, part.reshape(-1), number(value, out.dtype))


@with_fallback
def copy(self: NumPyBackend, source: Array, *, out: Array) -> None:
    if recording() is None:
        NumPyBackend.copy(self, source, out=out)
        return
    loops = LOOPS.batches
    _refuse_unknown(source, out)
    if source.ndim < out.ndim:  # rows that all members share
        for of_member in each_member((source, source.ndim), (out, out.ndim - 1)):
            copy(self, of_member[0], out=of_member[1])
        return
    for of_source, of_out in contiguous_parts(source, out):
        if of_out.ndim < 2:
            call(loops.copy, of_source.reshape(-1), of_out.reshape(-1))
        else:
            call(loops.copy_rows, _as_matrix(of_source), _as_matrix(of_out))


@with_fallback
def standardize(
    self: NumPyBackend, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array
) -> None:
    loops = LOOPS.batches
    _refuse_unknown(x, out)
    if not mean.dtype == scale.dtype == np.float64 or out.dtype.kind != "f":
        raise NotCompiledError(f"a mean of dtype {mean.dtype}, into {out.dtype}")
    for of_x, of_out in contiguous_parts(x, out):
        matrices = _as_matrix(of_x), mean, scale, _as_matrix(of_out)
        if math.isfinite(limit):
            call(loops.standardize_within, *matrices, numbers_of((limit, min(FAR * limit, LARGEST)), np.float64))
        else:
            call(loops.standardize, *matrices)


@with_fallback
def scale_and_shift(self: NumPyBackend, x: Array, scale: Array, shift: Array, *, out: Array) -> None:
    known_dtype(x, scale, shift, out)
    for of_x, of_out in contiguous_parts(x, out):
        call(LOOPS.batches.scale_and_shift, _as_matrix(of_x), scale, shift, _as_matrix(of_out))


@with_fallback
def tick(self: NumPyBackend, state: Array, *, updates: int = 1) -> None:
    call(LOOPS.batches.tick, state, updates)


def _refuse_unknown(source: Array, out: Array) -> None:
    """NotCompiledError unless ``source`` can be converted to the dtype of ``out`` as NumPy does it."""
    one, other = source.dtype, out.dtype
    is_known = all(dtype.char in NUMBERS and dtype.isnative for dtype in (one, other))
    if not is_known or (one != other and (other.kind == "b" or (one.kind == "f" and other.kind != "f"))):
        raise NotCompiledError(f"{one} into {other}")


def _as_matrix(array: Array) -> Array:
    """The same memory with all axes but the last in one."""
    if not array.ndim:  # of rows that are not contiguous themselves
        raise NotCompiledError("numbers of a row that lie apart")
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def _with_flat_rows(array: Array, rank: int) -> Array:
    """The same memory as rows of numbers; ``rank`` is its number of dimensions without the model axis."""
    if not array.flags.c_contiguous:
        raise NotCompiledError(f"rows of {rank - 1} dimensions that lie apart")
    return array.reshape(*array.shape[: array.ndim - rank + 1], math.prod(array.shape[array.ndim - rank + 1 :]))
