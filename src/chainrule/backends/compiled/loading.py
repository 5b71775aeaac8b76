"""When the compiled loops are loaded, and when they are given up: only faster, they never end a run.

**When.** Loading numba takes half a second, compiling for the first time some ten; a run of a second must not pay for
either. So this is rented before it is bought: work starts on NumPy, and when the process has spent as long on it
as loading will take, the loops are loaded. No run takes more than twice the time of the better choice,
and a long one hardly more than that. The loops give the same bits as NumPy, so it does not matter when they come.

**When not.** If numba does not import, a loop does not compile or memory is short, NumPy's passes do the rest, from the
kernel on that was under way. That is said once, by a :class:`CompiledLoopsWarning` that never becomes an error.

``CHAINRULE_COMPILED=1`` loads them with the first CPU backend, ``0`` never.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from chainrule.backends.compiled import loop_cache
from chainrule.environment import switch
from chainrule.errors import CompiledLoopsWarning, first_line
from chainrule.host_memory import free_host_memory

LOADING = 1.0  # seconds to import numba and take the loops from the cache
COMPILING = 10.0  # seconds to compile them first
MEMORY = 512 << 20  # bytes that numba may take; LLVM ends the process that has not got them

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Loops:
    """The loops of this process, and when to load them."""

    def __init__(self) -> None:
        self.module: ModuleType | None = None
        self.activations: ModuleType | None = None
        self.normalization: ModuleType | None = None
        self.problem = ""  # why they cannot be had, or no longer
        self.unkept = ""  # why they will have to be compiled again
        self.softmax_ready: set[str] = set()  # dtypes for which all loops of softmax_cross_entropy are compiled
        self.spent = 0.0
        self._price: float | None = None
        self._warned = False

    def wanted(self) -> str:
        """Whether to have them at once, "1", never, "0", or once they pay, ""; OptionError for another setting."""
        return switch("CHAINRULE_COMPILED")

    def spend(self, seconds: float) -> None:
        """Book time spent computing; load when it has become worth it."""
        self.spent += seconds
        if self.spent < LOADING:
            return
        if self._price is None:  # asks the disk, so once
            self._price = LOADING if loop_cache.has_loops() else COMPILING
        if self.spent >= self._price:
            self.load()

    def load(self) -> None:
        if self.module is not None or self.problem:
            return
        free = free_host_memory()
        if free is not None and free < MEMORY:
            self._give_up(f"not loaded: they need {MEMORY:,} bytes of memory and {free:,} are free")
            return
        try:
            from chainrule.backends.compiled import activation_loops, loops, normalization_loops
        except Exception as error:  # a numba that does not fit this NumPy, an environment that it refuses, ...
            self._give_up(f"cannot be loaded: {type(error).__name__}: {first_line(error)}")
        else:
            self.module, self.activations, self.normalization = loops, activation_loops, normalization_loops

    def withdraw(self, error: Exception) -> None:
        """Give the loops up if it was numba that raised ``error``; an error of anyone else is raised again."""
        if (self.module is None and not self.problem) or not _is_of_numba(error):
            raise error
        self.module = self.activations = self.normalization = None
        self._give_up(f"given up: {type(error).__name__}: {first_line(error)}")

    def is_not_kept(self, why: str) -> None:
        """Note why loops are compiled that an earlier process has compiled, or a later one will."""
        self.unkept = self.unkept or why
        self._warn(
            f"compiled loops are not kept, so that long runs compile them again: {why}; "
            "CHAINRULE_CACHE_DIR names another place"
        )

    def _give_up(self, problem: str) -> None:
        self.problem = self.problem or problem
        self._warn(f"compiled loops: {problem}; NumPy goes on with the same numbers, slower")

    def _warn(self, text: str) -> None:
        """Once a process. Where warnings are made errors, nothing: an error here would end what it is to save."""
        if not self._warned:
            self._warned = True
            with contextlib.suppress(CompiledLoopsWarning):
                warnings.warn(text, CompiledLoopsWarning, stacklevel=2)


LOOPS = Loops()
_compiled: set[tuple[Any, str]] = set()  # what compile_for has done


def _is_of_numba(error: Exception) -> bool:
    """Whether it was raised while a loop was found or compiled, and so before it ran."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in {"numba", "llvmlite"}:
            return True
        trace = trace.tb_next
    return False


def or_numpy(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a method once more, with NumPy's passes, when a loop that it calls cannot be had.

    What it reads must be as it was when a loop is called for the first time: if it is written over earlier, the later
    loops are called on no rows before (:func:`compile_for`). Kernels of every step say the same in their own body, as a
    call more would cost a small net's step some percent.
    """

    @functools.wraps(method)
    def run(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        try:
            return method(self, *args, **options)
        except Exception as error:
            LOOPS.withdraw(error)
        return method(self, *args, **options)

    return run


def compile_for(loop: Any, *arrays: Any) -> None:
    """Have ``loop`` ready for arrays like these: called on none of their rows, it is compiled and does nothing."""
    kind = loop, arrays[0].dtype.char  # what else a loop is given in one place has one layout, and a dtype that follows
    if kind not in _compiled:
        loop(*(array[:0] for array in arrays))
        _compiled.add(kind)


def is_available() -> bool:
    """Whether numba is installed and not switched off; imports nothing."""
    return LOOPS.wanted() != "0" and importlib.util.find_spec("numba") is not None


def describe() -> str:
    """The state of the compiled loops in this process, for ``doctor`` and ``run.json``."""
    if os.environ.get("CHAINRULE_COMPILED") == "0":
        return "off (CHAINRULE_COMPILED=0)"
    if importlib.util.find_spec("numba") is None:
        return "not installed (pip install 'chainrule[fast]')"
    if LOOPS.problem:
        return LOOPS.problem
    unkept = LOOPS.unkept or loop_cache.find_problem()
    state = "in use" if LOOPS.module is not None else "installed, loaded by runs that are long enough"
    return f"{state}; not kept on disk: {unkept}" if unkept else state
