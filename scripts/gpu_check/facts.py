"""Where and with what a stage ran. A fact that cannot be had is None and stops nothing."""

from __future__ import annotations

import csv
import datetime
import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from gpu_check.items import first_line, last_line
from gpu_check.running import run

PACKAGES = (
    "cupy", "cupy-cuda12x", "cupy-cuda13x", "cuda-pathfinder", "nvidia-cublas", "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime", "numpy", "numba", "safetensors", "ml-dtypes", "scipy", "scikit-learn", "pandas",
    "pyarrow", "torch", "triton", "jax", "jaxlib", "pytest", "pytest-xdist", "hypothesis",
)  # fmt: skip
QUERY = "name,driver_version,memory.total,compute_cap,pstate,clocks.sm,clocks.mem,temperature.gpu,power.draw"
OWN = ("CHAINRULE_", "CUPY_", "CUDA_", "NVIDIA_", "GPU_CHECK_", "PYTHON", "OPENBLAS_", "OMP_", "XLA_")
# Folders in which CUDA's tools may lie if they are not on the PATH.
TOOLS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/nsight-compute", "/opt/cuda/bin")
# Asks the driver by its C library and imports nothing that could be broken.
DRIVER = """
import ctypes
try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    raise SystemExit(f"no CUDA driver: {error}")
status, count, version = driver.cuInit(0), ctypes.c_int(), ctypes.c_int()
if status:
    raise SystemExit(f"the CUDA driver does not start or sees no device (cuInit: {status})")
driver.cuDeviceGetCount(ctypes.byref(count))
driver.cuDriverGetVersion(ctypes.byref(version))
print(count.value, version.value)
"""

Facts = dict[str, Any]


def gather(root: Path, device: str, environment: dict[str, str]) -> Facts:
    """Everything but the driver's answer, for which see :func:`driver_problem`."""
    return {
        "device": device,
        "card": card(environment),
        "packages": versions(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": os.cpu_count(),
        "nvcc": told([tool("nvcc"), "--version"], environment),
        "commit": environment.get("GPU_CHECK_COMMIT") or commit(root, environment),
        "sources": digest(root),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv[1:],
        "environment": {name: value for name, value in sorted(environment.items()) if name.startswith(OWN)},
    }


def versions() -> dict[str, str]:
    """Of the packages that are installed; nothing is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def card(environment: dict[str, str]) -> dict[str, str] | None:
    """What nvidia-smi says of the first card."""
    text = told(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], environment)
    if text is None:
        return None
    row = next(csv.reader([first_line(text, 1000)]), [])
    return dict(zip(QUERY.split(","), map(str.strip, row), strict=False))


def told(command: list[str | None], environment: dict[str, str]) -> str | None:
    """The output of a program; None if it is not there or fails."""
    if command[0] is None:
        return None
    ended = run([str(word) for word in command], 30, environment)
    return ended.stdout.strip() if ended.code == 0 else None


def tool(name: str) -> str | None:
    """The path of one of CUDA's programs."""
    if found := shutil.which(name):
        return found
    for folder in map(Path, TOOLS):
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"), reverse=True)):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return None


def commit(root: Path, environment: dict[str, str]) -> str | None:
    """None if there is no git, or if this is a copy rather than a checkout: then ``sources`` tells."""
    return told([shutil.which("git"), "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"], environment)


def digest(root: Path) -> str:
    """Of all that is run: the same for the same files, with or without git. ``python -m gpu_check --sources``."""
    total = hashlib.sha256()
    paths = [p for place in ("src", "tests", "scripts", "benchmarks") for p in (root / place).rglob("*")]
    for path in sorted(p for p in paths if p.suffix in {".py", ".cu", ".cuh", ".h"}):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def driver_problem(python: str, environment: dict[str, str]) -> str:
    """Why there is no CUDA device; "" if there is one. Asked in a process of its own, for at most two minutes."""
    ended = run([python, "-c", DRIVER], 120, environment)
    if ended.timed_out:
        return f"the CUDA driver did not answer within {ended.seconds:.0f} s"
    if ended.code:
        return last_line(ended.stdout) or ended.why
    return "" if ended.stdout.split()[:1] != ["0"] else "the CUDA driver sees no device"
