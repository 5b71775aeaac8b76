"""Products whose k is divided into parts: what is computed, what is timed, what is kept, what is captured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy.gemm.autotune import CANDIDATES, OF_LARGE_K, ROUNDS, Choice, GemmAutotuner
from chainrule.backends.cupy.gemm.choice_file import FILE_NAME, ChoiceFile
from chainrule.backends.cupy.gemm.cublaslt import Algorithm, Library
from chainrule.backends.cupy.gemm.gemm import Gemm, describe_product
from chainrule.backends.cupy.gemm.launching import sum_of_parts
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from chainrule.backends.cupy.gemm.split_product import MULTIPLE, SplitProduct, can_be_split, lengths_of_parts
from emulation.backend import EmulatedBackend, compiler_problem, widen
from emulation.cublaslt import host_dll, to_bf16
from emulation.simulated_cupy import SimulatedProduct, simulated

NARROW = MatrixProduct(64, 64, 1 << 18, True, False, 64, 64, 64, operands="bf16", precision="bf16")
ALGORITHM = Algorithm(bytes(64), 0)
TURNED = list(itertools.product([False, True], repeat=2))


# ---- into which parts ---------------------------------------------------------------------------------


def test_a_large_k_is_divided_among_the_multiprocessors():
    """2^18 = 128 x 2048 is not divided by 132, and parts of one length leave no rest."""
    assert lengths_of_parts(NARROW, 132) == [8192, 4096, 2048]
    assert lengths_of_parts(NARROW._replace(m=256), 132) == [16384, 8192, 4096]
    assert lengths_of_parts(NARROW._replace(k=100_003), 132) == [3032, 1520, 760]


@pytest.mark.parametrize(
    "changes",
    [{"k": 512}, {"m": 4096, "n": 4096}, {"epilogue": "bias"}, {"members": 2, "out_stride": 4096}],
    ids=["a small k", "a large result", "an epilogue", "members"],
)
def test_what_is_not_divided(changes):
    assert lengths_of_parts(NARROW._replace(**changes), 132) == []


@pytest.mark.parametrize("k", [1, 255, 4097, 9_999, 65_536, 1_000_003])
def test_parts_begin_where_they_are_aligned_and_there_are_several(k):
    for multiprocessors in (1, 2, 4, 114, 132):
        for length in lengths_of_parts(NARROW._replace(k=k), multiprocessors):
            assert length % MULTIPLE == 0
            assert can_be_split(NARROW._replace(k=k), length)
            assert -(-k // length) <= multiprocessors


# ---- what the descriptors say -------------------------------------------------------------------------


@pytest.fixture(params=["stand-in", "installed"])
def library(request: pytest.FixtureRequest) -> Library:
    return Library(host_dll(request.param))


@pytest.mark.parametrize(("a_transposed", "b_transposed"), TURNED)
@pytest.mark.parametrize(("dtype", "result"), [("f4", "f4"), ("f8", "f8"), ("bf16", "f4"), ("bf16", "bf16")])
@pytest.mark.parametrize(("k", "length"), [(64, 16), (67, 16), (23, 16), (41, 8)])
def test_the_parts_add_up_to_the_product(library, rng, a_transposed, b_transposed, dtype, result, k, length):
    m, n = 5, 6
    a, b = (
        _stored(rng.standard_normal(shape[::-1] if turned else shape), dtype)
        for shape, turned in (((m, k), a_transposed), ((k, n), b_transposed))
    )
    out = np.empty((m, n), BF16 if result == "bf16" else result)
    left, right = (a.T if a_transposed else a), (b.T if b_transposed else b)
    product = describe_product(left, right, out, "bf16" if dtype == "bf16" else "fp32", "none")
    plan = SplitProduct(library, product, length, 0)
    plan.use(ALGORITHM)
    parts = np.full((plan.parts + 1, m, n), 77, plan.accumulator)  # one that is not to be touched
    plan.run(a.ctypes.data, b.ctypes.data, parts.ctypes.data, stream=5, workspace=512, workspace_size=64)
    want = [_values(left)[:, at : at + length] @ _values(right)[at : at + length] for at in range(0, k, length)]
    tolerance = 1e-5 if parts.dtype == np.float32 else 1e-13
    assert plan.parts == len(want) == -(-k // length)
    np.testing.assert_allclose(parts[:-1], want, rtol=tolerance, atol=tolerance)
    assert (parts[-1] == 77).all()


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """At a multiple of 64 bytes."""
    item = np.dtype(np.uint16 if dtype == "bf16" else dtype)
    raw = np.empty(values.size * item.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + values.size * item.itemsize].view(item).reshape(values.shape)
    out[...] = to_bf16(values) if dtype == "bf16" else values
    return out.view(BF16) if dtype == "bf16" else out


def _values(array: np.ndarray) -> np.ndarray:
    return (widen(array) if array.dtype == BF16 else array).astype(np.float64)


def test_an_algorithm_has_to_compute_the_rest_too():
    class Picky(Plans):
        def plan(self, product: MatrixProduct, device: int = 0) -> SimulatedProduct:
            plan = super().plan(product, device)
            if product.k == 3:
                plan.check = lambda opaque: None if opaque[0] == 1 else Algorithm(opaque, 100)
            return plan

    plan = SplitProduct(Picky(), NARROW._replace(k=259), 64, 0)
    assert [algorithm.opaque[0] for algorithm in plan.heuristics(100, 3)] == [0, 2]
    assert plan.heuristics(99) == []
    assert plan.check(bytes([1]) * 64) is None
    assert plan.check(bytes(64)) == Algorithm(bytes(64), 100)


# ---- the sum ------------------------------------------------------------------------------------------


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    if request.param == "emulated" and (problem := compiler_problem()):
        pytest.skip(problem)
    return EmulatedBackend() if request.param == "emulated" else cr.backend("cuda")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bf16"])
@pytest.mark.parametrize(("members", "number", "count"), [(1, 1, 1), (1, 7, 33), (1, 132, 64), (3, 9, 40), (2, 65, 5)])
def test_parts_are_added_in_the_dtype_they_have_and_rounded_once(device, rng, dtype, members, number, count):
    real = np.float64 if dtype == "float64" else np.float32
    parts = rng.standard_normal((members, number, count)).astype(real)
    with device.running():
        out = device.empty((members, count + 5), BF16 if dtype == "bf16" else dtype)
        device.assign(np.zeros(out.shape, out.dtype), out=out)
        sum_of_parts(device, device.upload(parts), out[:, :count], out_stride=count + 5)
    written = device.download(out)
    want, size = (x.sum(axis=1, dtype=np.float64) for x in (parts, np.abs(parts)))
    unit = np.finfo(real).eps / 2
    error = np.abs(_values(written[:, :count]) - want)
    assert (error <= 12 * unit * size + (2.0**-8 * np.abs(want) if dtype == "bf16" else 0)).all()
    assert (_values(written[:, count:]) == 0).all()


# ---- what is timed and kept ---------------------------------------------------------------------------


class Plans:
    """Finds as many algorithms as are asked for, up to 40, numbered; any passes a check."""

    version = 131000

    def plan(self, product: MatrixProduct, device: int = 0) -> SimulatedProduct:
        plan = SimulatedProduct(product)
        plan.heuristics = lambda _, want: [Algorithm(bytes([i]) * 64, 0) for i in range(min(want, 40))]
        return plan


class Timer:
    """Quickest for one way: the algorithm of this number, in parts of this length."""

    def __init__(self, number: int, length: int = 0) -> None:
        self.best = (number, length)
        self.calls: list[tuple[int, int]] = []

    def __call__(self, plan: Any) -> float:
        self.calls.append((plan.algorithm.opaque[0], getattr(plan, "length", 0)))
        return 1.0 if self.calls[-1] == self.best else 2.0


def tuner(directory: Any, timer: Timer) -> GemmAutotuner:
    settings = {"device": 0, "card": "NVIDIA H200", "multiprocessors": 132, "workspace_size": 4096}
    return GemmAutotuner(Plans(), timer=timer, directory=directory, **settings)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_TUNE", raising=False)


@pytest.mark.parametrize("best", [(0, 0), (37, 0), (5, 4096)])
def test_parts_and_more_algorithms_are_timed_and_the_best_is_kept(tmp_path, best):
    timer = Timer(*best)
    plan = tuner(tmp_path, timer).plan(NARROW)
    assert (plan.algorithm.opaque[0], getattr(plan, "length", 0)) == best
    ways = min(OF_LARGE_K, 40) + 3 * CANDIDATES
    assert len(set(timer.calls)) == ways
    assert len(timer.calls) == 2 * ways + CANDIDATES * ROUNDS  # each is warmed up and looked at once
    again = Timer(0)
    kept = tuner(tmp_path, again).plan(NARROW)
    assert (kept.algorithm, getattr(kept, "length", 0), again.calls) == (plan.algorithm, best[1], [])


def test_without_tuning_nothing_is_divided(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_TUNE", "0")
    timer = Timer(5, 4096)
    plan = tuner(tmp_path, timer).plan(NARROW)
    assert (plan.product, plan.algorithm.opaque[0], timer.calls) == (NARROW, 0, [])
    assert not (tmp_path / FILE_NAME).exists()


def test_a_file_from_before_there_were_parts_is_read(tmp_path):
    ChoiceFile(tmp_path).put(tuner(tmp_path, Timer(0))._key(NARROW), "03" * 64)
    timer = Timer(5, 4096)
    plan = tuner(tmp_path, timer).plan(NARROW)
    assert (plan.product, plan.algorithm.opaque[0], timer.calls) == (NARROW, 3, [])


@pytest.mark.parametrize("text", ["4096:zz", "4096:", ":", "x:" + "03" * 64, "4097:" + "03" * 64, "-8:" + "03" * 64,
                                  f"{1 << 18}:" + "03" * 64])  # fmt: skip
def test_a_choice_that_makes_no_sense_is_made_again(tmp_path, text):
    ChoiceFile(tmp_path).put(tuner(tmp_path, Timer(0))._key(NARROW), text)
    plan = tuner(tmp_path, Timer(5, 4096)).plan(NARROW)
    assert (plan.algorithm.opaque[0], plan.length) == (5, 4096)


def test_a_choice_is_written_as_it_is_read():
    for choice in (Choice(bytes([3]) * 64), Choice(bytes([3]) * 64, 4096)):
        assert Choice.of(str(choice)) == choice
    assert str(Choice(b"\x03")) == "03"


# ---- on a device --------------------------------------------------------------------------------------


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    """From a precision to a backend that divides k wherever it can."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))

    def quickest_in_parts(gemm: Gemm, plan: Any) -> float:
        return 1.0 / getattr(plan, "length", 0.5)

    monkeypatch.setattr("chainrule.backends.cupy.gemm.timing.GemmTimer.__call__", quickest_in_parts)
    if request.param == "cuda":
        yield lambda precision: cr.backend("cuda", precision=precision)
        return
    if problem := compiler_problem():
        pytest.skip(problem)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield lambda precision: CuPyBackend(precision=precision)


