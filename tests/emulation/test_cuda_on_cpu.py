"""The emulator itself: what a kernel may rely on, as coroutines and as real threads; and a deadlock is an error."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.backends.cupy import kernels
from emulation import backend, compiled
from emulation.simulated_cupy import simulated

# What a test says about barriers and shuffles is only worth something in blocks of several warps.
SOURCE = r"""
extern "C" __global__ void identify(int* out) {
  const int threads = blockDim.x * blockDim.y * blockDim.z;
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * threads + thread] += 1000 * block + thread;
}

// Through shared memory, once there and once back: the second barrier keeps the fast from overtaking the slow.
extern "C" __global__ void turn(int* out, int times) {
  __shared__ int shared[256];
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  int mine = out[at];
  for (int i = 0; i < times; ++i) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    mine = shared[(threadIdx.x + 1) % blockDim.x];
    __syncthreads();
  }
  out[at] = mine;
}

extern "C" __global__ void shuffle(const double* x, double* by_xor, double* down, double* from, i64* wide) {
  const int i = threadIdx.x;
  by_xor[i] = __shfl_xor_sync(0xffffffffu, x[i], 5);
  down[i] = __shfl_down_sync(0xffffffffu, x[i], 3);
  from[i] = __shfl_sync(0xffffffffu, x[i], 7);
  wide[i] = __shfl_xor_sync(0xffffffffu, ((i64)i << 40) + i, 1);
}

extern "C" __global__ void leave_early(int* out, int n) {
  if ((int)threadIdx.x >= n) return;
  out[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] += out[n - 1 - threadIdx.x];
}

extern "C" __global__ void within_a_warp(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 31];
}

extern "C" __global__ void take_tickets(u32* ticket, int* order) {
  __shared__ u32 mine;
  if (threadIdx.x == 0) mine = atomicInc(ticket, gridDim.x - 1);
  __syncthreads();
  order[blockIdx.x * blockDim.x + threadIdx.x] = mine;
}

extern "C" __global__ void sums(const double* x, double* of_block, double* of_grid, double* partials,
                                u32* ticket) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const double once = block_sum<8>(x[i]), twice = block_sum<8>(2 * x[i]);  // one behind the other, in the same memory
  of_block[i] = twice - once;
  double sum = x[i];
  if (grid_sum<8>(sum, partials, ticket) && threadIdx.x == 0) of_grid[0] += sum;
}

extern "C" __global__ void arithmetic(const u32* a, const u32* b, u32* high, double* rounded, u32* bits) {
  const int i = threadIdx.x;
  high[i] = __umulhi(a[i], b[i]);
  rounded[i] = __dadd_rn(__dmul_rn(a[i] / 3.0, b[i] / 7.0), -(a[i] / 3.0) * (b[i] / 7.0));
  bits[i] = __float_as_uint(__uint_as_float(a[i] & 0x7f7fffffu));
}

extern "C" __global__ void fused(const REAL* a, const REAL* b, const REAL* c, REAL* out) {
  const int i = threadIdx.x;
  out[i] = a[i] * b[i] + c[i];
}

extern "C" __global__ void subnormals(const REAL* x, const REAL* half, REAL* made, REAL* taken, double* wide,
                                      REAL* moved, REAL* logarithm, int* is_zero) {
  const int i = threadIdx.x;
  made[i] = x[i] * half[0];
  taken[i] = made[i] + half[1];
  wide[i] = (double)half[1];
  moved[i] = half[1];
  logarithm[i] = log(half[1]);
  is_zero[i] = half[1] == 0;
  if (blockDim.x > 32) __syncthreads();
}

extern "C" __global__ void bfloat16(const float* x, bf16* stored, float* back) {
  const int i = threadIdx.x;
  stored[i] = narrow<bf16>(x[i]);
  back[i] = widen(stored[i]);
}

