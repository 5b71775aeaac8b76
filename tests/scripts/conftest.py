"""The program behind scripts/gpu-check, imported from where it lies, and a project for it to run the tests of."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "scripts" / "gpu_check"


def pytest_ignore_collect() -> bool | None:
    return None if PROGRAM.is_dir() else True  # the scripts are not beside the tests


if PROGRAM.is_dir() and "gpu_check" not in sys.modules:
    # Not by way of sys.path: beside it lies scripts/train.py, which would hide tests/train.
    where = [str(PROGRAM)]
    found = importlib.util.spec_from_file_location(
        "gpu_check", PROGRAM / "__init__.py", submodule_search_locations=where
    )
    sys.modules["gpu_check"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules["gpu_check"])

# A CuPy whose device is lost once a test says so, in that process, until it ends.
CUPY = """
    import types
    lost = False
    class CUDARuntimeError(RuntimeError):
        pass
    def deviceSynchronize():
        if lost:
            raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
    cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(deviceSynchronize=deviceSynchronize))
"""
CONFTEST = """
    import pytest
    from lost_device import LostDevice
    def pytest_configure(config):
        config.pluginmanager.register(LostDevice(lambda: True))
"""
SETTINGS = """
    [pytest]
    testpaths = tests
    markers = gpu: needs a device
    filterwarnings = error
    addopts = --strict-markers -ra --import-mode=importlib
"""


@pytest.fixture
def project(tmp_path):
    """``project(name=source)`` writes tests/test_name.py into a checkout of its own; returns the checkout."""
    root = tmp_path / "checkout"
    (root / "tests").mkdir(parents=True)
    (root / "pytest.ini").write_text(textwrap.dedent(SETTINGS))
    (root / "cupy.py").write_text(textwrap.dedent(CUPY))
    (root / "tests" / "conftest.py").write_text(textwrap.dedent(CONFTEST))

    def write(**modules: str) -> Path:
        for name, source in modules.items():
            text = "import os, time, warnings\nimport cupy, pytest\npytestmark = pytest.mark.gpu\n"
            (root / "tests" / f"test_{name}.py").write_text(text + textwrap.dedent(source))
        return root

    return write


@pytest.fixture
def context(tmp_path, project):
    """Of a card that is there; a test may take three seconds, the first of a process eight."""
    from gpu_check.items import Context

    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    root = project()
    environment = {**os.environ, "GPU_CHECK_TEST_SECONDS": "3", "GPU_CHECK_OPENING_SECONDS": "5"}
    environment.pop("PYTEST_XDIST_WORKER", None)  # of the worker that runs this very test
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(ROOT / "tests"), str(ROOT / "src")])
    return Context("cuda", sys.executable, root, tmp_path / "out", tmp_path / "scratch", environment, {})
