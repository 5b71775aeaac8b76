"""When the compiled loops are loaded: before a fit whose work pays for it, and once predictions have paid for it.

Loading numba takes half a second, compiling for the first time some ten; a run of a second must not pay for either.
What a fit will compute is known before its first step, and so is about how long NumPy would take for it: the loops are
loaded before a fit for which, with the fits before, that is as long as loading. No clock is read, so the same fits have
the same implementation every time. How many predictions will follow is not known: they are rented before they are
bought, which takes no process more than twice the time of the better choice.

``CHAINRULE_COMPILED=1`` loads them with the first CPU backend, ``0`` never.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import threading
from typing import Final

from chainrule.backends.compiled import loop_cache
from chainrule.backends.compiled.state import LOOPS, MACHINERY, TOPICS
from chainrule.backends.contract.work import Work
from chainrule.environment import switch
from chainrule.errors import first_line
from chainrule.host_memory import free_host_memory

LOADING: Final = 1.0  # seconds to import numba and take the loops from the cache
COMPILING: Final = 10.0  # seconds to compile them first
# Seconds that NumPy takes, about: for a call of a kernel, a number that it reads or writes, an operation of a product.
CALL: Final = 2.2e-6
NUMBER: Final = 3.5e-10
OPERATION: Final = 7e-12
MEMORY: Final = 512 << 20  # bytes that numba may take; LLVM ends the process that has not got them


def wanted() -> str:
    """Whether to have them at once, "1", never, "0", or once they pay, ""; OptionError for another setting."""
    return switch("CHAINRULE_COMPILED")


def is_available() -> bool:
    """Whether numba is installed and not switched off; imports nothing."""
    return wanted() != "0" and _is_installed()


@functools.cache
def _is_installed() -> bool:
    """Asks the disk, so once: an epoch of an ensemble makes some ten CPU backends."""
    return importlib.util.find_spec("numba") is not None


def load_for(work: Work) -> None:
    """Before a fit: load them if it, with all that was done before, takes NumPy longer than loading them.

    Fits are booked by their work and not by their time, so that the same fits have the same implementation every time.
    """
    if is_available() and not (LOOPS.is_loaded or LOOPS.problem):
        spend(seconds_in_numpy(work))


def seconds_in_numpy(work: Work) -> float:
    """About how long NumPy takes for a fit, whatever the machine does meanwhile: so a run is the same every time."""
    of_step = work.kernels * CALL + work.numbers * NUMBER + work.operations * OPERATION
    return work.steps * of_step


def price() -> float:
    """Seconds that loading takes: many if no earlier process has left compiled loops."""
    if LOOPS.price is None:  # asks the disk, so once
        LOOPS.price = LOADING if loop_cache.has_loops() else COMPILING
    return LOOPS.price


def spend(seconds: float) -> None:
    """Book time that computing takes NumPy, or has taken it; load when it has become worth it."""
    LOOPS.spent += seconds
    if LOOPS.spent < LOADING:
        return
    if LOOPS.spent >= price():
        load()


def load() -> None:
    """Load the loops now, unless they are loaded or have been given up. Other threads that want them wait."""
    with LOOPS.loading:
        if not (LOOPS.is_loaded or LOOPS.problem):
            _load()


def _load() -> None:
    free = free_host_memory()
    if free is not None and free < MEMORY:
        LOOPS.give_up(f"not loaded: they need {MEMORY:,} bytes of memory and {free:,} are free")
        return
    try:
        modules = {topic: importlib.import_module(f"{__package__}.loops.{topic}") for topic in TOPICS}
        modules |= {name: importlib.import_module(f"{__package__}.{name}") for name in MACHINERY}
    except Exception as error:  # a numba that does not fit this NumPy, an environment that it refuses, ...
        LOOPS.give_up(f"cannot be loaded: {type(error).__name__}: {first_line(error)}")
    else:
        LOOPS.take(modules)


def _renew_lock() -> None:
    LOOPS.loading = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_lock)  # another thread of the parent may have had it


def describe() -> str:
    """The state of the compiled loops in this process, for ``doctor`` and ``run.json``."""
    if os.environ.get("CHAINRULE_COMPILED") == "0":
        return "off (CHAINRULE_COMPILED=0)"
    if importlib.util.find_spec("numba") is None:
        return "not installed (pip install 'chainrule[fast]')"
    if LOOPS.problem:
        return LOOPS.problem
    unkept = LOOPS.unkept or loop_cache.find_problem()
    state = "in use" if LOOPS.is_loaded else "installed, loaded by runs that are long enough"
    return f"{state}; not kept on disk: {unkept}" if unkept else state
