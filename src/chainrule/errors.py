"""Every error that chainrule raises on purpose.

::

    ChainruleError
    +-- ShapeError        (ValueError)    arrays whose shapes do not fit together
    +-- DataError         (ValueError)    a value, a table or a file that cannot be trained on
    |   +-- ModelFileError                a model file that is damaged, foreign or of an unknown version
    +-- DeviceError       (RuntimeError)  a device that cannot be had, or was asked for what it cannot do
    |   +-- GuardError                    code under test did what a GPU would refuse
    |   +-- OutOfMemoryError  (MemoryError)  the device has less free memory than was asked for
    +-- GradientError     (AssertionError)  an analytic gradient disagrees with a numeric one
    +-- DivergenceError   (ArithmeticError, ValueError) training left the finite numbers
    +-- OptionError       (ValueError)    an option of the library or of the command line

Each is besides what NumPy, CuPy and scikit-learn raise there, so that code written for them catches it: their nets that
diverge raise a ValueError, and memory that is out is a MemoryError.

Each carries a message, ``expected X, got Y``, and if there is one thing to do about it a ``hint`` of one
line. The command line maps each class to its exit code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from chainrule.plain_text import printable


def first_line(error: BaseException) -> str:
    """What another library's error says, on one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class ChainruleError(Exception):
    """Base class; ``hint`` is one line saying what to do, or empty.

    Both are printable: names in them may come from a file, and a traceback goes to a terminal.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\nhint: {self.hint}" if self.hint else message

    def __reduce__(self) -> Any:
        """Pickled with all it holds, whatever its class needs to be made: it crosses processes (``n_jobs=2``)."""
        return _as_it_was, (type(self), self.args, vars(self))

    @property
    def message(self) -> str:
        """The message without its hint."""
        return super().__str__()


def _as_it_was(kind: type[ChainruleError], args: tuple[Any, ...], values: dict[str, Any]) -> ChainruleError:
    error = kind.__new__(kind, *args)
    vars(error).update(values)
    return error


class OptionError(ChainruleError, ValueError):
    """An option that does not exist, or a value that it does not take."""

    exit_code = 2


class DataError(ChainruleError, ValueError):
    """A value, a table or a file that cannot be used; names file, row and column where it can."""

    exit_code = 3


class ShapeError(ChainruleError, ValueError):
    """Arrays whose shapes do not fit together; names both shapes."""

    exit_code = 3


class ModelFileError(DataError):
    """A model file that is damaged, foreign, or written by an unknown version."""


class DeviceError(ChainruleError, RuntimeError):
    """A device that cannot be had, or that was asked for something it cannot do."""

    exit_code = 4


class GuardError(DeviceError):
    """Raised by the guarded backend where a GPU would refuse, stall or corrupt."""


# What an OutOfMemoryError says to do where nobody knows better: on the host, and on a device.
GENERAL_ADVICE = (
    "use a smaller batch or net, or end other programs that hold memory",
    "use a smaller batch or net, or free what other programs hold (`nvidia-smi`)",
)


class OutOfMemoryError(DeviceError, MemoryError):
    """Less memory is free on ``device`` than was asked for; ``needed`` and ``free`` in bytes, None where unknown.

    ``doing`` says what it was for; a host that is out of memory is the device "cpu".
    """

    def __init__(self, device: str, *, needed: int | None, free: int | None, hint: str = "", doing: str = "") -> None:
        counts = ((needed, "more are needed"), (free, "are free"))
        figures = [f"{count:,} bytes {what}" for count, what in counts if count is not None]
        during = f" while {doing}" if doing else ""
        super().__init__(
            f"{device} is out of memory{during}{': ' if figures else ''}{' and '.join(figures)}",
            hint=hint or GENERAL_ADVICE[device != "cpu"],
        )
        self.device = device
        self.needed = needed
        self.free = free


class GradientError(ChainruleError, AssertionError):
    """An analytic gradient that disagrees with a numeric one; names parameter, entry and both values."""


class DivergenceError(ChainruleError, ArithmeticError, ValueError):
    """Training left the finite numbers.

    ``step`` counts updates from 0, ``epoch`` from 1; ``where`` names the layer or parameter in which the
    first non-finite number stands.
    """

    exit_code = 6

    def __init__(self, message: str, *, step: int, epoch: int, where: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.epoch = epoch
        self.where = where
        self.run: Any = None  # the Run so far, where a Trainer raised this
        self.checkpoint: Any = None  # the path of the last one from before, where there are checkpoints


class CompiledLoopsWarning(UserWarning):
    """The compiled loops of the CPU cannot be had or kept: the numbers are the same, a long run takes longer.

    Once a process, and never made an error by a filter: nothing that is only faster ends a fit.
    """


@contextlib.contextmanager
def error_context(part: str) -> Iterator[None]:
    """What is wrong with rows is said of that part: ``validation: X at row 3, column 1 is nan``."""
    try:
        yield
    except (DataError, ShapeError) as error:
        raise type(error)(f"{part}: {error.message}", hint=error.hint) from error
