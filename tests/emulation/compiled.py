"""CUDA sources compiled by g++ and run thread by thread, and numbers rounded as a device rounds them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import kernels

HEADERS = [Path(__file__).with_name(name) for name in ("flush_to_zero.h", "cuda_on_cpu.h")]
SANITIZERS = {
    "none": (),
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DON_CPU_THREADS"),
    "thread": ("-fsanitize=thread", "-DON_CPU_THREADS"),
}


# What CuPy 14.2 tells NVRTC beside our own options, include paths and the architecture: test_cupy_wheel.py asks it. All
# else is NVRTC's default. docs/gpu.md says what of this the emulation has.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")


def _has_fused_multiply_add() -> bool:
    """Whether an x86 processor has the instruction, which a compiler uses there only if it is told."""
    cpu = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and cpu.exists() and " fma " in cpu.read_text()


FUSED_MULTIPLY_ADD = ("-mfma",) if _has_fused_multiply_add() else ()
# As with NVRTC's --fmad=true a product and a sum become one operation: g++ does that beside its expensive ones.
OPTIMIZED = ("-O1", "-fexpensive-optimizations", "-ffp-contract=fast", *FUSED_MULTIPLY_ADD)

# Kernels of the float32 variants that compute in doubles, of which a card keeps the subnormals. The processor's switch
# knows no difference, and with it these would be wrong where they are right on a card.
COMPUTES_IN_DOUBLES = frozenset({"standardize"})


def flushes_to_zero(kernel: str, variant: str) -> bool:
    """Whether a kernel runs without subnormals, as float32 does on a card (see ``flush_to_zero.h``)."""
    return variant != "float64" and kernel not in COMPUTES_IN_DOUBLES


def compiler_problem() -> str:
    """Why kernels cannot be compiled for this CPU; empty if they can."""
    if sys.platform != "linux":
        return "CUDA kernels are compiled for the CPU as shared objects of Linux"
    return "" if shutil.which(compiler()) else f"needs a C++20 compiler, and {compiler()} is not there"


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def glue(signature: kernels.Signature) -> str:
    """``launch_NAME(grid, block, flushes, arguments)``: all threads of a grid."""
    arguments = ", ".join(
        f"({p.type}*)*(void**)arguments[{i}]" if p.is_array else f"*({p.type}*)arguments[{i}]"
        for i, p in enumerate(signature.parameters)
    )
    return (
        f'extern "C" void launch_{signature.kernel}(\n'
        f"    const unsigned* grid, const unsigned* block, int flushes, void** arguments) {{\n"
        f"  on_cpu::launch({{grid[0], grid[1], grid[2]}}, {{block[0], block[1], block[2]}}, flushes != 0,\n"
        f"                 [=] {{ {signature.kernel}({arguments}); }});\n}}\n"
    )


def text(source: str) -> str:
    """A translation unit for the CPU: the headers, the source as NVRTC gets it, the glue."""
    mine = [signature for signature in kernels.signatures().values() if signature.source == source]
    return "\n".join([*(header.read_text() for header in HEADERS), kernels.source_text(source), *map(glue, mine)])


@functools.cache
def library(source: str, variant: str, sanitizer: str = "none") -> ctypes.CDLL:
    """The kernels of a source, compiled for this CPU; kept from run to run under the hash of their text."""
    options = ("-std=c++20", *OPTIMIZED, "-fPIC", "-shared", "-pthread", "-fno-gnu-unique", "-w")
    options += ("-Wl,-Bsymbolic",)  # a kernel may be called as something in the C library is: `advance` is in glibc
    defines = [f"-D{name}={value}" for name, value in kernels.VARIANTS[variant].items()]
    command = [compiler(), *options, *SANITIZERS[sanitizer], *defines]
    unit = text(source)
    name = hashlib.sha256("\0".join([*command, unit]).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"chainrule-kernels-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            unit_path, built = Path(work) / "unit.cpp", Path(work) / "unit.so"
            unit_path.write_text(unit)
            done = subprocess.run(
                [*command, "-o", str(built), str(unit_path)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise AssertionError(f"{source} ({variant}) does not compile:\n{done.stderr[:4000]}")
            built.replace(path)
    return ctypes.CDLL(str(path))


@functools.cache
def kernel(source: str, name: str, variant: str, sanitizer: str = "none") -> Callable[..., None]:
    """``start(grid, block, values)`` of a kernel: all its threads."""
    function = getattr(library(source, variant, sanitizer), f"launch_{name}")
    dims = ctypes.c_uint * 3
    flushes = ctypes.c_int(flushes_to_zero(name, variant))

    def start(grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...]) -> None:
        cells = [np.array(value) for value in values]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        function(dims(*grid, *[1] * (3 - len(grid))), dims(*block, *[1] * (3 - len(block))), flushes, pointers)

    return start


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """A factor of a product as the device reads it, in double precision."""
    if x.dtype == BF16:
        return widen(x).astype(np.float64)
    if precision == "tf32" and x.dtype == np.float32:
        bits = np.ascontiguousarray(x).view(np.uint32)
        return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    return x.astype(np.float64)


def each_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b; of several members each by itself, so that it has the bits of the same product alone."""
    if max(a.ndim, b.ndim) == 2:
        return np.ascontiguousarray(a) @ np.ascontiguousarray(b)
    members = len(a) if a.ndim == 3 else len(b)
    pairs = ((a[j] if a.ndim == 3 else a, b[j] if b.ndim == 3 else b) for j in range(members))
    return np.stack([each_product(x, y) for x, y in pairs])


def widen(x: np.ndarray) -> np.ndarray:
    """BF16 as float32."""
    return (np.ascontiguousarray(x).view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(x.shape)


def narrow(x: np.ndarray) -> np.ndarray:
    """Float32 rounded to BF16, to nearest and ties to even; what is not finite stays so."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded_bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    rounded_bits = np.where(np.isnan(x), (bits >> 16) | 0x40, rounded_bits)
    return rounded_bits.astype(np.uint16).view(BF16).reshape(x.shape)


def packed(signs: np.ndarray, width: int) -> np.ndarray:
    """(..., columns) as bits, the first in the lowest of each byte, in rows of ``width`` bytes."""
    bits = np.packbits(signs, axis=-1, bitorder="little")
    return np.concatenate([bits, np.zeros((*bits.shape[:-1], width - bits.shape[-1]), np.uint8)], axis=-1)


def unpacked(bits: np.ndarray, columns: int) -> np.ndarray:
    """The first ``columns`` bits of each row."""
    return np.unpackbits(bits, axis=-1, count=columns, bitorder="little")
