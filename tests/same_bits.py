"""A kernel on NumPy, called with compiled loops, and recorded and replayed once and twice: the same bits each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.numpy.backend import NumPyBackend
from recorded import RecordedBackend

Arrays = dict[str, Any]


def copy_of(arrays: Arrays) -> Arrays:
    """Arrays with the strides of the given ones, so that members that lie apart do so again; in other memory."""
    copies: Arrays = {}
    for name, array in arrays.items():
        base = array if array is None or array.base is None else array.base
        if array is None or array.flags.c_contiguous:
            copies[name] = None if array is None else array.copy()
        else:
            offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            copies[name] = np.ndarray(array.shape, array.dtype, base.copy(), offset, array.strides)
    return copies


def bits(array: Any) -> Any:
    """Equal for equal bits, but for those of a nan, whose sign and payload mean nothing."""
    if array is None or array.dtype.kind != "f":
        return None if array is None else array.tolist()
    return np.where(np.isnan(array), np.nan, array).tobytes()


def assert_same_bits(kernel: str, arrays: Arrays, step: Callable[[Any, Arrays], None], *, writes_over: bool) -> None:
    """``step(backend, arrays)`` calls the kernel alone; ``writes_over`` if it reads what it writes."""
    expected, called, replayed, twice = (copy_of(arrays) for _ in range(4))
    loaded = compiled.loaded()
    recorded, recorder = RecordedBackend(), LOOPS.programs.StepRecorder()
    with loaded.running():
        step(NumPyBackend(), expected)
        step(loaded, called)
        step(recorded, replayed)
        assert (recorded.replayed[kernel], recorded.called[kernel]) == (1, 0)
        if not writes_over:
            recorder.program(recorder.record(lambda: step(loaded, twice)))(2)
    for name, want in expected.items():
        assert bits(called[name]) == bits(want), f"{name} of {kernel} called"
        assert bits(replayed[name]) == bits(want), f"{name} of {kernel} replayed"
        assert writes_over or bits(twice[name]) == bits(want), f"{name} of {kernel} replayed twice"


def apart(array: Any) -> Any:
    """The same numbers (members, ...), with poison between one member and the next."""
    members, size = len(array), array[0].size
    room = np.full((members, size + 5), np.nan, array.dtype)
    room[:, 2 : 2 + size] = array.reshape(members, size)
    step = array.itemsize
    strides = ((size + 5) * step, *array[0].strides)
    return np.ndarray(array.shape, array.dtype, room, 2 * step, strides)
