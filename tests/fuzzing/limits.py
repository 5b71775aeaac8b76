"""What reading a small file may cost: an error of the library, some memory, some seconds."""

from __future__ import annotations

import contextlib
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from chainrule.errors import ChainruleError

SECONDS = 5.0  # of the processor, with instrumented code
MEMORY = 192 << 20  # bytes of the process beside what it had before
LONGEST = 4500  # characters of a message

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Outcome(NamedTuple):
    """The outcome of a case in a word, and where it went wrong: findings at one place count as one."""

    said: str
    place: str = ""
    details: str = ""

    @property
    def key(self) -> str:
        """The same for what went wrong in the same way: the place, or the words without numbers and paths."""
        return self.place or re.sub(r"\d[\d.,]*|/\S+", "_", self.said[self.said.rfind("error: ") + 1 :])[:200]


class TooSlowError(BaseException):
    """It took too long: no Exception, so that nothing on the way takes it for its own."""


def outcome_of(
    use: Callable[[], str], *, refusal: type[ChainruleError] | tuple[type[ChainruleError], ...], **_: object
) -> Outcome:
    """What ``use`` says, "refused" for an error that is to be expected, or what went wrong."""
    before, start = _resident(reset=True), time.process_time()
    try:
        with _alarm():
            outcome = Outcome(use())
    except refusal as error:
        outcome = _refused(error)
    except BaseException as error:  # a panic of safetensors is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome = Outcome(f"{type(error).__name__}: {error!s:.300}", _place(error), traceback.format_exc())
    took, more = time.process_time() - start, _resident() - before
    if more > MEMORY:
        return Outcome(f"{outcome.said}, with {more:,} bytes of memory", f"memory {outcome.place}", outcome.details)
    if took > SECONDS:
        return Outcome(f"{outcome.said}, after {took:.1f} s", f"time {outcome.place}", outcome.details)
    return outcome


def _refused(error: ChainruleError) -> Outcome:
    text = f"{error.message}{error.hint}"
    if not error.message or len(text) > LONGEST or "\n" in text:
        return Outcome(f"a message of {len(text)} characters: {text[:300]!r}", _place(error), traceback.format_exc())
    return Outcome("refused")


def _place(error: BaseException) -> str:
    """The innermost line of the library on the way to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "chainrule" in Path(frame.filename).parts]
    last = (ours or frames)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise TooSlowError(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _resident(*, reset: bool = False) -> int:
    """The largest memory of the process since the last reset; 0 where the system does not say."""
    try:
        if reset:
            CLEAR.write_text("5")
        status = STATUS.read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
