"""Every exception that chainrule raises deliberately.

::

    ChainruleError
    +-- ShapeError        (ValueError)    arrays whose shapes do not fit together
    +-- DataError         (ValueError)    a value, a table or a file that cannot be trained on
    |   +-- ModelFileError                a model file that is damaged, of another program or of an unknown version
    +-- DeviceError       (RuntimeError)  a device that is not available, or cannot do what it was asked for
    |   +-- GuardError                    code under test did what a GPU would refuse
    |   +-- OutOfMemoryError  (MemoryError)  the device has less free memory than is needed
    +-- GradientError     (AssertionError)  an analytic gradient disagrees with a numeric one
    +-- DivergenceError   (ArithmeticError, ValueError) training left the finite numbers
    +-- OptionError       (ValueError)    an option of the library or of the command line

The second base class is what NumPy, CuPy and scikit-learn raise in the same situation, so that code written for them
catches these errors too: scikit-learn's nets raise a ValueError if they diverge, NumPy a MemoryError without memory.

Each error has a message, ``expected X, got Y``, and, if there is one thing to do about it, a ``hint`` of one line. The
command line maps each class to its exit code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from chainrule.plain_text import printable


def first_line(error: BaseException) -> str:
    """The first line of another library's error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class ChainruleError(Exception):
    """Base class; ``hint`` is one line that says what to do, or empty.

    Message and hint have no control characters: names in them may come from a file, and a traceback goes to a terminal.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\nhint: {self.hint}" if self.hint else message

    def __reduce__(self) -> Any:
        """Pickle all attributes without calling ``__init__``: errors cross processes (``n_jobs=2``)."""
        return _rebuild, (type(self), self.args, vars(self))

    @property
    def message(self) -> str:
        """The message without its hint."""
        return super().__str__()


def _rebuild(kind: type[ChainruleError], args: tuple[Any, ...], values: dict[str, Any]) -> ChainruleError:
    error = kind.__new__(kind, *args)
    vars(error).update(values)
    return error


class OptionError(ChainruleError, ValueError):
    """An option that does not exist, or a value that it does not take."""

    exit_code = 2


class DataError(ChainruleError, ValueError):
    """A value, a table or a file that cannot be used; names file, row and column if they are known."""

    exit_code = 3


class ShapeError(ChainruleError, ValueError):
    """Arrays whose shapes do not fit together; names both shapes."""

    exit_code = 3


class ModelFileError(DataError):
    """A model file that is damaged, of another program, or of an unknown version."""


class DeviceError(ChainruleError, RuntimeError):
    """A device that is not available, or cannot do what it was asked for."""

    exit_code = 4


class GuardError(DeviceError):
    """Raised by the guarded backend for what a GPU would refuse, wait for, or corrupt."""


# Hints of an OutOfMemoryError for which there is none better: on the host, and on a device.
GENERAL_HINTS = (
    "use a smaller batch or net, or end other programs that hold memory",
    "use a smaller batch or net, or free what other programs hold (`nvidia-smi`)",
)


class OutOfMemoryError(DeviceError, MemoryError):
    """Less memory is free on ``device`` than is needed; ``needed`` and ``free`` in bytes, None if unknown.

    ``doing`` says what the memory is for; the host is the device "cpu".
    """

    def __init__(self, device: str, *, needed: int | None, free: int | None, hint: str = "", doing: str = "") -> None:
        counts = ((needed, "more are needed"), (free, "are free"))
        figures = [f"{count:,} bytes {what}" for count, what in counts if count is not None]
        during = f" while {doing}" if doing else ""
        super().__init__(
            f"{device} is out of memory{during}{': ' if figures else ''}{' and '.join(figures)}",
            hint=hint or GENERAL_HINTS[device != "cpu"],
        )
        self.device = device
        self.needed = needed
        self.free = free


class GradientError(ChainruleError, AssertionError):
    """An analytic gradient that disagrees with a numeric one; names the parameter, its entry and both values."""


class DivergenceError(ChainruleError, ArithmeticError, ValueError):
    """Training left the finite numbers.

    ``step`` counts updates from 0, ``epoch`` from 1; ``where`` names the layer or parameter with the first number that
    is not finite.
    """

    exit_code = 6

    def __init__(self, message: str, *, step: int, epoch: int, where: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.epoch = epoch
        self.where = where
        self.run: Any = None  # the Run so far, if a Trainer raised this
        self.checkpoint: Any = None  # the path of the last checkpoint from before, if there is one


class CompiledLoopsWarning(UserWarning):
    """The compiled loops of the CPU are not available or cannot be cached: same numbers, but a long run takes longer.

    Issued once per process, and never turned into an error by a filter: what only makes a fit faster must not end it.
    """


@contextlib.contextmanager
def error_context(part: str) -> Iterator[None]:
    """Put ``part`` before the message of a DataError or ShapeError: ``validation: X at row 3, column 1 is nan``."""
    try:
        yield
    except (DataError, ShapeError) as error:
        raise type(error)(f"{part}: {error.message}", hint=error.hint) from error
