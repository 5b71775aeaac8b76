"""Every CUDA kernel under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, on the CPU.

What they find here is wrong on a device too: an element too many, a vector that is not aligned, an overflow, a barrier
that is missing. A device may hide all of these. Compiling and running every kernel takes a minute or two: that is part
of ``scripts/check-cuda``; what is always tried is that faults are found.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule
import emulation
from chainrule.backends.cupy import kernels
from emulation.compiled import compiler, compiler_problem

RUNTIMES = {"address": ("libasan.so", "libstdc++.so"), "thread": ("libtsan.so",)}
LONGEST = 300  # seconds

PLANTED = r"""
extern "C" __global__ void one_element_too_many(float* out, int n) {
  if (threadIdx.x <= n) out[threadIdx.x] = 1;
}
extern "C" __global__ void behind_shared_memory(float* out, int n) {
  __shared__ float shared[64];
  float* next = shared + 1;
  next[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x < n) out[threadIdx.x] = shared[threadIdx.x];
}
extern "C" __global__ void vector_off_its_border(float* out, int n) {
  if (threadIdx.x == 0) *(Pack<float, 4>*)(out + n - 4) = {1, 2, 3, 4};
}
extern "C" __global__ void missing_barrier(float* out, int n) {
  __shared__ float shared[64];
  shared[threadIdx.x] = threadIdx.x;
  if (threadIdx.x < n) out[threadIdx.x] = shared[63 - threadIdx.x];
}
"""
FOUND = {  # kernel, sanitizer, its words (one compiler's or another's)
    "one_element_too_many": ("address", "heap-buffer-overflow"),
    "behind_shared_memory": ("address", "global-buffer-overflow|insufficient space"),
    "vector_off_its_border": ("address", "store to misaligned address"),
    "missing_barrier": ("thread", "data race"),
}


def environment(sanitizer: str) -> dict[str, str]:
    """What a process needs to load kernels that were compiled for a sanitizer; skips if that cannot be had."""
    if problem := compiler_problem():
        pytest.skip(problem)
    found = []
    for name in RUNTIMES[sanitizer]:
        asked = subprocess.run([compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        path = Path(asked.stdout.strip())
        if not path.is_absolute() or not path.exists():
            pytest.skip(f"needs {name}, which {compiler()} does not have")
        found.append(str(path))
    return os.environ | {
        "LD_PRELOAD": " ".join(found),
        "PYTHONPATH": os.pathsep.join(str(Path(m.__file__ or "").parents[1]) for m in (chainrule, emulation)),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
        # glibc unmaps the stacks of threads that ended, unless it may keep so many; a block has 256 of them.
        "GLIBC_TUNABLES": f"glibc.pthread.stack_cache_size={1 << 33}",
        "OPENBLAS_NUM_THREADS": "1",
    }


@functools.cache
def prefix(sanitizer: str) -> tuple[str, ...]:
    """What to put before a command so that the sanitizer's runtime starts: it may want addresses that do not vary."""
    nothing = [sys.executable, "-c", ""]
    said = ""
    for before in ((), ("setarch", "-R")):
        if before and not shutil.which(before[0]):
            continue
        env = environment(sanitizer)
        done = subprocess.run([*before, *nothing], env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return before
        said = said or done.stderr.strip().partition("\n")[0]
    pytest.skip(f"the {sanitizer} sanitizer does not start here: {said}")


def start(sanitizer: str, *arguments: str) -> subprocess.Popen[str]:
    command = [*prefix(sanitizer), sys.executable, "-m", "emulation.every_kernel", sanitizer, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(sanitizer), stdout=pipe, stderr=pipe, text=True)


@pytest.mark.sanitizers
@pytest.mark.parametrize("sanitizer", RUNTIMES)
def test_every_kernel_is_clean(sanitizer):
    with start(sanitizer) as process:
        try:
            names, report = process.communicate(timeout=LONGEST)
        finally:
            process.kill()
    assert process.returncode == 0, report[:6000]
    assert set(names.split()) == set(kernels.signatures()), "a kernel that no one calls in emulation/every_kernel.py"


@pytest.mark.slow
@pytest.mark.parametrize("kernel", FOUND)
def test_what_is_wrong_is_found(tmp_path, kernel):
    sanitizer, words = FOUND[kernel]
    (tmp_path / "common.cuh").write_text((kernels.HERE / "common.cuh").read_text())
    (tmp_path / "planted.cu").write_text(PLANTED)
    process = start(sanitizer, str(tmp_path), kernel)
    names, report = process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    assert re.search(words, report), report[:6000]
    assert f"in {kernel}" in report
    assert not names
