"""Do the wheels of a CUDA extra fit together? Answered without a GPU: CuPy imports, cuBLAS loads, NVRTC compiles.

Run by docker/cuda.Dockerfile while it builds and by docker/try-steps. The rest needs a GPU: see `chainrule doctor`.
"""

import ctypes
import sys
from pathlib import Path

import cupy
from cuda.pathfinder import find_nvidia_header_directory, load_nvidia_dynamic_lib
from cupy.cuda import nvrtc

import chainrule

# The header that CuPy's own float16.cuh includes, and that comes with the extra's cudart and with no CuPy wheel.
KERNEL = """
#include <cuda_fp16.h>
extern "C" __global__ void halve(const float* x, __half* y) { y[threadIdx.x] = __float2half(x[threadIdx.x] / 2); }
"""


def check_place(name: str, path: str | None) -> None:
    """A CUDA toolkit elsewhere on the machine would hide that the wheels lack something."""
    if path is None or not Path(path).is_relative_to(sys.prefix):
        raise SystemExit(f"{name}: expected a place under {sys.prefix}, got {path}")
    print(name, path)


def check_compiler(headers: str) -> None:
    program = nvrtc.createProgram(KERNEL, "halve.cu", (), ())
    try:
        nvrtc.compileProgram(program, ("--gpu-architecture=sm_90", f"-I{headers}"))
    except nvrtc.NVRTCError as error:
        raise SystemExit(f"NVRTC does not compile: {error}\n{nvrtc.getProgramLog(program)}") from error
    print("nvrtc {}.{}".format(*nvrtc.getVersion()), "compiled", len(nvrtc.getCUBIN(program)), "bytes for sm_90")


def check_refusal() -> None:
    """Without a driver, as in `docker build`, the message must name the driver and not blame CuPy or the wheels."""
    try:
        chainrule.backend("cuda")
    except chainrule.DeviceError as error:
        if "driver" not in str(error).splitlines()[0]:
            raise SystemExit(f"the message does not name the driver: {error}") from error
        print("refused, as it must be:", str(error).splitlines()[0])
    else:
        raise SystemExit("a CUDA backend without a driver")


print("cupy", cupy.__version__)
for name in ("cublas", "cublasLt", "nvrtc"):
    check_place(name, load_nvidia_dynamic_lib(name).abs_path)
headers = find_nvidia_header_directory("cudart")
check_place("headers", headers)
check_compiler(headers)
try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    check_refusal()
else:
    print("a driver is here:", chainrule.backend("cuda"))
