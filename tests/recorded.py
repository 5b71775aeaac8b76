"""The compiled implementation with each kernel recorded and replayed by itself, as a step is."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled import calls
from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.backend import KERNELS


class RecordedBackend(CompiledBackend):
    """Kernels that cannot be recorded, for the arguments that they are given, are called; ``called`` counts them."""

    name = "recorded"

    def __init__(self) -> None:
        super().__init__()
        self.replayed: Counter[str] = Counter()
        self.called: Counter[str] = Counter()


def _recorded(name: str) -> Callable[..., Any]:
    kernel = getattr(CompiledBackend, name)

    @functools.wraps(kernel)
    def method(self: RecordedBackend, *args: Any, **options: Any) -> Any:
        step = functools.partial(kernel, self, *args, **options)
        if calls.recording() is not None:  # within another kernel
            return step()
        recorder = LOOPS.programs.StepRecorder()
        try:
            launches = recorder.record(step)
        except NotRecordableError:
            self.called[name] += 1
            return step()
        self.replayed[name] += 1
        recorder.program(launches)(1)
        return None

    return method


for _name in KERNELS:
    setattr(RecordedBackend, _name, _recorded(_name))
