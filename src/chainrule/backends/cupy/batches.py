"""Batches and the counters of a step: ``batches.cu``."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.capture.memory import address
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, KINDS
from chainrule.backends.cupy.members import blocks_of
from chainrule.backends.cupy.members import stride as stride_of

THREADS: Final = 256
BLOCKS_PER_MULTIPROCESSOR: Final = 12  # several times what fits at once, so that the last to finish are soon done
ARRAYS: Final = 3  # a launch gathers: features, targets, weights

# No kernel here is compiled for more than one choice of types: they take any.
VARIANT: Final = "float32"


class Form(enum.IntEnum):
    """How elements are moved, as in ``batches.cu``: bytes as they are, or converted, so many at a time."""

    COPY_1 = 0
    COPY_2 = 1
    COPY_4 = 2
    COPY_8 = 3
    COPY_16 = 4
    TO_FLOAT32 = 5
    TO_FLOAT64 = 6
    TO_BFLOAT16 = 7
    TO_INT32 = 8
    TO_FLOAT32_BY_4 = 9
    TO_BFLOAT16_BY_8 = 10
    TO_BFLOAT16_BY_4 = 11


_ONE_BY_ONE: Final[dict[np.dtype, Form]] = {
    np.dtype(np.float32): Form.TO_FLOAT32,
    np.dtype(np.float64): Form.TO_FLOAT64,
    BF16: Form.TO_BFLOAT16,
    np.dtype(np.int32): Form.TO_INT32,
}
_TOGETHER: Final[dict[np.dtype, tuple[Form, int]]] = {
    np.dtype(np.float32): (Form.TO_FLOAT32_BY_4, 4),
    BF16: (Form.TO_BFLOAT16_BY_8, 8),
}
_STANDARDIZED_TOGETHER: Final[dict[np.dtype, tuple[Form, int]]] = {
    np.dtype(np.float32): (Form.TO_FLOAT32_BY_4, 4),
    BF16: (Form.TO_BFLOAT16_BY_4, 4),
}


class Conversion(NamedTuple):
    """How an array goes to another: the form, the kind of its elements, and what a unit of work is."""

    form: Form
    kind: int
    units: int  # per row


def common_alignment(*sizes: int) -> int:
    """The largest power of two up to ``ACCESS`` that divides all of these addresses and sizes."""
    bits = ACCESS
    for size in sizes:
        bits |= size
    return bits & -bits


def _together(source: Array, out: Array, columns: int, forms: dict[np.dtype, tuple[Form, int]]) -> tuple[Form, int]:
    """The form that converts as many elements at a time as rows of ``columns`` allow, and how many."""
    form, count = forms.get(out.dtype, (_ONE_BY_ONE[out.dtype], 1))
    reads, writes = (min(ACCESS, count * array.dtype.itemsize) for array in (source, out))
    if columns % count or address(source) % reads or address(out) % writes:
        return _ONE_BY_ONE[out.dtype], 1
    return form, count


def conversion(source: Array, out: Array, columns: int) -> Conversion | None:
    """How rows of ``columns`` go from ``source`` to ``out``; None if no kernel can convert them."""
    if not (source.flags.c_contiguous and out.flags.c_contiguous):
        return None
    if source.dtype == out.dtype:
        size = columns * out.dtype.itemsize
        unit = common_alignment(size, address(source), address(out))
        return Conversion(Form(unit.bit_length() - 1), 0, size // unit)
    kind = KINDS.get(source.dtype)
    if kind is None or out.dtype not in _ONE_BY_ONE:
        return None
    form, count = _together(source, out, columns, _TOGETHER)
    return Conversion(form, kind, columns // count)


def log_lanes(units: int) -> int:
    """Binary logarithm of how many threads of a block take a row of ``units``: as many as units, to a power of two."""
    return min(max(units - 1, 0).bit_length(), THREADS.bit_length() - 1)


def bf16_bits(value: float) -> np.uint16:
    """The bits of a bfloat16: of float32, rounded to the upper half of them, to nearest and ties to even."""
    bits = int(np.float32(value).view(np.uint32))
    return np.uint16(0x7FC0 if math.isnan(value) else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def blocks_for(n: int, log_lanes: int, multiprocessors: int) -> int:
    """Blocks for ``n`` rows: enough that each row has its threads, or as many as keep the device busy."""
    return max(1, min(-(-(n << log_lanes) // THREADS), BLOCKS_PER_MULTIPROCESSOR * multiprocessors))


@with_fallback
def gather(
    self: Launcher, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
) -> None:
    if order.ndim == 1 or all(array.flags.c_contiguous for array in (*sources, *out)):
        _fetch(self, sources, order, position, stride, out, is_last=True)
        return
    for j, of_member in enumerate(zip(*out, strict=True)):
        own = [s[j] if s.ndim == o.ndim else s for s, o in zip(sources, out, strict=True)]
        _fetch(self, own, order[j], position, stride, of_member, is_last=j == len(order) - 1)


def _fetch(
    self: Launcher,
    sources: Sequence[Array],
    order: Array,
    position: Array,
    stride: int,
    out: Sequence[Array],
    *,
    is_last: bool,
) -> None:
    """The rows of one net, or of all members of an ensemble, whose arrays lie one behind the other.

    The last launch of a batch moves the position on: the others, which read it, come before.
    """
    axis = order.ndim - 1  # of the rows
    pairs = list(zip(sources, out, strict=True))
    found = [c for s, o in pairs if (c := conversion(s, o, math.prod(o.shape[axis + 1 :]))) is not None]
    if len(found) < len(pairs):
        raise NotFusedError(f"gather from {[s.dtype for s in sources]} to {[o.dtype for o in out]}")
    apart = [c.units * len(s[0]) if axis and s.ndim == o.ndim else 0 for c, (s, o) in zip(found, pairs, strict=True)]
    rows = _Rows(out[0].shape[axis], order, position, stride)
    for first in range(0, len(found), ARRAYS):
        part = slice(first, first + ARRAYS)
        rows = rows._replace(moves_on=is_last and part.stop >= len(found))
        _gather(self, sources[part], out[part], found[part], rows, apart[part])


class _Rows(NamedTuple):
    """Which rows a launch moves: those of an order from a position on, or the first ``n``."""

    n: int
    order: Array | None = None
    position: Array | None = None
    stride: int = 0  # of the position
    moves_on: bool = False  # whether the position is that of the next batch afterwards


def _gather(
    self: Launcher,
    sources: Sequence[Array],
    out: Sequence[Array],
    conversions: Sequence[Conversion],
    rows: _Rows,
    apart: Sequence[int] = (0,),
) -> None:
    """One launch for up to ``ARRAYS`` arrays; ``apart`` are units from a member's source to that of the next."""
    n, order, position, stride, moves_on = rows
    arguments: dict[str, Any] = {}
    blocks = 1
    for a in range(ARRAYS):
        is_used = a < len(conversions)
        form, kind, units = conversions[a] if is_used else Conversion(Form.COPY_1, 0, 0)
        lanes = log_lanes(units)
        blocks = max(blocks, blocks_for(n, lanes, self.multiprocessors))
        arguments |= {f"source{a}": sources[a] if is_used else None, f"out{a}": out[a] if is_used else None}
        arguments |= {f"form{a}": form, f"kind{a}": kind, f"units{a}": units, f"log_lanes{a}": lanes}
        arguments[f"source_stride{a}"] = apart[a] if is_used else 0
    members = () if order is None or order.ndim == 1 else (len(order),)
    self.launch(
        "gather",
        VARIANT,
        (blocks, len(conversions), *members),
        (THREADS,),
        order=order,
        position=position,
        next=position if moves_on else None,
        ticket=self.zeroed_scratch((1,), np.uint32, use="ticket of gather") if moves_on else None,
        stride=stride,
        n=n,
        order_stride=0 if order is None else stride_of(order, 1),
        **arguments,
    )