extern "C" __global__ void deadlock(int* out) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncwarp();
  out[threadIdx.x] = 1;
}
"""

Start = Callable[..., None]

# Without the option the dynamic linker makes one of the variables that the header has in both libraries.
OPTIONS = ("-fno-gnu-unique", "-g0")
MODES = {"coroutines": OPTIONS, "threads": (*OPTIONS, "-DON_CPU_THREADS")}


def with_source(folder: Path, text: str) -> None:
    """Make ``folder`` the place of the sources: the common part, and a source with this text."""
    (folder / "common.cuh").write_text((kernels.HERE / "common.cuh").read_text())
    (folder / "probe.cu").write_text(text)


@pytest.fixture(scope="module", params=MODES)
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """``start(kernel, grid, block, arguments by name)``, of the variant float32 unless it is said."""
    if problem := compiled.compiler_problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("sources")
    with_source(folder, SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "HERE", folder)
        patch.setitem(compiled.SANITIZERS, request.param, MODES[request.param])
        kernels.signatures.cache_clear()
        compiled.library.cache_clear()
        compiled.kernel.cache_clear()

        def run(kernel: str, grid: Any, block: Any, variant: str = "float32", **arguments: Any) -> None:
            values = kernels.signatures()[kernel].bind(variant, arguments).values
            compiled.kernel("probe.cu", kernel, variant, request.param)(grid, block, values)

        yield run
    for cached in (kernels.signatures, compiled.library, compiled.kernel):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("grid", "block"), [((1,), (1,)), ((3,), (40,)), ((2, 3), (32, 2)), ((2, 1, 2), (4, 3, 8)), ((5,), (512,))]
)
def test_every_thread_of_every_block_runs_once(start, grid, block):
    blocks, threads = int(np.prod(grid)), int(np.prod(block))
    out = np.zeros((blocks, threads), np.int32)
    start("identify", grid, block, out=out)
    np.testing.assert_array_equal(out, 1000 * np.arange(blocks)[:, None] + np.arange(threads))


@pytest.mark.parametrize("threads", [1, 32, 40, 256])
def test_a_barrier_holds_back_the_fast(start, threads):
    out = np.arange(2 * threads, dtype=np.int32)
    start("turn", (2,), (threads,), out=out, times=7)
    want = np.arange(2 * threads).reshape(2, threads)
    np.testing.assert_array_equal(out.reshape(2, threads), np.roll(want, -7, axis=1))


def test_shuffles_move_values_within_a_warp(start):
    x, lanes = np.random.default_rng(0).normal(size=96), np.arange(96)
    by_xor, down, source = (np.zeros(96) for _ in range(3))
    wide = np.zeros(96, np.int64)
    arguments = {"x": x, "by_xor": by_xor, "down": down, "from": source, "wide": wide}
    start("shuffle", (1,), (96,), **arguments)
    np.testing.assert_array_equal(by_xor, x[lanes ^ 5])
    np.testing.assert_array_equal(down, np.where(lanes % 32 < 29, x[np.minimum(lanes + 3, 95)], x))
    np.testing.assert_array_equal(source, x[lanes // 32 * 32 + 7])
    np.testing.assert_array_equal(wide, ((lanes ^ 1) << 40) + (lanes ^ 1))


@pytest.mark.parametrize("n", [1, 31, 33, 64])
def test_threads_that_leave_hold_nobody_back(start, n):
    out = np.zeros(64, np.int32)
    start("leave_early", (1,), (64,), out=out, n=n)
    assert (out[:n] >= 2).all()
    assert (out[n:] == 0).all()


def test_a_warp_waits_for_itself_alone(start):
    out = np.zeros(64, np.int32)
    start("within_a_warp", (1,), (64,), out=out)
    np.testing.assert_array_equal(out, np.arange(64) ^ 31)


def test_tickets_are_given_once_and_begin_anew(start):
    ticket, order = np.zeros(1, np.uint32), np.zeros((5, 64), np.int32)
    for _ in range(2):
        start("take_tickets", (5,), (64,), ticket=ticket, order=order)
        np.testing.assert_array_equal(order, np.arange(5)[:, None] + np.zeros((5, 64)))
        assert ticket[0] == 0


@pytest.mark.parametrize("blocks", [1, 3])
def test_sums_over_a_block_and_over_a_grid(start, blocks):
    x = np.random.default_rng(0).integers(-100, 100, (blocks, 256)).astype(np.float64)
    of_block, of_grid, partials, ticket = np.zeros_like(x), np.zeros(1), np.zeros(blocks), np.zeros(1, np.uint32)
    arguments = {"x": x, "of_block": of_block, "of_grid": of_grid, "partials": partials, "ticket": ticket}
    for _ in range(2):
        start("sums", (blocks,), (256,), **arguments)
    np.testing.assert_array_equal(of_block, np.broadcast_to(x.sum(axis=1)[:, None], x.shape))
    assert of_grid[0] == 2 * x.sum()
    assert ticket[0] == 0


def test_arithmetic_rounds_as_it_says(start):
    """A product that is to be rounded is not fused with a sum: its difference from itself is 0."""
    a, b = np.random.default_rng(0).integers(0, 2**32, (2, 64), dtype=np.uint32)
    high, rounded, bits = np.zeros(64, np.uint32), np.ones(64), np.zeros(64, np.uint32)
    start("arithmetic", (1,), (64,), a=a, b=b, high=high, rounded=rounded, bits=bits)
    np.testing.assert_array_equal(high, (a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32))
    np.testing.assert_array_equal(rounded, 0)
    np.testing.assert_array_equal(bits, a & np.uint32(0x7F7FFFFF))


@pytest.mark.parametrize(("variant", "dtype"), [("float32", np.float32), ("float64", np.float64)])
def test_a_product_is_fused_with_a_sum_as_nvrtc_fuses_them(start, variant, dtype):
    """What is left of a product if its rounded value is subtracted is its error: 0 only if it was rounded."""
    if not compiled.FUSED_MULTIPLY_ADD and platform.machine() == "x86_64":
        pytest.skip("this processor has no fused multiply-add")
    a, b = np.random.default_rng(0).uniform(1, 2, (2, 64)).astype(dtype)
    out = np.zeros(64, dtype)
    start("fused", (1,), (64,), variant, a=a, b=b, c=-(a * b), out=out)
    assert np.count_nonzero(out) > 50


HAS_SWITCH = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "aarch64"}, reason="the emulation flushes on x86-64 and AArch64 alone"
)


@HAS_SWITCH
@pytest.mark.parametrize("threads", [32, 64])
def test_float32_has_no_subnormals(start, threads):
    """As with -ftz=true: none is made, taken or converted, its logarithm is that of 0; moved it stays as it is."""
    smallest = np.finfo(np.float32).tiny
    x, half = np.full(threads, smallest), np.array([0.5, -smallest / 2])
    got = subnormals(start, "float32", np.float32, x, half)
    for name in ("made", "taken", "wide"):
        np.testing.assert_array_equal(got[name], 0)
    assert got["moved"].tobytes() == np.full(threads, half[1], np.float32).tobytes()
    np.testing.assert_array_equal(got["logarithm"], -np.inf)
    np.testing.assert_array_equal(got["is_zero"], 1)
    assert np.float32(smallest) * np.float32(0.5) > 0, "the host's own arithmetic is as it was"


def test_float64_keeps_its_subnormals(start):
    """No compiler option of NVRTC flushes them."""
    smallest = np.finfo(np.float64).tiny
    x, half = np.full(32, smallest), np.array([0.5, smallest / 4])
    got = subnormals(start, "float64", np.float64, x, half)
    for name, want in (("made", smallest / 2), ("taken", 0.75 * smallest), ("wide", smallest / 4), ("is_zero", 0)):
        np.testing.assert_array_equal(got[name], want)
    np.testing.assert_allclose(got["logarithm"], np.log(smallest / 4), rtol=1e-15)


def subnormals(start: Start, variant: str, dtype: Any, x: np.ndarray, half: np.ndarray) -> dict[str, np.ndarray]:
    kinds = {"made": dtype, "taken": dtype, "wide": np.float64, "moved": dtype, "logarithm": dtype, "is_zero": np.int32}
    out = {name: np.full(x.shape, 7, kind) for name, kind in kinds.items()}
    with np.errstate(all="ignore"):
        start("subnormals", (1,), x.shape, variant, x=x.astype(dtype), half=half.astype(dtype), **out)
    return out


def test_bfloat16_is_rounded_as_the_tests_round_it(start):
    x = np.float32([1, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -0.0, 3e38, np.inf, -np.inf, np.nan, 1e-40, -1e-45])
    stored, back = np.zeros(x.shape, kernels.BF16), np.zeros_like(x)
    start("bfloat16", (1,), x.shape, x=x, stored=stored, back=back)
    assert stored.tobytes() == backend.narrow(x).tobytes()
    np.testing.assert_array_equal(back, backend.widen(stored))


def test_a_deadlock_ends_the_process_with_a_reason(tmp_path):
    if problem := compiled.compiler_problem():
        pytest.skip(problem)
    with_source(tmp_path, SOURCE)
    code = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        import numpy as np
        from chainrule.backends.cupy import kernels
        from emulation import compiled
        kernels.HERE = Path({str(tmp_path)!r})
        bound = kernels.signatures()["deadlock"].bind("float32", {{"out": np.zeros(32, np.int32)}})
        compiled.kernel("probe.cu", "deadlock", "float32")((1,), (32,), bound.values)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "deadlock: 32 threads of a block wait" in done.stderr


def test_a_source_that_does_not_compile_says_where(tmp_path, monkeypatch):
    if problem := compiled.compiler_problem():
        pytest.skip(problem)
    with_source(tmp_path, "// a comment\nstatic int x = nonsense;\n")
    monkeypatch.setattr(kernels, "HERE", tmp_path)
    with pytest.raises(AssertionError, match=r"(?s)probe.cu \(bf16\) does not compile.*probe.cu:2:.*nonsense"):
        compiled.library.__wrapped__("probe.cu", "bf16")


def test_a_module_that_is_first_imported_with_the_simulated_cupy_stays_imported(monkeypatch, tmp_path):
    """Else code inside and outside would have classes of the same name that are not the same."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_within.py").write_text("class Thing: pass\n")
    before = sys.modules.get("cupy")
    try:
        with simulated() as cupy:
            assert sys.modules["cupy"] is cupy
            within = importlib.import_module("imported_within")
        assert sys.modules.get("cupy") is before
        assert importlib.import_module("imported_within").Thing is within.Thing
    finally:
        sys.modules.pop("imported_within", None)


def test_the_cupy_that_is_there_comes_back(monkeypatch):
    there = types.ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", there)
    with pytest.raises(KeyError, match="within"), simulated():
        raise KeyError("within")
    assert sys.modules["cupy"] is there
