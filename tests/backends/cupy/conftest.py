"""Memory amid poison, on the emulated device and on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from emulation.backend import EmulatedBackend, compiler_problem
from emulation.poisoned_memory import PoisonedMemory


@pytest.fixture
def memory(backend: Any) -> Iterator[PoisonedMemory]:
    memory = PoisonedMemory(backend)
    with backend.running(), np.errstate(all="ignore"):
        yield memory
    memory.check()


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def bf16_memory(request: pytest.FixtureRequest) -> Iterator[PoisonedMemory]:
    """Memory of a backend that stores BF16."""
    if request.param == "emulated" and (problem := compiler_problem()):
        pytest.skip(problem)
    on_cpu = request.param == "emulated"
    memory = PoisonedMemory(EmulatedBackend(precision="bf16") if on_cpu else cr.backend("cuda", precision="bf16"))
    with memory.backend.running(), np.errstate(all="ignore"):
        yield memory
    memory.check()
