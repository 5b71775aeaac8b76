"""The implementations of the backend contract that run on a machine without a CUDA device, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy.backend import NumPyBackend
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import simulated

IMPLEMENTATIONS = ["numpy", "compiled", "guarded", "simulated"]


@contextlib.contextmanager
def backend_of(name: str) -> Iterator[cr.Backend]:
    """The backend of this name, the compiled one with its loops; NumPy's if the machine lacks the tools for it."""
    if name == "simulated" and not compiler_problem():
        with simulated():
            from chainrule.backends.cupy.backend import CuPyBackend

            yield CuPyBackend()
    elif name == "compiled" and compiled.is_available():
        yield compiled.loaded()
    else:
        yield cr.GuardedBackend() if name == "guarded" else NumPyBackend()
