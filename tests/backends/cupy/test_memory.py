"""Which errors say that memory of a device ran out: CuPy's own classes, and those of the simulated device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chainrule.backends.cupy.memory import OUT_OF_MEMORY, is_out_of_memory
from emulation.simulated_cupy import simulated


@pytest.fixture(params=["simulated", "CuPy"])
def cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "CuPy":
        yield pytest.importorskip("cupy", reason="CuPy is not installed; scripts/check-cuda runs these")
        return
    with simulated() as module:
        yield module


@pytest.mark.parametrize("status", [OUT_OF_MEMORY, 1, 900])
@pytest.mark.parametrize("api", ["runtime", "driver"])
def test_the_status_of_a_call_says_it(cupy, api, status):
    """Of CuPy's classes no instance can be made without a driver, which names the error."""
    kind = {"runtime": cupy.cuda.runtime.CUDARuntimeError, "driver": cupy.cuda.driver.CUDADriverError}[api]
    error = kind.__new__(kind)
    error.status = status
    assert is_out_of_memory(cupy, error) == (status == OUT_OF_MEMORY)


def test_the_error_of_the_pool_says_it(cupy):
    assert is_out_of_memory(cupy, cupy.cuda.memory.OutOfMemoryError(100, 0))
    assert not is_out_of_memory(cupy, MemoryError("of the host"))
