"""Calls of compiled loops, ufuncs and products: done at once or, while a step is recorded, written down.

What an operation of this folder does, it does by these functions, so that its text is the same for both. A recording is
of one thread. Its scratch memory belongs to the step, so that steps of several threads have each their own.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.layers import multiply


class Recording:
    """What a step has launched so far.

    Parameters
    ----------
    known : what it launched when it was recorded before; a launch that is the same again is not made anew
    memory : of the step, from one recording to the next: its scratch memory by use, shape and dtype, and views
    threads : that may replay the step: so many members have scratch memory of their own, and need not wait
    """

    def __init__(self, known: Sequence[Any], memory: dict[Any, Any], threads: int = 1) -> None:
        self.launches: list[Any] = []
        self.memory = memory
        self.members = 1  # the most that a kernel was launched for
        self.member = 0  # for which it is launched now
        self._known, self._threads = known, threads

    def add(self, kind: Callable[[Any, tuple[Any, ...]], Any], function: Any, arguments: tuple[Any, ...]) -> None:
        """Write down a launch."""
        number = len(self.launches)
        if number < len(self._known) and self._known[number].is_of(function, arguments):
            self.launches.append(self._known[number])
        else:
            self.launches.append(kind(function, arguments))

    def scratch(self, shape: tuple[int, ...], dtype: Any, use: Any, make: Callable[..., Array]) -> Array:
        """The memory of this member for this use; a matrix is shared with members that another thread has not."""
        apart = 1 if self._threads == 1 else self.members if len(shape) < 2 else self._threads
        place = "scratch", use, shape, dtype, self.member % apart
        if place not in self.memory:
            self.memory[place] = make(shape, dtype)
        found: Array = self.memory[place]
        return found

    def views(self, array: Array) -> list[Array]:
        """The entries of its first axis: the same objects every time, which makes them quick to compare."""
        # By its place: a step may make the array anew each time, as it does transposed ones. The views keep the memory.
        place = "views", array.__array_interface__["data"][0], array.shape, array.strides, array.dtype
        if place not in self.memory:
            self.memory[place] = list(array)
        found: list[Array] = self.memory[place]
        return found


class _OfThread(threading.local):
    recording: Recording | None = None


_thread = _OfThread()


def recording() -> Recording | None:
    """The recording that this thread is making, if it makes one."""
    return _thread.recording


def record(step: Callable[[], None], known: Sequence[Any], memory: dict[Any, Any], *, threads: int = 1) -> Recording:
    """What ``step`` launches, in order, without doing any of it; NotRecordableError if it does what is no launch."""
    outer, made = _thread.recording, Recording(known, memory, threads)
    _thread.recording = made
    try:
        step()
    finally:
        _thread.recording = outer
    return made


class no_recording(contextlib.AbstractContextManager[None]):  # noqa: N801 - it is called in a with statement
    """What is asked for within is done, also if this thread is recording: by a signal handler that predicts, say."""

    def __enter__(self) -> None:
        self._outer, _thread.recording = _thread.recording, None

    def __exit__(self, *error: object) -> None:
        _thread.recording = self._outer


def refuse_in_recording(what: str) -> None:
    """NotRecordableError if a step is being recorded: for what is not made of launches alone."""
    if _thread.recording is not None:
        raise NotRecordableError(f"{what} has no compiled loop")


def call(loop: Any, *arguments: Any) -> None:
    """``loop(*arguments)``, arrays and integers."""
    if _thread.recording is None:
        refuse_other_lengths(loop, arguments)
        loop(*arguments)
    else:
        _thread.recording.add(LOOPS.launches.LoopLaunch, loop, arguments)


def refuse_other_lengths(loop: Any, arguments: Sequence[Any]) -> None:
    """ValueError if the arrays that are worked through row by row differ in length: a loop would go beyond an end."""
    rows = loop.form.rows
    for place in rows[1:]:
        if len(arguments[place]) != len(arguments[rows[0]]):
            lengths = [len(arguments[place]) for place in rows]
            raise ValueError(f"{loop.__name__}: expected arrays of one length, got {lengths}")


def call_ufunc(ufunc: np.ufunc, *inputs: Array, out: Array) -> None:
    """``ufunc(*inputs, out=out)`` of arrays of one shape and dtype; members may lie apart."""
    if _thread.recording is None:
        ufunc(*inputs, out=out)
        return
    for arrays in contiguous_parts(*inputs, out):
        _thread.recording.add(LOOPS.launches.UfuncLaunch, ufunc, arrays)


def call_product(a: Array, b: Array, out: Array) -> None:
    """out = a @ b of matrices, or of those of each member."""
    for of_member in each_member((a, 2), (b, 2), (out, 2)):
        if _thread.recording is None:
            multiply(*of_member)
        else:
            _thread.recording.add(*LOOPS.products.product_of(*of_member))


def contiguous_parts(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays, as often divided along their first axis as it takes to be contiguous."""
    for array in arrays:
        if not array.flags.c_contiguous:
            if any(each.ndim < 2 for each in arrays):
                raise NotCompiledError(f"arrays with gaps between their numbers, of shape {array.shape}")
            for parts in zip(*map(_views, arrays), strict=True):
                yield from contiguous_parts(*parts)
            return
    yield arrays


def each_member(*arrays: tuple[Array | None, int]) -> Iterator[tuple[Any, ...]]:
    """The arrays of each member in turn, or all as they are if none has the model axis.

    Each is given with its dimensions for one net: an array without an axis more is shared, as is None.
    """
    of_members = [array is not None and array.ndim > rank for array, rank in arrays]
    if not any(of_members):
        yield tuple([array for array, _ in arrays])
        return
    members = next(len(array) for array, rank in arrays if array is not None and array.ndim > rank)
    made = _thread.recording
    each = zip(
        *(
            _views(array) if has else itertools.repeat(array, members)
            for (array, _), has in zip(arrays, of_members, strict=True)
        ),
        strict=True,
    )
    for member, of_member in enumerate(each):
        if made is not None:
            made.members, made.member = max(made.members, members), member
        yield of_member
    if made is not None:
        made.member = 0


def _views(array: Array) -> Sequence[Array]:
    return array if _thread.recording is None else _thread.recording.views(array)


def number(value: float, dtype: Any) -> Array:
    """(1,): a number that is not an integer, as loops take it."""
    return numbers_of((value,), dtype)


def numbers_of(values: tuple[float, ...], dtype: Any) -> Array:
    """Numbers that are the same in every step; the same memory for the same numbers, not to be written to."""
    return _numbers_of(values, tuple([math.copysign(1.0, value) for value in values]), dtype)  # 0.0 is no -0.0


@functools.lru_cache(maxsize=4096)
def _numbers_of(values: tuple[float, ...], signs: tuple[float, ...], dtype: Any) -> Array:
    array: Array = np.array(values, dtype)
    array.flags.writeable = False
    return array


def known_dtype(*arrays: Array) -> None:
    """NotCompiledError unless all are of one dtype that loops know."""
    dtype = arrays[0].dtype
    if dtype.char in COMPILED_DTYPES:
        for array in arrays:
            if array.dtype is not dtype and array.dtype != dtype:
                break
        else:
            return
    raise NotCompiledError(f"arrays of dtype {', '.join(sorted({str(array.dtype) for array in arrays}))}")
