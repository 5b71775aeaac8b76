"""The compiled loops of this process: which are loaded, why the others are not, and what the user has been told.

A loop that cannot be had never ends a run: NumPy's passes do the rest with the same numbers, from the kernel on that
was under way. That is said once, by a :class:`CompiledLoopsWarning` that never becomes an error.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from chainrule.errors import CompiledLoopsWarning, first_line

COMPILED_DTYPES: Final = "fd"  # float32 and float64; what else passes through is a check in complex or long double


class NotCompiledError(Exception):
    """There is no compiled loop for these arguments; ``str(error)`` says which."""


# The loops by topic, in :mod:`chainrule.backends.compiled.loops`, and what makes a program of them.
TOPICS: Final = (
    *("batches", "columns", "embedding", "ensembles", "gates", "layers", "losses", "normalization", "optimisers"),
    *("piecewise", "predictions", "random", "target_losses"),
)
MACHINERY: Final = ("launches", "products", "programs")


class Loops:
    """The loops by topic, each a module, or None before they are loaded."""

    batches: Any
    columns: Any
    embedding: Any
    ensembles: Any
    gates: Any
    launches: Any
    layers: Any
    losses: Any
    normalization: Any
    optimisers: Any
    piecewise: Any
    predictions: Any
    products: Any
    programs: Any
    random: Any
    target_losses: Any

    def __init__(self) -> None:
        vars(self).update(dict.fromkeys(TOPICS + MACHINERY))
        self.is_loaded = False
        self.compiled: set[Any] = set()  # kinds of calls whose loops are all compiled
        self.loading = threading.RLock()  # a signal handler may begin a fit while its own thread loads
        self.problem = ""  # why they cannot be had, or no longer
        self.unkept = ""  # why they will have to be compiled again
        self.made: set[str] = set()  # files of loops that this process has compiled and kept
        self.found: set[str] = set()  # files of loops that it has taken from disk
        self.spent = 0.0  # seconds of work that loops would have done faster
        self.price: float | None = None  # seconds that loading takes; None before it was estimated
        self._warned: set[str] = set()

    def take(self, modules: Mapping[str, ModuleType | None]) -> None:
        """Use these modules, by topic."""
        vars(self).update(modules)
        self.is_loaded = True

    def withdraw(self, error: Exception) -> None:
        """Give the loops up if it was numba that raised ``error``; an error of anyone else is raised again."""
        if not (self.is_loaded or self.problem) or not _is_of_numba(error):
            raise error
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

    def are_called_one_by_one(self, why: str) -> None:
        """Say that steps are not recorded."""
        self._warn(f"steps are called one by one: {why}", topic="steps")

    def _warn(self, text: str, *, topic: str = "loops") -> None:
        """Once per process. If warnings are errors, nothing: an error here would end a run that NumPy can finish."""
        if topic not in self._warned:
            self._warned.add(topic)
            with contextlib.suppress(CompiledLoopsWarning):
                warnings.warn(text, CompiledLoopsWarning, stacklevel=2)


LOOPS: Final = Loops()


def _is_of_numba(error: Exception) -> bool:
    """Whether it was raised while a loop was found or compiled, and so before it ran."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in {"numba", "llvmlite"}:
            return True
        trace = trace.tb_next
    return False
