"""What happens to arguments that no compiled loop was written for, and to loops that cannot be had: NumPy computes.

An operation of this folder is a function of the backend. It calls loops and ufuncs by :mod:`calls` alone, and raises
:class:`NotCompiledError`, before it calls any, if it does not know the given arguments.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled.calls import record, recording, refuse_in_recording
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.numpy.backend import NumPyBackend


def with_fallback(operation: Callable[..., None]) -> Callable[..., None]:
    """``operation`` once the loops are loaded; else, and if it raises NotCompiledError, NumPy's method of its name.

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
                    _compile_all(operation, self, args, options)
                operation(self, *args, **options)
                return
            except NotCompiledError as error:
                what = f"{what} of {error}"
            except Exception as error:
                LOOPS.withdraw(error)
        refuse_in_recording(what)
        of_numpy(self, *args, **options)

    return method


def _compile_all(operation: Callable[..., None], self: NumPyBackend, args: Any, options: dict[str, Any]) -> None:
    """Have all loops of an operation compiled before the first of them writes over what NumPy would have to read."""
    kinds = operation, *map(_kind, args), *map(_kind, options.values())
    if kinds not in LOOPS.compiled:
        with contextlib.suppress(NotRecordableError):  # parts of it are NumPy's
            record(functools.partial(operation, self, *args, **options), (), {})
        LOOPS.compiled.add(kinds)


def _kind(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.char, value.ndim
    if isinstance(value, tuple):
        return tuple(map(_kind, value))
    return value if isinstance(value, str | bool | None) else type(value)


def refused_in_recording(name: str) -> Callable[..., Any]:
    """NumPy's method of this name, for an operation without compiled loops."""
    of_numpy: Callable[..., Any] = getattr(NumPyBackend, name)

    @functools.wraps(of_numpy)
    def method(self: NumPyBackend, /, *args: Any, **options: Any) -> Any:
        refuse_in_recording(name)
        return of_numpy(self, *args, **options)

    return method
