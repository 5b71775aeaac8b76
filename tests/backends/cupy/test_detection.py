"""Every way in which a CUDA device can be missing, with a CuPy and a driver that play the part."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import types
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import choose_backend
from chainrule.backends.cupy import detection


class CUDAError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}: as CuPy words it")
        self.status = status


class Driver:
    def __init__(self, status: int) -> None:
        self.cuInit = lambda _: status


def fake_cupy(count: int | Exception = 1, kernel: Exception | None = None, product: Exception | None = None):
    """A module that answers as CuPy would, computing on the host."""

    def device_count() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    def elementwise(*_: str):
        if kernel is not None:
            raise kernel
        return lambda x: x + 1

    def matmul(a, b):
        if product is not None:
            raise product
        return a @ b

    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=device_count), Device=lambda _: contextlib.nullcontext()
    )
    module.ElementwiseKernel, module.matmul = elementwise, matmul
    module.asarray, module.asnumpy = np.asarray, np.asarray
    return module


@pytest.fixture
def install(monkeypatch):
    """``install(cupy, driver_status)``; a driver status of None means that there is no driver library."""

    def do(cupy, driver: int | None = 0) -> None:
        found = None if cupy is None else object()
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "cupy" else real(name))
        monkeypatch.setitem(sys.modules, "cupy", cupy)

        def load(_: str) -> Driver:
            if driver is None:
                raise OSError("libcuda.so.1: cannot open shared object file")
            return Driver(driver)

        monkeypatch.setattr(detection.ctypes, "CDLL", load)

    return do


CASES = {
    "CuPy absent": (None, 0, "CuPy is not installed", "chainrule[cuda13x]"),
    "no driver": (fake_cupy(), None, "no CUDA driver found", "install the NVIDIA driver"),
    "driver without device": (fake_cupy(), 100, "sees no device", "nvidia-smi"),
    "driver broken": (fake_cupy(), 999, "does not start (cuInit: 999)", "nvidia-smi"),
    "driver too old": (fake_cupy(CUDAError(35)), 0, "too old", "update the driver"),
    "runtime without device": (fake_cupy(CUDAError(100)), 0, "the CUDA runtime sees no device", "CUDA_VISIBLE_DEVICES"),
    "runtime broken": (fake_cupy(CUDAError(46)), 0, "does not answer: cudaError 46", "doctor"),
    "headers missing": (
        fake_cupy(kernel=RuntimeError("cannot open cuda_fp16.h\nmore")),
        0,
        "cannot open cuda_fp16.h",
        "nvrtc",
    ),
    "cuBLAS missing": (fake_cupy(product=ImportError("libcublas.so.13")), 0, "libcublas.so.13", "cublas"),
}


@pytest.mark.parametrize(("cupy", "driver", "what", "hint"), CASES.values(), ids=CASES)
def test_an_explicit_cuda_says_why_not_and_what_to_do(install, cupy, driver, what, hint):
    install(cupy, driver)
    with pytest.raises(cr.DeviceError) as caught:
        cr.backend("cuda")
    assert what in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("cupy", "driver", "what", "hint"), CASES.values(), ids=CASES)
def test_auto_falls_back_to_the_cpu_and_says_why(install, cupy, driver, what, hint):
    install(cupy, driver)
    backend, why = choose_backend("auto")
    assert backend.device == "cpu"
    assert what in why


def test_a_device_number_beyond_the_last(install):
    install(fake_cupy(count=2))
    with pytest.raises(cr.DeviceError, match="device 7 was asked for, 2 found"):
        cr.backend("cuda:7")


def test_a_device_that_computes_wrong_numbers_is_not_used(install):
    cupy = fake_cupy()
    cupy.matmul = lambda a, b: a @ b + 1
    install(cupy)
    with pytest.raises(cr.DeviceError, match="wrong numbers"):
        cr.backend("cuda")


def test_cupy_is_not_imported_where_there_is_no_driver(install, monkeypatch):
    install(fake_cupy(), None)
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it would now raise ImportError
    with pytest.raises(cr.DeviceError, match="no CUDA driver found"):
        cr.backend("cuda")


def test_a_warning_within_the_import_of_cupy_skips_no_test_of_a_gpu(request, monkeypatch):
    """Here warnings are errors, and an error within that import is a reason to skip every one of them."""
    (conftest,) = [p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "cuda_problem")]
    monkeypatch.setattr(detection, "find_problem", lambda _: warnings.warn("old", DeprecationWarning, stacklevel=1))
    with pytest.warns(DeprecationWarning, match="old"):
        assert conftest.cuda_problem.__wrapped__() == ""


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "cpu:0"])
def test_unknown_devices(device):
    with pytest.raises(cr.OptionError, match="device: expected auto"):
        cr.backend(device)


def test_precision_is_checked_and_never_dropped():
    with pytest.raises(cr.OptionError, match="precision: expected one of"):
        cr.backend("cpu", precision="fp8")
    with pytest.raises(cr.DeviceError, match=r"precision: expected fp32 on a CPU, .*, got 'bf16'"):
        cr.backend("cpu", precision="bf16")


def test_the_environment_variable_is_the_default_of_commands(monkeypatch):
    from chainrule.backends import default_device

    monkeypatch.delenv("CHAINRULE_DEVICE", raising=False)
    assert default_device() == "auto"
    monkeypatch.setenv("CHAINRULE_DEVICE", "cpu")
    assert default_device() == "cpu"


def test_a_cache_that_cupy_cannot_write_is_done_without(install, monkeypatch):
    """CuPy compiles in memory then; by default it would raise at the first kernel, in the middle of a step."""
    cupy = fake_cupy()
    works = cupy.ElementwiseKernel

    def kernel(*args):
        if os.environ.get("CUPY_CACHE_IN_MEMORY") != "1":
            raise PermissionError(13, "Permission denied", "/.cupy")
        return works(*args)

    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "0")
    cupy.ElementwiseKernel = kernel
    install(cupy)
    assert detection.find_problem(0) is None
    cupy.ElementwiseKernel = lambda *args: (_ for _ in ()).throw(OSError("no NVRTC"))
    problem = detection.find_problem(0)
    assert problem is not None
    assert "no NVRTC" in problem.what
