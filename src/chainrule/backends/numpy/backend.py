"""The CPU body: the reference kernels on NumPy, with what only a host can do.

A host may look at its own memory for free, so scalars are read where the reference takes array detours; flat arrays
are worked through in pieces that stay in the cache; intermediate results reuse one buffer a thread.
"""

from __future__ import annotations

import contextlib
import math
import platform
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.backends.contract.arrays import EmbeddingPlan
from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, WEIGHT, Array
from chainrule.backends.numpy import blas
from chainrule.backends.reference.backend import ReferenceBackend
from chainrule.backends.reference.normalization import BATCH_SHIFT, threshold
from chainrule.backends.reference.philox import philox4x32_in_place
from chainrule.errors import DataError, DeviceError

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
LARGE = 1 << 20  # elements looked at at a time where nothing is written
CHUNK = 16_384  # elements of a flat array at a time; seven float32 arrays of it fit a 1 MiB second-level cache
_BLOCKS = np.arange(CHUNK // 4, dtype=np.uint64)  # of Philox, four words each
_WORD = 0xFFFFFFFF

# A buffer a thread and use, so that threads which share a backend do not share memory, and none is pickled with it.
_buffers = threading.local()


class NumPyBackend(ReferenceBackend):
    """NumPy on the CPU."""

    name = "numpy"
    device = "cpu"
    working_set = 1 << 20  # products of fewer rows run slower, activations beyond a few MiB leave the cache
    xp = np

    def __repr__(self) -> str:
        return f"<chainrule backend {self.name} on {self.device}>"

    # ---- memory and execution ---------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        raw = np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)

    def upload(self, values: Any, dtype: Any = None) -> Array:
        if not isinstance(values, np.ndarray) and hasattr(values, "__cuda_array_interface__"):
            raise DeviceError(
                f"the array lives on a GPU and the net on {self.device}",
                hint="copy it to the host first (CuPy: x.get()), or build the net with backend=cr.backend('cuda')",
            )
        return np.asarray(as_host_array(values), dtype=dtype, order="C")

    def assign(self, values: Any, *, out: Array) -> None:
        out[...] = values

    def download(self, array: Array) -> np.ndarray:
        return np.array(array)

    def running(self) -> contextlib.AbstractContextManager[None]:
        # The types of numpy call errstate a class of its own; it is the context manager asked for.
        return np.errstate(all="ignore")

    def fingerprint(self) -> dict[str, str | int]:
        numbers = {"numpy": np.__version__, "processor": platform.machine()}
        return {**super().fingerprint(), **numbers, "blas": blas.core_name(), "blas threads": blas.threads()}

    def synchronize(self) -> None:
        """Nothing is ever under way: a NumPy call returns when it is done."""

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        count = math.prod(shape)
        held: dict[Any, Array] = _buffers.__dict__
        buffer = held.get((use, dtype))  # a name made of the dtype would take longer to spell than the kernel to run
        if buffer is None or buffer.size < count:
            buffer = held[use, dtype] = self.empty((count,), dtype)
        return buffer[:count].reshape(shape)

    def _parts(self, size: int) -> Iterator[slice]:
        return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))

    def _rows(self, n: int) -> Array:
        rows = getattr(_buffers, "rows", None)
        if rows is None or rows.size < n:
            rows = _buffers.rows = np.arange(n)
        return rows[:n]

    # ---- kernels that gain from being on the host -------------------------------------------------

    def matmul(self, a: Array, b: Array, *, out: Array) -> None:
        if a.shape[-1] == 1:
            np.multiply(a, b, out=out)  # an outer product: OpenBLAS needs six times as long for it
        else:
            np.matmul(a, b, out=out)

    def gather(
        self, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
    ) -> None:
        start = int(position[0]) * stride
        rows = order[start : start + len(out[0])]
        for source, batch in zip(sources, out, strict=True):
            if source.dtype == batch.dtype:
                # mode="clip" is the one that writes straight into `out`; the rows are in range by contract.
                source.take(rows, axis=0, out=batch, mode="clip")
            else:
                taken = self._scratch(batch.shape, source.dtype, use="gather")
                source.take(rows, axis=0, out=taken, mode="clip")
                batch[...] = taken
        position[0] += 1

    def dropout(
        self, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
    ) -> None:
        flat, result = x.reshape(-1), out.reshape(-1)
        c0, c1, c2, c3, p0, p1 = self._scratch((6, CHUNK // 4), np.uint64, use="philox")
        drops = self._scratch((CHUNK // 4, 4), np.bool_, use="drops")
        least, factor, now = np.uint64(threshold(rate)), x.dtype.type(1 / (1 - rate)), self._counter_now(state, counter)
        for start in range(0, x.size, CHUNK):
            np.add(_BLOCKS, np.uint64(start // 4), out=c0)
            for word, value in zip((c1, c2, c3), now, strict=True):
                word.fill(value)
            philox4x32_in_place(np, (c0, c1, c2, c3), key, p0, p1)
            for j, word in enumerate((c0, c1, c2, c3)):
                np.less(word, least, out=drops[:, j])
            part = result[start : start + CHUNK]
            np.multiply(flat[start : start + CHUNK], factor, out=part)
            np.copyto(part, 0, where=drops.reshape(-1)[: part.size])

    def _counter_now(self, state: Array, counter: tuple[int, int]) -> tuple[int, int, int]:
        step, batch = int(state[STEP]), int(state[BATCH])
        return step & _WORD, (counter[0] + (batch << BATCH_SHIFT)) & _WORD, counter[1]

    def first_nonfinite(self, x: Array) -> int | None:
        if not x.size:
            return None
        width = int(x.size) // len(x)
        step = max(1, LARGE // width)
        for start in range(0, len(x), step):  # the answers for all of a large table would be a quarter of it
            finite = np.isfinite(x[start : start + step])
            if not finite.all():
                return start * width + int(finite.argmin())
        return None

    def embed(
        self, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
    ) -> None:
        self._pass_numbers(x, plan, y=y)
        for t, table in enumerate(plan.tables):
            part = y[:, table.at : table.at + table.width]
            codes[:, t] = x[:, table.column].real
            rows = self._scratch((len(x),), np.intp, use="codes")
            rows[...] = codes[:, t]
            found = self._scratch(part.shape, y.dtype, use="vectors")
            self._vectors(tables, table).take(rows, axis=0, out=found, mode="clip")  # writes straight into `out`
            part[...] = found
            if means is not None and (unseen := rows == table.rows).any():
                part[unseen] = self._mean_of(means, plan, table)

    def embed_backward(self, dy: Array, codes: Array, plan: EmbeddingPlan, *, dtables: Array) -> None:
        for t, table in enumerate(plan.tables):
            n, width = len(dy), table.width
            part = self._scratch((n, width), dy.dtype, use="vectors")
            part[...] = dy[:, table.at : table.at + width]
            places = self._scratch((n, width), np.intp, use="places")
            rows = self._scratch((n,), np.intp, use="codes")
            rows[...] = codes[:, t]
            np.multiply(rows, width, out=rows)
            lanes = self._scratch((n, width), np.intp, use="lanes")
            # Copied out first: a sum that broadcasts asks for a buffer of its own each time.
            places[...], lanes[...] = rows[:, None], self._rows(width)
            np.add(places, lanes, out=places)
            gradient = dtables[table.start : table.start + table.rows * width]
            gradient[...] = 0
            np.add.at(gradient, places.reshape(-1), part.reshape(-1))  # one by one, row after row

    def _record(self, loss: Array, weight: Array | int, state: Array, totals: Array) -> None:
        row = totals[state[BATCH]]
        row[LOSS] = loss
        row[WEIGHT] = weight
        if state[HALTED] == RUNNING and not np.isfinite(loss):
            state[HALTED] = state[STEP]

    def _learning_rate(self, lr: Array, state: Array, factor: float) -> Array:
        rate = lr[min(state[BATCH], len(lr) - 1)] * factor
        return rate if state[HALTED] == RUNNING else np.float64(0.0)

    def _corrected(
        self, rate: Array, state: Array, beta1: float, beta2: float, eps: float, dtype: Any, eps_hat: bool
    ) -> tuple[Array, Array]:
        # An array of one for the powers: NumPy's array loop and the C library round them differently, and all bodies
        # are to train the same weights.
        power1, power2 = np.power((beta1, beta2), float(state[STEP] + 1))
        root = math.sqrt(1 - power2)
        return dtype.type(rate * root / (1 - power1)), dtype.type(eps if eps_hat else eps * root)

    def accumulate(self, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array) -> None:
        batch = int(state[BATCH])
        first = batch - batch % group
        if batch == first:
            np.copyto(out, grads)
        elif mean:
            # Backwards and one by one, as the reference adds them: the order decides the last bit.
            weight = totals[first : batch + 1, WEIGHT][::-1].cumsum()[-1]
            self._approach(grads, out.dtype.type(totals[batch, WEIGHT] / (weight or 1)), out)
        else:
            np.add(out, grads, out=out)

    def average(self, params: Array, state: Array, *, decay: float, out: Array) -> None:
        if state[HALTED] == RUNNING:
            t = float(state[STEP] + 1)
            self._approach(params, out.dtype.type(1 - min(decay, (1 + t) / (10 + t))), out)

    def _approach(self, target: Array, share: Any, out: Array) -> None:
        """out += (target - out) share."""
        for part in self._parts(out.size):
            step = self._scratch(out[part].shape, out.dtype, use="step")
            np.subtract(target[part], out[part], out=step)
            np.multiply(step, share, out=step)
            np.add(out[part], step, out=out[part])

    def tick(self, state: Array, *, updates: int = 1) -> None:
        state[STEP] += updates
        state[BATCH] += 1

    def _subtract(self, params: Array, update: Array, state: Array) -> None:
        if state[HALTED] == RUNNING:
            np.subtract(params, update, out=params)


def as_host_array(values: Any) -> np.ndarray:
    """``values`` as a NumPy array without a copy where possible; DataError where they are not a regular array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"not a regular array of numbers: {error}") from error
