"""The inner loops of NumPy's ufuncs, by address: with them a step without Python computes exp as NumPy does.

A ufunc object begins with the fields of ``PyUFuncObject`` in numpy/ufuncobject.h, which belong to NumPy's binary
interface. What can be known otherwise is compared before an address in it is used. An inner loop of numbers needs no
GIL: NumPy itself releases it.
"""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

import numpy as np

from chainrule.backends.compiled.state import NotCompiledError


class InnerLoop(NamedTuple):
    """``loop(addresses, count, strides, data)``."""

    address: int
    data: int


class _UfuncFields(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.c_byte * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("ntypes", ctypes.c_int),
        ("reserved1", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.c_void_p),
    )


@functools.cache
def inner_loop(ufunc: np.ufunc, kinds: str) -> InnerLoop:
    """The loop for these dtypes, "ff" for one from float32 to float32; NotCompiledError if it is not to be had."""
    signature = f"{kinds[: ufunc.nin]}->{kinds[ufunc.nin :]}"
    fields = _UfuncFields.from_address(id(ufunc))
    known = (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes)
    if (fields.nin, fields.nout, fields.nargs, fields.ntypes) != known or fields.name != ufunc.__name__.encode():
        raise NotCompiledError(f"NumPy {np.__version__}, which keeps the loops of its ufuncs in another way")
    if signature not in ufunc.types:
        raise NotCompiledError(f"dtypes of which numpy.{ufunc.__name__} has no loop: {signature}")
    number = ufunc.types.index(signature)
    table = ctypes.c_void_p * ufunc.ntypes
    address = table.from_address(fields.functions)[number]
    if not address:
        raise NotCompiledError(f"dtypes of which numpy.{ufunc.__name__} has no loop: {signature}")
    return InnerLoop(address, table.from_address(fields.data)[number] or 0)
