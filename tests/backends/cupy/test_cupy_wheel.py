"""The CuPy wheel without a driver: everything up to the missing driver behaves. Skipped if CuPy is not installed."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.capture.memory import address, span
from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import detection, kernels
from chainrule.errors import DeviceError
from emulation.compiled import CUPY_OPTIONS

cupy = pytest.importorskip("cupy", reason="CuPy is not installed; scripts/check-cuda runs these")


def without_a_device() -> None:
    if detection.find_problem(0) is None:
        pytest.skip("a CUDA device works here")


def test_import_does_not_load_cupy():
    code = "import sys, chainrule; print('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_device_that_is_asked_for_is_an_error_with_a_hint():
    without_a_device()
    with pytest.raises(DeviceError, match="cuda cannot be used: ") as caught:
        cr.backend("cuda")
    assert caught.value.hint
    assert caught.value.exit_code == 4
    assert cr.backend("auto").device == "cpu"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_command_ends_with_4_and_two_lines(precision):
    without_a_device()
    command = [sys.executable, "-m", "chainrule", "train", "digits", "--device", "cuda", "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_doctor_names_the_wheel_and_the_problem():
    without_a_device()
    done = subprocess.run([sys.executable, "-m", "chainrule", "doctor", "--json"], capture_output=True, check=True)
    facts = json.loads(done.stdout)
    assert cupy.__version__ in facts["packages"]["cupy"]
    cuda = facts["devices"][1]
    assert (cuda["device"], cuda["works"]) == ("cuda", False)
    assert cuda["problem"]
    assert cuda["hint"]


def unowned(shape: tuple[int, ...], dtype: np.dtype) -> types.SimpleNamespace:
    """A CuPy array on memory of the host: its shape, strides and views can be asked without a driver."""
    host = np.zeros(shape, dtype)
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, 0)
    array = cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))
    return types.SimpleNamespace(host=host, array=array)


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64), BF16], ids=str)
def test_arrays_say_where_they_lie(dtype):
    """What a launch asks of a CuPy array: address, extent, dtype, whether it is transposed."""
    both = unowned((6, 4), dtype)
    assert address(both.array) == both.host.ctypes.data
    assert span(both.array) == (both.host.ctypes.data, both.host.ctypes.data + both.host.nbytes)
    part = both.array[2:5]
    assert span(part) == (both.host[2:].ctypes.data, both.host[2:].ctypes.data + part.nbytes)
    assert part.dtype == dtype
    assert part.flags.c_contiguous
    transposed = part.swapaxes(-1, -2)
    assert (transposed.shape, transposed.flags.c_contiguous, transposed.flags.f_contiguous) == ((4, 3), False, True)
    assert part.reshape(-1).shape == (12,)


def test_the_arguments_of_a_kernel_are_bound_to_cupy_arrays():
    state = unowned((3,), np.dtype(np.int64))
    bound = kernels.signatures()["tick"].bind("float32", {"state": state.array, "updates": 1})
    assert bound.values == (np.uint64(state.host.ctypes.data), 1)
    assert bound.writes == (span(state.array),)


def test_the_compiler_is_told_what_the_emulation_follows(monkeypatch):
    from cupy._core import core
    from cupy.cuda import compiler

    told: list[tuple[str, ...]] = []

    class Program:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def compile(self, options: tuple[str, ...], log: object = None) -> None:
            told.append(options)
            raise InterruptedError

    # What would ask a device.
    monkeypatch.setattr(compiler, "function", types.SimpleNamespace(Module=object))
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch: ("-arch=sm_90", "cubin"))
    monkeypatch.setattr(compiler, "_preprocess", lambda *arguments: "")
    monkeypatch.setattr(compiler, "_NVRTCProgram", Program)
    mine = core.assemble_cupy_compiler_options(kernels.options("float32"))
    with pytest.raises(InterruptedError):
        compiler._compile_with_cache_cuda("", mine, arch="90", cache_in_memory=True)
    rest = [option for option in told[0] if not option.startswith(("-I", "-arch"))]
    assert rest == [*kernels.options("float32"), *CUPY_OPTIONS]


def test_the_simulation_has_no_name_that_cupy_has_not():
    """Or the tests would run against a CuPy of our own invention."""
    from emulation import simulated_cupy

    simulation = simulated_cupy.SimulatedCuPy()
    for name in vars(simulation):
        if not name.startswith("__") and name != "cuda":
            assert hasattr(cupy, name), name
    for name in vars(simulation.cuda):
        assert hasattr(cupy.cuda, name), name
    for name in vars(simulation.cuda.runtime):
        assert hasattr(cupy.cuda.runtime, name), name
    for mine, theirs in [
        (simulation.cuda.Stream, cupy.cuda.Stream),
        (simulation.cuda.Event, cupy.cuda.Event),
        (simulation.ndarray, cupy.ndarray),
        (simulation.RawModule, cupy.RawModule),
    ]:
        own = [n for n, member in vars(mine).items() if not n.startswith("_") and inspect.isfunction(member)]
        for name in set(own) - {"push"}:  # the simulation's own way in
            assert hasattr(theirs, name), (mine, name)
    for name in ("upload", "launch"):
        assert hasattr(cupy.cuda.Graph, name)


def test_the_module_of_a_dlpack_array():
    """Where results go back as what went in."""
    from chainrule.backends.cupy.backend import _dlpack_module

    assert _dlpack_module(np.zeros(2)) is np
    assert _dlpack_module([1.0]) is None
