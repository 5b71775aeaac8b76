"""A pytest plugin: after each test marked ``gpu`` the device is synchronised, so that an error is said of its own test.

After some CUDA errors (an illegal address, a failed assertion) every later call of the same process fails. So a worker
of pytest-xdist ends itself after one; xdist names the test and starts another worker for the rest. Without xdist the
session ends with exit code 70, as all that follows would fail for no reason of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest

EXIT_CODE = 70


def synchronize() -> None:
    """Wait for all that was launched; raises what CUDA says of it. Nothing to do if no test has imported CuPy."""
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        cupy.cuda.runtime.deviceSynchronize()


class LostDevice:
    """``has_device`` says whether a CUDA device is there to be synchronised."""

    def __init__(self, has_device: Callable[[], bool]) -> None:
        self.has_device = has_device
        self.error = ""

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: fixtures may launch something when they end
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            if item.get_closest_marker("gpu") and self.has_device():
                self.check()

    def check(self) -> None:
        """Fail the test, and remember, if the device reports an error."""
        try:
            synchronize()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]
            pytest.fail(f"the CUDA device is lost: {self.error}", pytrace=False)

    @pytest.hookimpl(trylast=True)  # all that is to be said of the test has been said
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if not self.error:
            return
        reason = f"{nodeid}: the CUDA device is lost: {self.error}"
        if "PYTEST_XDIST_WORKER" in os.environ:
            os.write(2, f"{reason}\n".encode())
            os._exit(EXIT_CODE)  # at once: what else is called at an exit would only fail
        pytest.exit(reason, returncode=EXIT_CODE)
