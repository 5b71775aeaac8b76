"""Where and with what a figure was measured: written into every result file."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import chainrule
from chainrule.backends.contract.backend import Backend


def facts(backends: list[Backend]) -> dict[str, Any]:
    """Commit, date, machine, versions, and each device."""
    return {
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "chainrule": chainrule.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "processor": _processor(),
        "devices": {be.device: _device(be) for be in backends},
    }


def _commit() -> str | None:
    """None if there is no git, or if this is a copy rather than a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _device(backend: Backend) -> str:
    if backend.device == "cpu":
        return "cpu"
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(int(backend.device.partition(":")[2]))["name"].decode()
    versions = f"driver API {runtime.driverGetVersion()}, runtime {runtime.runtimeGetVersion()}"
    return f"{name}, {versions}, CuPy {cupy.__version__}"
