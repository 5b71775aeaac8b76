"""What happens to arguments that no compiled loop was written for, and to loops that cannot be had: NumPy computes.

An operation of this folder is a function of the backend. It calls loops and ufuncs by :mod:`calls` alone, and raises
:class:`NotCompiledError`, before it calls any, if it does not know the given arguments.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled.calls import record, recording, refuse_in_recording
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.numpy.backend import NumPyBackend

# What is named for the user's sake: all else is a method of the contract.
OF_USER: Final = {"apply": "a custom activation", "custom_loss": "a custom loss"}


def with_fallback(operation: Callable[..., None]) -> Callable[..., None]:
    """``operation`` once the loops are loaded; else, and if it raises NotCompiledError, NumPy's method of its name.

    All its loops are compiled before the first of them runs: where one cannot be, NumPy finds everything as it was.
    NotRecordableError if a step is being recorded: what NumPy does is no list of launches.
    """
    return falling_back_to(getattr(NumPyBackend, operation.__name__), operation)


def falling_back_to(of_numpy: Callable[..., None], operation: Callable[..., None]) -> Callable[..., None]:
    """As :func:`with_fallback`, if NumPy computes it in a form of its own until the loops are loaded."""

    @functools.wraps(operation)
    def method(self: NumPyBackend, /, *args: Any, **options: Any) -> None:
        what = operation.__name__
        if LOOPS.is_loaded:
            try:
                if recording() is None:
                    _compile_for(functools.partial(operation, self, *args, **options), what, args, options)
                operation(self, *args, **options)
                return
            except NotCompiledError as error:
                what = f"{what} of {error}"
            except NotRecordableError:  # one of the operations that it is made of has no loop for its arguments
                if recording() is not None:
                    raise
            except Exception as error:
                LOOPS.withdraw(error)
        refuse_in_recording(what)
        of_numpy(self, *args, **options)

    return method


def refused_in_recording(name: str) -> Callable[..., Any]:
    """NumPy's method of this name, for an operation without compiled loops."""
    of_numpy: Callable[..., Any] = getattr(NumPyBackend, name)

    @functools.wraps(of_numpy)
    def method(self: NumPyBackend, /, *args: Any, **options: Any) -> Any:
        refuse_in_recording(OF_USER.get(name, name))
        return of_numpy(self, *args, **options)

    return method


def _compile_for(call: Callable[[], None], name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """What is recorded is compiled and not run."""
    kind = name, *_kinds((*args, *options.values()))
    if kind not in LOOPS.compiled:
        record(call, (), {})
        LOOPS.compiled.add(kind)


def _kinds(values: Iterable[Any]) -> Iterator[Any]:
    """What decides which loops are called, and with which types."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value.dtype.char, value.ndim, 1 in value.shape, value.flags.c_contiguous, value.flags.writeable
        elif isinstance(value, list | tuple):
            yield from _kinds(value)
        elif value is None or isinstance(value, str | bool):
            yield value
        elif isinstance(value, int | float):  # no momentum, no limit, one quantile
            yield bool(value), value == 1, math.isfinite(value)
