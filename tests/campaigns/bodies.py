"""The bodies of the backend contract that run on a machine without a CUDA device, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy.backend import NumPyBackend
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import simulated

BODIES = ["numpy", "compiled", "guarded", "simulated"]


@contextlib.contextmanager
def backend_of(body: str) -> Iterator[cr.Backend]:
    """The compiled one with its loops; NumPy's for one that this machine lacks the tools for."""
    if body == "simulated" and not compiler_problem():
        with simulated():
            from chainrule.backends.cupy.backend import CuPyBackend

            yield CuPyBackend()
    elif body == "compiled" and compiled.is_available():
        yield compiled.loaded()
    else:
        yield cr.GuardedBackend() if body == "guarded" else NumPyBackend()