@with_fallback
def copy(self: Launcher, source: Array, *, out: Array) -> None:
    shared = source.ndim < out.ndim  # by all members
    for x, y in ((source, y) for y in out) if shared else blocks_of(source, out):
        found = conversion(x, y, y.size)
        if found is None:
            raise NotFusedError(f"copy from {source.dtype} to {out.dtype}")
        # A gather of all units in order, each a row by itself.
        _gather(self, [x], [y], [found._replace(units=1)], _Rows(found.units))


@with_fallback
def standardize(self: Launcher, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
    if x.ndim == 3 and not (x.flags.c_contiguous and out.flags.c_contiguous):
        for of_x, of_out in zip(x, out, strict=True):
            standardize(self, of_x, mean, scale, limit=limit, out=of_out)
        return
    wide = mean.dtype == scale.dtype == np.float64
    in_order = all(a.flags.c_contiguous for a in (x, mean, scale, out))
    if not (wide and in_order and x.dtype in KINDS and out.dtype in _ONE_BY_ONE and out.dtype.kind != "i"):
        raise NotFusedError(f"standardize from {x.dtype} by {mean.dtype} to {out.dtype}")
    n, n_in = math.prod(x.shape[:-1]), x.shape[-1]
    form, count = _together(x, out, n_in, _STANDARDIZED_TOGETHER)
    lanes = log_lanes(n_in // count)
    grid = (blocks_for(n, lanes, self.multiprocessors),)
    self.launch(
        "standardize",
        VARIANT,
        grid,
        (THREADS,),
        x=x,
        out=out,
        form=form,
        kind=KINDS[x.dtype],
        mean=mean,
        scale=scale,
        limit=limit,
        n=n,
        units=n_in // count,
        log_lanes=lanes,
    )


@with_fallback
def fill(self: Launcher, value: float, *, out: Array) -> None:
    for (part,) in blocks_of(out):
        _fill(self, value, part)


def _fill(self: Launcher, value: float, out: Array) -> None:
    unit = common_alignment(address(out), out.nbytes)
    if out.dtype not in KINDS or unit < out.dtype.itemsize or not out.flags.c_contiguous:
        raise NotFusedError(f"fill of {out.dtype}")
    pattern = bf16_bits(value) if out.dtype == BF16 else np.asarray(value).astype(out.dtype)
    low, high = np.frombuffer(pattern.tobytes() * (ACCESS // out.dtype.itemsize), "<u8")
    units = out.nbytes // unit
    grid, form = (blocks_for(units, 0, self.multiprocessors),), Form(unit.bit_length() - 1)
    self.launch("fill", VARIANT, grid, (THREADS,), out=out, form=form, low=low, high=high, units=units)


def tick(self: Launcher, state: Array, *, updates: int = 1) -> None:
    self.launch("tick", VARIANT, (1,), (32,), state=state, updates=updates)
