"""What becomes of arguments that no kernel was written for: complex numbers, labels of another dtype.

An operation of the contract is a function of the backend. If its kernels do not know the given arguments it raises
:class:`NotFusedError`, before it launches anything, and :func:`with_fallback` calls the reference implementation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.reference.backend import ReferenceBackend

P = ParamSpec("P")


class NotFusedError(Exception):
    """There is no fused kernel for these arguments; ``str(error)`` says which."""


def with_fallback(operation: Callable[Concatenate[Launcher, P], None]) -> Callable[Concatenate[Launcher, P], None]:
    """``operation``; if it raises NotFusedError, the method of its name of the reference instead.

    DeviceError if a step is being recorded: what the reference does is no list of launches.
    """
    reference: Callable[..., None] = getattr(ReferenceBackend, operation.__name__)

    @functools.wraps(operation)
    def method(self: Launcher, /, *args: P.args, **options: P.kwargs) -> None:
        try:
            operation(self, *args, **options)
            return
        except NotFusedError as error:
            what = str(error)
        self.refuse_in_record(what)
        reference(self, *args, **options)

    return method