def launched(backend: Any, step: Any) -> list[str]:
    return [launch.key[0] for launch in backend.record(step)]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("k", [66_000, 66_003])
def test_a_weight_gradient_of_many_rows_is_computed_in_parts(make, rng, precision, k):
    """Eagerly and in a captured step: two launches, the same bits, those of NumPy's product to rounding."""
    backend = make(precision)
    x, dz = (rng.standard_normal((k, columns)).astype(np.float32) for columns in (5, 8))
    with backend.running():
        on_device = [_on(backend, values) for values in (x, dz)]
        out = backend.empty((5, 8), np.float32)

        def step() -> None:
            backend.matmul(on_device[0].T, on_device[1], out=out)

        step()
        eager = backend.download(out)
        assert launched(backend, step) == ["parts of a product", "sum_of_parts"]
        parts, total = backend.record(step)
        assert set(parts.writes) <= set(total.reads)
        replay = backend.capture(step)
        replay(1)
        backend.assign(np.zeros((5, 8), np.float32), out=out)
        replay(33)
        assert backend.download(out).tobytes() == eager.tobytes()
        rounded = [backend.download(array) for array in on_device]
    exact = _values(rounded[0]).T @ _values(rounded[1])
    sizes = np.abs(_values(rounded[0])).T @ np.abs(_values(rounded[1]))
    unit = {"fp32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-20}[precision]
    assert (np.abs(eager - exact) <= 8 * unit * sizes).all()


def _on(backend: Any, values: np.ndarray) -> Any:
    array = backend.upload(values)
    if backend.storage(array.dtype) != BF16:
        return array
    stored = backend.empty(array.shape, BF16)
    backend.copy(array, out=stored)
    return stored


def test_float64_is_added_in_float64(make, rng):
    backend = make("fp32")
    a, b = rng.standard_normal((70_000, 3)), rng.standard_normal((70_000, 2))
    with backend.running():
        out = backend.empty((3, 2), np.float64)
        device_a, device_b = backend.upload(a), backend.upload(b)
        backend.matmul(device_a.T, device_b, out=out)
        assert launched(backend, lambda: backend.matmul(device_a.T, device_b, out=out))[1:] == ["sum_of_parts"]
        np.testing.assert_allclose(backend.download(out), a.T @ b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shared", [False, True])
def test_a_member_has_the_bits_of_the_net_alone(make, rng, shared):
    """Also where its gradients lie apart, as in an arena."""
    backend, members, k = make("bf16"), 3, 66_003
    x, dz = rng.standard_normal((members, k, 5)).astype("f4"), rng.standard_normal((members, k, 8)).astype("f4")
    with backend.running():
        stored_x, stored_dz = _on(backend, x), _on(backend, dz)
        arena = backend.empty((members, 64), np.float32)
        out, alone = arena[:, 16:56].reshape(members, 5, 8), backend.empty((5, 8), np.float32)
        a = stored_x[0].T if shared else stored_x.swapaxes(1, 2)
        backend.matmul(a, stored_dz, out=out)
        assert launched(backend, lambda: backend.matmul(a, stored_dz, out=out)) == [
            "parts of a product",
            "sum_of_parts",
        ]
        together = backend.download(out)
        for j in range(members):
            backend.matmul(stored_x[0 if shared else j].T, stored_dz[j], out=alone)
            assert together[j].tobytes() == backend.download(alone).tobytes()


def test_a_net_trained_on_large_batches_is_the_same_captured_and_launch_by_launch(make, rng, monkeypatch):
    X, y = rng.standard_normal((70_000, 6)).astype(np.float32), rng.integers(0, 3, 70_000)

    def trained() -> bytes:
        net = cr.MLP([6, 8, 3], backend=make("fp32"), seed=1)
        cr.Trainer(net, cr.SGD(lr=0.1), batch_size=34_000, epochs=2, shuffle=False).fit(X, y)
        return b"".join(value.tobytes() for value in net.parameters().values())

    captured = trained()
    monkeypatch.setenv("CHAINRULE_GRAPHS", "0")
    assert trained() == captured


def test_parts_of_zeros_are_zero_and_of_nan_are_nan(make):
    backend = make("fp32")
    with backend.running():
        a, b = backend.upload(np.zeros((70_000, 2), "f4")), np.ones((70_000, 3), "f4")
        b[69_999, 1] = np.nan
        out = backend.empty((2, 3), np.float32)
        backend.matmul(a.T, backend.upload(b), out=out)
        got = backend.download(out)
    assert np.isnan(got[:, 1]).all()
    assert (got[:, [0, 2]] == 0).all()
