"""``@loop(...)``: a function compiled by numba at its first call with arrays of a kind, and kept in :mod:`loop_cache`.

A loop that cannot be kept, or whose file is damaged, is compiled; one that cannot be compiled raises before it has
touched an array (:mod:`chainrule.backends.compiled.state`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import compiler, serialize
from numba.core.caching import Cache
from numba.extending import intrinsic as _intrinsic

from chainrule.backends.compiled import loop_cache
from chainrule.backends.compiled.state import LOOPS


class LoopCache(Cache):
    """What a dispatcher of numba asks before it compiles, and tells afterwards. It never raises."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_func, self._qualified_name = function, function.__qualname__
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
            place = self._place(key := self._key(sig, target_context.codegen()))
            if place is None or (content := loop_cache.read(place)) is None:
                return None
            name, compiled = pickle.loads(content)
            if name == (self._name, key):
                LOOPS.found.add(place.name)
                return compiler.CompileResult._rebuild(target_context, *compiled)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what has been compiled."""
        try:
            place = self._place(key := self._key(sig, data.codegen))
            if place is None:
                LOOPS.is_not_kept(loop_cache.find_problem())
            else:
                loop_cache.write(place, serialize.dumps(((self._name, key), data._reduce())))
                LOOPS.made.add(place.name)
        except Exception as error:
            LOOPS.is_not_kept(loop_cache.describe(error))

    def _key(self, signature: Any, codegen: Any) -> str:
        """What distinguishes it from other compiled loops: types, processor, and the name, which tells closures apart.

        numba's own key has closures pickled, and a loop that closes over another never has the same in two processes.
        """
        return repr((signature, _processor(codegen), self._py_func.__code__.co_code, self._qualified_name))

    def _place(self, key: str) -> Path | None:
        folder = loop_cache.folder()
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return None if folder is None else folder / f"{self._name}-{digest}"


@functools.cache
def _processor(codegen: Any) -> tuple[Any, ...]:
    """What machine code depends on; numba asks LLVM for it, which takes as long as reading a loop."""
    found: tuple[Any, ...] = codegen.magic_tuple()
    return found


def _told_apart(function: Callable[..., Any], variant: str = "") -> Callable[..., Any]:
    """The function; if it is a closure, under a name that says of what.

    numba names machine code by the function's name, the types, and a number that counts what its process has compiled.
    Loops from the disk were counted by other processes: functions that one ``def`` made of different closures could
    have one name, of which a linker takes either.
    """
    if variant or "<locals>" in function.__qualname__:
        held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        values = [cell.cell_contents for name, cell in held if name != function.__name__]  # not yet itself
        told = repr((variant, [_name_of(value) for value in values]))
        function.__qualname__ += f"_{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    return function


def _name_of(value: Any) -> str:
    function = getattr(value, "py_func", None)
    if function is not None:
        return f"{function.__module__}.{function.__qualname__}"
    return repr(value) if isinstance(value, int | float | str | np.generic | tuple) else type(value).__name__


def part(function: Callable[..., Any]) -> Any:
    """Compile a function that loops call, of whatever types."""
    return numba.njit(nogil=True, error_model="numpy")(_told_apart(function))


def within(function: Callable[..., Any]) -> Any:
    """The same for a function whose instructions stand in each loop that calls it."""
    return numba.njit(inline="always", error_model="numpy")(_told_apart(function))


intrinsic: Any = _intrinsic  # a function of a loop whose instructions are written out


class Form(NamedTuple):
    """What is known of the arguments of a loop, by position: which memory it changes, and how its work is divided.

    Attributes
    ----------
    writes : of the arrays, those that are written
    rows : of the arrays, those whose first axis may be cut into parts, each of which is worked through by itself; none
        if the loop has to see all of them at once
    first : of a number, that of the first row of a part; -1 if there is none
    picked : of the arrays, those of which few elements are read
    each : of an array, that for each of whose elements all others are gone through; -1 if they are once
    """

    writes: tuple[int, ...]
    rows: tuple[int, ...]
    first: int
    picked: tuple[int, ...] = ()
    each: int = -1


def loop(
    *, writes: str, rows: str = "", first: str = "", picks: str = "", each: str = "", variant: str = ""
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call; ImportError when numba has been told to compile nothing.

    ``writes``, ``rows``, ``first``, ``picks`` and ``each`` name arguments, see :class:`Form`. Arguments are arrays and
    integers: a loop is also called by its address, where all of them stand in integer registers (:mod:`launches`). A
    number that is not an integer comes as an array of one. ``variant`` tells loops of one text apart that differ in an
    intrinsic.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        if getattr(numba.config, "DISABLE_JIT", False):
            raise ImportError("NUMBA_DISABLE_JIT is set")
        dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(_told_apart(function, variant))
        dispatcher._cache = LoopCache(function)
        places = {name: place for place, name in enumerate(inspect.signature(function).parameters)}
        written, cut, picked = (tuple(places[name] for name in names.split()) for names in (writes, rows, picks))
        dispatcher.form = Form(written, cut, places.get(first, -1), picked, places.get(each, -1))
        return dispatcher

    return compiled
