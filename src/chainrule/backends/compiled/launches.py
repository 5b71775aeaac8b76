"""Launches of the CPU: a compiled loop, an inner loop of NumPy or a product, bound to its arguments.

A launch is called by :func:`chainrule.backends.compiled.loops.replay.replay`: the address of a function, and the
*words*, integers of 64 bits that it is called with. All functions follow C's calling convention, and all arguments are
integers or addresses, so one form of call does for all of them.

* A loop of numba: a place for its result and one for an error, then the arguments; an array is five words, its shape
  and its strides (numba's own layout, which :func:`address_of` compares with what numba has compiled).
* An inner loop of a ufunc: the addresses of the arrays, of the number of elements, of the strides, and data of its own.
* A product: :mod:`chainrule.backends.compiled.products`.
"""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numba
import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.capture.memory import Span, address, spans
from chainrule.backends.compiled import ufuncs
from chainrule.backends.compiled.calls import refuse_other_lengths
from chainrule.backends.compiled.jit import Form
from chainrule.backends.compiled.state import NotCompiledError
from chainrule.backends.contract.arrays import Array

_type_of_array: Any = numba.typeof
_types: Final[dict[tuple[Any, ...], Any]] = {}  # of arrays: to ask numba takes 50 us

WORD: Final = 8  # bytes
PER_ELEMENT: Final = 5e-5  # microseconds that a loop takes for an element that it reads or writes, or about that
FLOPS: Final = 1.3e5  # operations of a product in a microsecond, or about that

# Where a loop leaves that it has no result, and would leave an error. No one reads it.
_RESULT: Final = np.zeros(16, np.int64)
RESULT_AND_ERROR: Final = (_RESULT.ctypes.data, _RESULT.ctypes.data + 64)


class Words(NamedTuple):
    """What a function is called with, and which of these are addresses of others of them, as offsets in bytes."""

    values: Sequence[int]
    offsets: tuple[int, ...] = ()


class Launch(abc.ABC):
    """A function of the processor with its arguments, arrays and integers."""

    grain = 1  # units of rows at a multiple of which its parts end
    form: Form  # which arguments are written, and which are cut into parts: see jit.Form

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def is_of(self, function: Any, arguments: tuple[Any, ...]) -> bool:
        """Whether it is of this function on the same memory."""
        if self.function is not function or len(self.arguments) != len(arguments):
            return False
        for one, other in zip(self.arguments, arguments, strict=True):
            if one is not other and not _is_same(one, other):
                return False
        return True

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.function, *(_place(a) if isinstance(a, np.ndarray) else a for a in self.arguments))

    @abc.abstractmethod
    def address(self) -> int:
        """Of the function."""

    @functools.cached_property
    @abc.abstractmethod
    def words(self) -> Words:
        """What it is called with."""

    @functools.cached_property
    def cost(self) -> float:
        """About how long it takes one thread, in microseconds."""
        touched = (a for place, a in enumerate(self.arguments) if place not in self.form.picked)
        times = self.arguments[self.form.each].size if self.form.each >= 0 else 1
        return times * sum(a.size for a in touched if isinstance(a, np.ndarray)) * PER_ELEMENT

    # ---- memory and parts --------------------------------------------------------------------------

    @functools.cached_property
    def reads(self) -> tuple[Span, ...]:
        """All that it touches: most of what is written is read before."""
        return tuple(itertools.chain.from_iterable(self._spans))

    @functools.cached_property
    def writes(self) -> tuple[Span, ...]:
        return tuple(part for place in self.form.writes for part in self._spans[place])

    @functools.cached_property
    def _spans(self) -> list[tuple[Span, ...]]:
        """Of each argument."""
        return [spans(a) if isinstance(a, np.ndarray) else () for a in self.arguments]

    @property
    def rows(self) -> int:
        """How many rows may be divided; 0 if none."""
        return len(self.arguments[self.form.rows[0]]) if self.form.rows else 0

    def part(self, start: int, stop: int) -> Launch:
        """The launch of these rows alone."""
        arguments = list(self.arguments)
        for place in self.form.rows:
            arguments[place] = arguments[place][start:stop]
        if self.form.first >= 0:
            arguments[self.form.first] += start
        part = type(self)(self.function, tuple(arguments))
        part.cost = self.cost * (stop - start) / self.rows  # it may touch all of an array that is not cut, in part
        return part


class LoopLaunch(Launch):
    """A loop of numba."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__(function, arguments)
        self.form = function.form
        refuse_other_lengths(function, arguments)
        self._address = address_of(function, tuple(map(type_of, arguments)))  # compiled here, before any of it runs

    def address(self) -> int:
        return self._address

    @functools.cached_property
    def words(self) -> Words:
        return Words([*RESULT_AND_ERROR, *words_of(self.arguments)])


class UfuncLaunch(Launch):
    """An inner loop of NumPy, on arrays of one shape that are contiguous; the last is written."""

    def __init__(self, function: np.ufunc, arguments: tuple[Array, ...]) -> None:
        super().__init__(function, arguments)
        self.form = _form_of_ufunc(len(arguments))
        if len({a.shape for a in arguments}) > 1:  # NumPy would repeat one, an inner loop goes beyond its end
            raise NotCompiledError(f"arrays of shapes {[a.shape for a in arguments]}")
        self._inner = ufuncs.inner_loop(function, "".join(a.dtype.char for a in arguments))

    def address(self) -> int:
        return self._inner.address

    @functools.cached_property
    def words(self) -> Words:
        arrays = self.arguments
        addresses = 4 * WORD
        count = addresses + len(arrays) * WORD
        call = [addresses, count, count + WORD, self._inner.data]
        return Words([*call, *map(address, arrays), arrays[0].size, *(a.itemsize for a in arrays)], (0, 1, 2))


@functools.cache
def _form_of_ufunc(count: int) -> Form:
    return Form((count - 1,), tuple(range(count)), -1)


def words_of(arguments: Sequence[Any]) -> list[int]:
    """Arrays and integers as numba lays them out."""
    found: list[int] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            found += [0, 0, argument.size, argument.itemsize, address(argument)]
            found += [*argument.shape, *argument.strides]
        else:
            found.append(int(argument))
    return found


@functools.cache
def address_of(loop: Any, types: tuple[Any, ...]) -> int:
    """The address of a loop for arguments of these types; it is compiled if need be."""
    loop.compile(types)
    compiled = loop.overloads[types]
    called_with = compiled.target_context.call_conv.get_function_type(compiled.fndesc.restype, compiled.fndesc.argtypes)
    expected = 2 + sum(1 if isinstance(t, numba.types.Integer) else 5 + 2 * t.ndim for t in types)
    if len(called_with.args) != expected or any(_is_no_word(kind) for kind in called_with.args):
        raise NotRecordableError(f"numba {numba.__version__} calls {loop.__name__} in another way: {called_with}")
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def _is_no_word(kind: Any) -> bool:
    return not (kind.is_pointer or str(kind) == "i64")


def type_of(argument: Any) -> Any:
    """The type that numba compiles for; TypeError for what stands in no integer register."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        form = argument.dtype, argument.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned
        if form not in _types:
            _types[form] = _type_of_array(argument)
        return _types[form]
    if isinstance(argument, int | np.integer):  # a bool too
        return numba.types.int64
    raise TypeError(f"expected arrays and integers, got {type(argument).__name__}")


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _place(one) == _place(other)
    return not isinstance(one, np.ndarray) and not isinstance(other, np.ndarray) and bool(one == other)


def _place(array: Array) -> tuple[Any, ...]:
    """Where an array lies, and how."""
    return address(array), array.shape, array.strides, array.dtype
