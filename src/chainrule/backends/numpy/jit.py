"""``@loop``: a function compiled by numba at its first call with arrays of a kind, and kept in :mod:`loop_cache`.

A loop that cannot be kept, or whose file is damaged, is compiled; one that cannot be compiled raises before it has
touched an array (:func:`chainrule.backends.numpy.loading.or_numpy`).
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import compiler, serialize
from numba.core.caching import Cache

from chainrule.backends.numpy import loop_cache
from chainrule.backends.numpy.loading import LOOPS


class LoopCache(Cache):
    """What a dispatcher of numba asks before it compiles, and tells afterwards. It never raises."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_func = function  # of which numba's _index_key takes the bytecode and what it closes over
        line = function.__code__.co_firstlineno
        self._name = f"{Path(inspect.getfile(function)).stem}.{function.__name__}-{line}"
        self.enable()

    @property
    def cache_path(self) -> str:
        return str(loop_cache.folder())

    def flush(self) -> None:
        """numba's ``recompile``; each file is overwritten by the loop that is compiled next."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled loop for arguments of these types; None when it has to be compiled."""
        with contextlib.suppress(Exception):
            target_context.refresh()
            place = self._place(key := self._index_key(sig, target_context.codegen()))
            if place is None or (content := loop_cache.read(place)) is None:
                return None
            name, compiled = pickle.loads(content)
            if name == (self._name, repr(key)):
                return compiler.CompileResult._rebuild(target_context, *compiled)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what has been compiled."""
        try:
            place = self._place(key := self._index_key(sig, data.codegen))
            if place is None:
                LOOPS.is_not_kept(loop_cache.find_problem())
            else:
                loop_cache.write(place, serialize.dumps(((self._name, repr(key)), data._reduce())))
        except Exception as error:
            LOOPS.is_not_kept(loop_cache.describe(error))

    def _place(self, key: Any) -> Path | None:
        folder = loop_cache.folder()
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return None if folder is None else folder / f"{self._name}-{digest}"


def loop(function: Callable[..., Any]) -> Any:
    """Compile ``function`` at its first call; ImportError when numba has been told to compile nothing."""
    if getattr(numba.config, "DISABLE_JIT", False):
        raise ImportError("NUMBA_DISABLE_JIT is set")
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = LoopCache(function)
    return dispatcher
