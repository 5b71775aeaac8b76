"""Why a CUDA device can or cannot be used, asked from the outside in: package, driver, device, kernel, product.

Nothing here imports CuPy until the driver has answered, so asking costs a machine without a GPU next to nothing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.cupy import install_hints
from chainrule.errors import first_line

NO_DEVICE = 100  # cudaErrorNoDevice, the same number in the driver and the runtime
IN_MEMORY = "CUPY_CACHE_IN_MEMORY"  # read by CuPy each time it compiles
DRIVER_TOO_OLD = 35  # cudaErrorInsufficientDriver


class Problem(NamedTuple):
    """What is wrong with a CUDA device, and the one thing to do about it."""

    what: str
    hint: str


def find_problem(index: int = 0) -> Problem | None:
    """None if CUDA device ``index`` runs a kernel and a matrix product; else the first thing that is wrong."""
    if importlib.util.find_spec("cupy") is None:
        return Problem("CuPy is not installed", install_hints.CUPY)
    problem = driver_problem()
    if problem is not None:
        return problem
    try:
        import cupy
    except Exception as error:  # two CuPy wheels on top of each other, a NumPy it cannot use, ...
        return Problem(f"CuPy does not import: {first_line(error)}", f"reinstall one CuPy only: {install_hints.CUPY}")
    return runtime_problem(cupy, index) or component_problem(cupy, index)


def driver_problem() -> Problem | None:
    """Ask the driver itself, through its C library."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Problem(
            "no CUDA driver found",
            "install the NVIDIA driver, or start the container with `--gpus all`; or use --device cpu",
        )
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        return Problem(
            "the CUDA driver sees no device", "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; or use --device cpu"
        )
    if status != 0:
        return Problem(
            f"the CUDA driver does not start (cuInit: {status})", "check `nvidia-smi`; a reboot or reinstall may be due"
        )
    return None


def runtime_problem(cupy: Any, index: int) -> Problem | None:
    """Ask the CUDA runtime that CuPy was built for."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        status = getattr(error, "status", None)
        if status == DRIVER_TOO_OLD:
            return Problem(
                "the CUDA driver is too old for the installed CuPy",
                f"update the driver, or install for its CUDA: {install_hints.CUPY}",
            )
        if status == NO_DEVICE:
            return Problem(
                "the CUDA runtime sees no device", "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; or use --device cpu"
            )
        return Problem(f"the CUDA runtime does not answer: {first_line(error)}", "run `chainrule doctor`")
    if index >= count:
        return Problem(
            f"device {index} was asked for, {count} found",
            f"use cuda:0 to cuda:{count - 1}, or check CUDA_VISIBLE_DEVICES",
        )
    return None


def component_problem(cupy: Any, index: int) -> Problem | None:
    """Run one compiled kernel (NVRTC and headers) and one product (cuBLAS), and check the numbers."""
    with cupy.cuda.Device(index):
        try:
            # float16, because CuPy compiles a float32 kernel even if the CUDA headers are missing.
            kernel = cupy.ElementwiseKernel("float16 x", "float32 y", "y = (float)x + 1", "chainrule_probe")
            x = cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
            kernel_right = bool((cupy.asnumpy(kernel(x.astype(np.float16))) == np.arange(1, 7).reshape(2, 3)).all())
        except Exception as error:
            if isinstance(error, OSError) and os.environ.get(IN_MEMORY) != "1":
                os.environ[IN_MEMORY] = "1"  # no process can use a cache that this one cannot write
                return component_problem(cupy, index)
            return Problem(
                f"a kernel cannot be compiled or run: {first_line(error)}",
                f"NVRTC or CUDA headers missing? {install_hints.CUDA_LIBRARIES}",
            )
        try:
            product_right = bool((cupy.asnumpy(cupy.matmul(x, x.T)) == [[5, 14], [14, 50]]).all())
        except Exception as error:
            return Problem(
                f"cuBLAS does not run: {first_line(error)}", f"cuBLAS missing? {install_hints.CUDA_LIBRARIES}"
            )
    if not (kernel_right and product_right):
        return Problem("the device computes wrong numbers", "check the card and its driver; do not train on it")
    return None


def describe_devices() -> list[dict[str, Any]]:
    """For each CUDA device, or "cuda" if there is none: whether it works, what it is, and what is wrong with it."""
    problem = find_problem(0)
    if problem is not None:
        return [{"device": "cuda", "works": False, "about": "", "problem": problem.what, "hint": problem.hint}]
    import cupy

    found = []
    version = cupy.cuda.runtime.driverGetVersion()
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        problem = find_problem(index)
        facts = cupy.cuda.runtime.getDeviceProperties(index)
        about = f"{facts['name'].decode()}, {facts['totalGlobalMem'] / 2**30:.0f} GiB, CUDA driver API {version}"
        what, hint = ("", "") if problem is None else problem
        name = f"cuda:{index}"
        found.append({"device": name, "works": problem is None, "about": about, "problem": what, "hint": hint})
    return found
