"""The compiled loops of this process: which are loaded, why the others are not, and what the user has been told.

A loop that cannot be had never ends a run: NumPy's passes do the rest with the same numbers, from the kernel on that
was under way. That is said once, by a :class:`CompiledLoopsWarning` that never becomes an error.

**The form of a compiled kernel** is the same in every file of this folder::

    loops = LOOPS.losses
    if loops is not None and ...:  # what the loops can do
        try:
            ...
            return
        except Exception as error:
            LOOPS.withdraw(error)  # raises it again unless a loop did not compile
    NumPyBackend.softmax(self, logits, out=out)

A decorator would say it once and cost a call more per kernel, a tenth of a small net's step (decision 26); a ``try``
that does not fail costs nothing. What a kernel reads must be as it was when a loop is called for the first time: if it
is written over earlier, the later loops are called on no rows before (:func:`compile_for`).
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from types import ModuleType
from typing import Any, Final

from chainrule.errors import CompiledLoopsWarning, first_line

COMPILED_DTYPES: Final = "fd"  # float32 and float64; what else passes through is a check in complex or long double


class NotCompiledError(Exception):
    """There is no compiled loop for these arguments; ``str(error)`` says which."""


class Loops:
    """The loops by topic, each the module of :mod:`chainrule.backends.compiled.loops` of that name, or None."""

    def __init__(self) -> None:
        self.layers: ModuleType | None = None
        self.columns: ModuleType | None = None
        self.piecewise: ModuleType | None = None
        self.gates: ModuleType | None = None
        self.losses: ModuleType | None = None
        self.target_losses: ModuleType | None = None
        self.predictions: Any = None
        self.normalization: ModuleType | None = None
        self.optimisers: ModuleType | None = None
        self.random: ModuleType | None = None
        self.batches: Any = None
        self.launches: Any = None
        self.products: Any = None
        self.programs: Any = None
        self.replay: Any = None
        self.is_loaded = False
        self.loading = threading.RLock()  # a signal handler may begin a fit while its own thread loads
        self.problem = ""  # why they cannot be had, or no longer
        self.unkept = ""  # why they will have to be compiled again
        self.softmax_ready: set[str] = set()  # dtypes for which all loops of softmax_cross_entropy are compiled
        self.spent = 0.0  # seconds of work that loops would have done faster
        self.price: float | None = None  # seconds that loading takes; None before it was estimated
        self._warned = False

    def take(self, **modules: ModuleType | None) -> None:
        """Use these modules, by topic."""
        vars(self).update(modules)
        self.is_loaded = True

    def withdraw(self, error: Exception) -> None:
        """Give the loops up if it was numba that raised ``error``; an error of anyone else is raised again."""
        if not (self.is_loaded or self.problem) or not _is_of_numba(error):
            raise error
        self.layers = self.gates = self.losses = self.target_losses = None
        self.columns = self.piecewise = self.normalization = self.optimisers = self.random = None
        self.give_up(f"given up: {type(error).__name__}: {first_line(error)}")
        self.is_loaded = False  # last, so that no other thread loads them again in between

    def give_up(self, problem: str) -> None:
        """Load no loops from now on, and say why."""
        self.problem = self.problem or problem
        self._warn(f"compiled loops: {problem}; NumPy computes the same numbers, slower")

    def is_not_kept(self, why: str) -> None:
        """Note why loops are compiled that an earlier process has compiled, or a later one will."""
        self.unkept = self.unkept or why
        self._warn(
            f"compiled loops are not kept, so that long runs compile them again: {why}; "
            "CHAINRULE_CACHE_DIR names another place"
        )

    def _warn(self, text: str) -> None:
        """Once per process. If warnings are errors, nothing: an error here would end a run that NumPy can finish."""
        if not self._warned:
            self._warned = True
            with contextlib.suppress(CompiledLoopsWarning):
                warnings.warn(text, CompiledLoopsWarning, stacklevel=2)


LOOPS: Final = Loops()
_compiled: set[tuple[Any, str]] = set()  # what compile_for has done


def _is_of_numba(error: Exception) -> bool:
    """Whether it was raised while a loop was found or compiled, and so before it ran."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in {"numba", "llvmlite"}:
            return True
        trace = trace.tb_next
    return False


def compile_for(loop: Any, *arrays: Any) -> None:
    """Have ``loop`` ready for arrays like these: called on none of their rows, it is compiled and does nothing."""
    kind = loop, arrays[0].dtype.char  # what else a loop is given in one place has one layout, and a dtype that follows
    if kind not in _compiled:
        loop(*(array[:0] for array in arrays))
        _compiled.add(kind)
