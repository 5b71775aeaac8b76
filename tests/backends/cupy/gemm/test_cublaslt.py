"""Planned products without a GPU: descriptors read back and computed from in NumPy. With one: their results."""

from __future__ import annotations

import ctypes.util
import gc
import importlib
import itertools
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule.backends.cupy.detection import driver_problem
from chainrule.backends.cupy.gemm import cublaslt
from chainrule.backends.cupy.gemm.cublaslt import Algorithm, CublasLtError, Library, PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct, alignment
from chainrule.errors import DeviceError, ShapeError
from emulation.cublaslt import C, HostDll, from_bf16, host_dll, installed, to_bf16


@pytest.fixture(params=["stand-in", "installed"])
def dll(request) -> HostDll:
    return host_dll(request.param)


@pytest.fixture
def library(dll) -> Library:
    return Library(dll)


ALGORITHM = Algorithm(bytes(range(64)), 0)
ITEMS = {"float32": np.float32, "float64": np.float64, "bf16": np.uint16}
KINDS = [
    ("float32", "float32", "fp32"),
    ("float32", "float32", "tf32"),
    ("bf16", "float32", "bf16"),
    ("bf16", "bf16", "bf16"),
    ("float64", "float64", "fp32"),
    ("float64", "float64", "tf32"),
]
POISON = 77
TURNED = [(False, False), (False, True), (True, False), (True, True)]
CASES = [
    pytest.param(kind, epilogue, id=f"{' '.join(kind)} {epilogue}")
    for kind in KINDS
    for epilogue in ("none", "bias", "relu_bias")
]


def memory(shape: tuple[int, ...], dtype: Any, padding: int = 0) -> np.ndarray:
    """Poison, its first element at a multiple of 64 bytes, its rows ``padding`` elements apart."""
    size = shape[-1] + padding
    count = size * int(np.prod(shape[:-1])) * np.dtype(dtype).itemsize
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    whole = raw[start : start + count].view(dtype).reshape(*shape[:-1], size)
    whole[...] = POISON
    return whole[..., : shape[-1]]


def filled(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, padding: int = 0) -> np.ndarray:
    array = memory(shape, ITEMS[dtype], padding)
    values = rng.standard_normal(shape)
    array[...] = to_bf16(values) if dtype == "bf16" else values
    return array


def values(array: np.ndarray) -> np.ndarray:
    return (from_bf16(array) if array.dtype == np.uint16 else array).astype(np.float64)


def product_of(
    a, b, out, *, a_transposed: bool, b_transposed: bool, kind: tuple[str, str, str], epilogue: str
) -> MatrixProduct:
    """The description of out = op(a) @ op(b), of arrays as they lie in memory."""
    k, m = a.shape if a_transposed else a.shape[::-1]
    steps = [array.strides[0] // array.itemsize for array in (a, b, out)]
    aligned = [alignment(array.ctypes.data) for array in (a, b, out)]
    return MatrixProduct(m, out.shape[1], k, a_transposed, b_transposed, *steps, *kind, epilogue, *aligned)


def wanted(a, b, bias, *, a_transposed: bool, b_transposed: bool, epilogue: str) -> np.ndarray:
    x = (values(a).T if a_transposed else values(a)) @ (values(b).T if b_transposed else values(b))
    x = x if epilogue == "none" else x + values(bias)
    return np.maximum(x, 0) if epilogue == "relu_bias" else x


@pytest.mark.parametrize(("a_transposed", "b_transposed"), TURNED)
@pytest.mark.parametrize(("kind", "epilogue"), CASES)
def test_what_the_descriptors_say_is_the_product_that_was_meant(
    dll, library, rng, kind, epilogue, a_transposed, b_transposed
):
    operands, result, precision = kind
    shapes = [(1, 1, 1), (5, 4, 3), (7, 3, 8), (2, 16, 5), (1, 6, 9), (6, 1, 4)]
    for (m, n, k), padding in itertools.product(shapes, [0, 3]):
        a = filled(rng, (k, m) if a_transposed else (m, k), operands, padding)
        b = filled(rng, (n, k) if b_transposed else (k, n), operands, 2 * padding)
        bias = filled(rng, (n,), result)
        out = memory((m, n), ITEMS[result], padding)
        transposes = {"a_transposed": a_transposed, "b_transposed": b_transposed, "epilogue": epilogue}
        plan = library.plan(product_of(a, b, out, kind=kind, **transposes))
        plan.use(ALGORITHM)
        addresses = [array.ctypes.data for array in (a, b, out)]
        plan.run(*addresses, 0 if epilogue == "none" else bias.ctypes.data, stream=5, workspace=512, workspace_size=64)
        tolerance = {"bf16": 2.0**-8, "float32": 1e-6, "float64": 1e-14}[result]
        np.testing.assert_allclose(values(out), wanted(a, b, bias, **transposes), rtol=tolerance, atol=tolerance)
        if padding:
            between = np.lib.stride_tricks.as_strided(out, (m - 1, n + padding), (out.strides[0], out.itemsize))
            assert (between[:, n:] == POISON).all()
        (call,) = dll.calls[-1:]
        compute = {"tf32": "CUBLAS_COMPUTE_32F_FAST_TF32"}.get(precision, "CUBLAS_COMPUTE_32F")
        assert call.compute == C["CUBLAS_COMPUTE_64F" if operands == "float64" else compute]
        assert call.in_place
        assert (call.algo, call.workspace, call.size, call.stream) == (ALGORITHM.opaque, 512, 64, 5)


# ---- planning and running ---------------------------------------------------------------------------


def plain(**changes: Any) -> MatrixProduct:
    return MatrixProduct(4, 8, 16, False, False, 16, 8, 8)._replace(**changes)


def plan_of(library: Library, **changes: Any) -> PlannedProduct:
    plan = library.plan(plain(**changes))
    plan.use(ALGORITHM)
    return plan


def test_heuristics_are_asked_for_what_gives_the_same_bits_within_the_workspace(dll, library):
    other = bytes(64)
    dll.found = [(ALGORITHM.opaque, 100, 0), (other, 200, 15), (other, 5000, 0), (other, 0, 0)]
    plan = library.plan(plain(epilogue="bias", a_alignment=16, b_alignment=32, out_alignment=64))
    assert plan.heuristics(4096) == [Algorithm(ALGORITHM.opaque, 100), Algorithm(other, 0)]
    assert plan.heuristics(4096, want=1) == [Algorithm(ALGORITHM.opaque, 100)]
    assert dll.asked[0] == {
        "SEARCH_MODE": 0,
        "MAX_WORKSPACE_BYTES": 4096,
        "REDUCTION_SCHEME_MASK": 7 & ~C["CUBLASLT_REDUCTION_SCHEME_INPLACE"],
        "MIN_ALIGNMENT_A_BYTES": 32,  # cublasLt's A is our b
        "MIN_ALIGNMENT_B_BYTES": 16,
        "MIN_ALIGNMENT_C_BYTES": 64,
        "MIN_ALIGNMENT_D_BYTES": 64,
        "BIAS_POINTER": 16,
    }


def test_parts_of_a_bf16_result_are_not_added_in_bf16(dll, library):
    assert library.plan(plain(operands="bf16", result="bf16", precision="bf16")).heuristics(0) == []
    assert dll.asked[0]["REDUCTION_SCHEME_MASK"] == 2
    assert dll.asked[0]["BIAS_POINTER"] == 0


def test_heuristics_ask_with_the_least_alignment_of_a_bias_after_a_run_too(dll, library, rng):
    a, b, bias, out = (filled(rng, shape, "float32") for shape in [(4, 16), (16, 8), (8,), (4, 8)])
    plan = library.plan(product_of(a, b, out, a_transposed=False, b_transposed=False, kind=KINDS[0], epilogue="bias"))
    plan.use(ALGORITHM)
    for _ in range(2):
        plan.run(a.ctypes.data, b.ctypes.data, out.ctypes.data, bias.ctypes.data, stream=0)
        np.testing.assert_allclose(out, a @ b + bias, rtol=1e-5, atol=1e-5)
        plan.heuristics(0)
        assert dll.asked[-1]["BIAS_POINTER"] == cublaslt.BIAS_ALIGNMENT


def test_no_algorithm_is_no_error_and_other_failures_are(dll, library):
    plan = library.plan(plain())
    dll.fail["cublasLtMatmulAlgoGetHeuristic"] = C["CUBLAS_STATUS_NOT_SUPPORTED"]
    assert plan.heuristics(0) == []
    dll.fail["cublasLtMatmulAlgoGetHeuristic"] = C["CUBLAS_STATUS_ALLOC_FAILED"]
    with pytest.raises(CublasLtError, match="GetHeuristic failed: CUBLAS_STATUS_ALLOC_FAILED") as caught:
        plan.heuristics(0)
    assert caught.value.call == "cublasLtMatmulAlgoGetHeuristic"
    assert caught.value.status == "CUBLAS_STATUS_ALLOC_FAILED"
    assert isinstance(caught.value, DeviceError)


def test_stored_bytes_are_checked(dll, library):
    plan = library.plan(plain())
    dll.needs = 640
    assert plan.check(ALGORITHM.opaque) == Algorithm(ALGORITHM.opaque, 640)
    assert plan.check(b"\xee" * 64) is None
    assert plan.check(b"short") is None
    library.plan(plain(epilogue="bias")).check(ALGORITHM.opaque)
    assert [asked["BIAS_POINTER"] for asked in dll.asked] == [0, 0, cublaslt.BIAS_ALIGNMENT]


def test_a_run_that_cannot_be_right_is_refused_before_the_device_sees_it(dll, library):
    dll.fail["cublasLtMatmul"] = C["CUBLAS_STATUS_INTERNAL_ERROR"]  # these addresses are nobody's
    plan = library.plan(plain(epilogue="bias"))
    with pytest.raises(DeviceError, match=r"no algorithm has been chosen: a @ b, \(4, 16\) @ \(16, 8\), float32 to"):
        plan.run(256, 256, 256, 256, stream=0)
    plan.use(Algorithm(bytes(64), 1000))
    space = {"stream": 0, "workspace": 1024, "workspace_size": 1000}
    for addresses in [(8, 256, 256, 256), (256, 8, 256, 256), (256, 256, 4, 256), (256, 256, 256, 8)]:
        with pytest.raises(DeviceError, match=r"less aligned than was planned for.* bias 0x\w+ \(16\)"):
            plan.run(*addresses, **space)
    with pytest.raises(DeviceError, match="no bias was passed"):
        plan.run(256, 256, 256, **space)
    with pytest.raises(DeviceError, match="a bias was passed"):
        plan_of(library).run(256, 256, 256, 256, **space)
    for wrong in [{"workspace_size": 999}, {"workspace": 1024 + 128}, {"workspace": 0}]:
        with pytest.raises(DeviceError, match="expected a workspace of 1000 bytes at a multiple of 256"):
            plan.run(256, 256, 256, 256, **{**space, **wrong})
    assert not dll.calls


def test_a_failing_run_says_which_call_and_why(dll, library):
    dll.fail["cublasLtMatmul"] = C["CUBLAS_STATUS_INTERNAL_ERROR"]
    with pytest.raises(CublasLtError, match="cublasLtMatmul failed: CUBLAS_STATUS_INTERNAL_ERROR\nhint: with CUBLASLT"):
        plan_of(library).run(256, 256, 256, stream=0)
    dll.fail["cublasLtCreate"] = C["CUBLAS_STATUS_ALLOC_FAILED"]
    with pytest.raises(CublasLtError, match="cublasLtCreate failed"):
        library.handle(1)


def test_a_handle_is_made_once_for_each_device(dll, library):
    assert dll.handles == 0
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(library.handle(0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dll.handles == 1
    assert len(set(numbers)) == 1
    assert library.handle(1) not in numbers
    assert dll.handles == 2


def test_threads_share_a_plan_each_with_its_own_bias(dll, library, rng):
    a, b = filled(rng, (4, 16), "float32"), filled(rng, (16, 8), "float32")
    outs, biases = [[filled(rng, shape, "float32") for _ in range(4)] for shape in [(4, 8), (8,)]]
    plan = library.plan(
        product_of(a, b, outs[0], a_transposed=False, b_transposed=False, kind=KINDS[0], epilogue="bias")
    )
    plan = library.plan(plan.product._replace(out_alignment=64))
    plan.use(ALGORITHM)
    dll.pause = 1e-4
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(25):
            plan.run(*(x.ctypes.data for x in (a, b, outs[number], biases[number])), stream=0)
            if not np.allclose(outs[number], a @ b + biases[number], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(dll.calls) == 100


def test_descriptors_go_with_their_plan_and_when_planning_fails():
    dll = HostDll()
    library = Library(dll)
    dll.found = [(ALGORITHM.opaque, 0, 0)]
    plan = plan_of(library)
    plan.heuristics(0)
    assert len(dll.kept) == 4  # the preference is gone
    del plan
    gc.collect()
    assert dll.kept == {}
    dll.fail["cublasLtMatrixLayoutCreate"] = C["CUBLAS_STATUS_ALLOC_FAILED"]
    with pytest.raises(CublasLtError):
        library.plan(plain())
    gc.collect()
    assert dll.kept == {}


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"k": 0, "lda": 1}, ShapeError, "an empty product: a @ b"),
        ({"lda": 15}, ShapeError, "lda=15 is less than a row of 16"),
        ({"a_transposed": True, "lda": 3}, ShapeError, "lda=3 is less than a row of 4"),
        ({"ldb": 7}, ShapeError, "ldb=7 is less than a row of 8"),
        ({"b_transposed": True, "ldb": 15}, ShapeError, "ldb=15 is less than a row of 16"),
        ({"ldout": 7}, ShapeError, "ldout=7 is less than a row of 8"),
        ({"precision": "bf16"}, DeviceError, "operands of float32 are not multiplied in bf16"),
        ({"operands": "bf16", "precision": "tf32"}, DeviceError, "operands of bf16 are not multiplied in tf32"),
        ({"operands": "float16"}, DeviceError, "operands of float16"),
        ({"result": "bf16"}, DeviceError, "operands of float32 give float32, not bf16"),
        ({"operands": "bf16", "precision": "bf16", "result": "float64"}, DeviceError, "float32 or bf16, not float64"),
        ({"operands": "float64"}, DeviceError, "operands of float64 give float64, not float32"),
        ({"epilogue": "gelu"}, DeviceError, "no epilogue 'gelu', only none, bias, relu_bias"),
    ],
)
def test_what_cannot_be_is_refused_when_planned(changes, error, message):
    with pytest.raises(error, match=message):
        Library(HostDll()).plan(plain(**changes))


def test_an_address_says_how_aligned_it_is():
    assert [alignment(address) for address in (1, 6, 48, 4096, 4096 + 128, 0)] == [1, 2, 16, 16, 16, 16]


@pytest.fixture
def no_library_yet() -> Iterator[None]:
    cublaslt.load.cache_clear()
    yield
    cublaslt.load.cache_clear()


def pathfinder_that(action: Any) -> Any:
    return lambda _: SimpleNamespace(load_nvidia_dynamic_lib=lambda _: SimpleNamespace(abs_path=action()))


def raises(error: Exception) -> Any:
    def action(*_: Any) -> Any:
        raise error

    return action


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (raises(ModuleNotFoundError("No module named 'cuda'")), "No module named 'cuda'"),
        (pathfinder_that(raises(RuntimeError("Failure finding libcublasLt.so"))), "Failure finding libcublasLt"),
        (pathfinder_that(lambda: None), "it was found without a path"),
        (pathfinder_that(lambda: "/nowhere/libcublasLt.so"), "/nowhere/libcublasLt.so"),
        (pathfinder_that(lambda: ctypes.util.find_library("c") or "libc.so.6"), "cublasLt"),
    ],
    ids=["no pathfinder", "no library", "no path", "not there", "another library"],
)
def test_a_library_that_cannot_be_loaded_is_a_device_error(no_library_yet, monkeypatch, find, message):
    monkeypatch.setattr(importlib, "import_module", find)
    with pytest.raises(DeviceError, match=f"cublasLt cannot be loaded: .*{message}.*\nhint: pip install"):
        cublaslt.load()


def test_descriptors_need_no_driver_and_a_handle_does():
    library = installed()
    assert cublaslt.load() is library
    plan = library.plan(plain())
    if driver_problem() is None:
        pytest.skip("a driver is there")
    with pytest.raises(CublasLtError, match="cublasLtCreate failed: CUBLAS_STATUS_") as caught:
        plan.heuristics(0)
    assert caught.value.call == "cublasLtCreate"


# ---- on a card ----------------------------------------------------------------------------------------

WORKSPACE = 1 << 25


class Card:
    """Arrays on the device, and one stream."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.workspace = cupy.empty(WORKSPACE, np.uint8)

    def run(self, plan: PlannedProduct, a: Any, b: Any, out: Any, bias: Any) -> None:
        addresses = [array.data.ptr for array in (a, b, out)]
        bias_at = 0 if plan.product.epilogue == "none" else bias.data.ptr
        plan.run(
            *addresses, bias_at, stream=self.stream.ptr, workspace=self.workspace.data.ptr, workspace_size=WORKSPACE
        )

    def upload(self, *arrays: np.ndarray) -> list[Any]:
        """Copies, finished before any stream continues."""
        copies = [self.cupy.asarray(np.ascontiguousarray(array)) for array in arrays]
        self.cupy.cuda.Device().synchronize()
        return copies

    def download(self, array: Any) -> np.ndarray:
        self.stream.synchronize()
        return self.cupy.asnumpy(array)


@pytest.fixture
def card() -> Iterator[Card]:
    import cupy

    with cupy.cuda.Device(0):
        yield Card()


@pytest.mark.gpu
@pytest.mark.parametrize(("a_transposed", "b_transposed"), TURNED)
@pytest.mark.parametrize(("kind", "epilogue"), CASES)
def test_every_algorithm_is_right_and_gives_the_same_bits_twice(card, rng, kind, epilogue, a_transposed, b_transposed):
    operands, result, precision = kind
    for m, n, k in [(1, 1, 1), (7, 3, 8), (128, 10, 512), (64, 64, 4096), (128, 512, 784)]:
        a = filled(rng, (k, m) if a_transposed else (m, k), operands)
        b = filled(rng, (n, k) if b_transposed else (k, n), operands)
        bias, out = filled(rng, (n,), result), memory((m, n), ITEMS[result])
        transposes = {"a_transposed": a_transposed, "b_transposed": b_transposed, "epilogue": epilogue}
        on_card = card.upload(a, b, out, bias)
        # Fresh arrays on the device are aligned to 512 bytes.
        product = product_of(a, b, out, kind=kind, **transposes)
        product = product._replace(a_alignment=16, b_alignment=16, out_alignment=16)
        plan = cublaslt.load().plan(product)
        algorithms = plan.heuristics(WORKSPACE)
        assert algorithms, product
        unit = {"bf16": 2.0**-9, "float32": 2.0**-24, "float64": 2.0**-53}[result]
        if operands == "float32" and precision == "tf32":
            unit = 2.0**-11
        elif operands == "bf16":  # tensor cores drop what lies below the largest of the numbers that they add at a time
            unit = max(unit, 2.0**-20)
        exact = wanted(a, b, bias, **transposes)
        sizes = wanted(*(np.abs(values(array)) for array in (a, b, bias)), **{**transposes, "epilogue": "bias"})
        for algorithm in algorithms:
            assert plan.check(algorithm.opaque) is not None
            plan.use(algorithm)
            seen = []
            for _ in range(2):
                card.run(plan, *on_card)
                seen.append(card.download(on_card[2]))
                on_card[2].fill(POISON)
                card.cupy.cuda.Device().synchronize()
            assert seen[0].tobytes() == seen[1].tobytes()
            assert (np.abs(values(seen[0]) - exact) <= 8 * unit * sizes).all(), (product, algorithm)


@pytest.mark.gpu
@pytest.mark.parametrize("epilogue", ["none", "relu_bias"])
def test_a_run_can_be_captured_and_replayed(card, rng, epilogue):
    a, b, out, bias = (filled(rng, shape, "float32") for shape in [(32, 64), (64, 48), (32, 48), (48,)])
    product = product_of(a, b, out, a_transposed=False, b_transposed=False, kind=KINDS[1], epilogue=epilogue)
    plan = cublaslt.load().plan(product._replace(a_alignment=16, b_alignment=16, out_alignment=16))
    plan.use(plan.heuristics(WORKSPACE)[0])
    x, W, y, c = card.upload(a, b, out, bias)
    card.run(plan, x, W, y, c)
    eager = card.download(y)
    card.stream.begin_capture()
    try:
        card.run(plan, x, W, y, c)
    finally:
        graph = card.stream.end_capture()
    for scale in (1, 2):
        x.set(scale * a)
        y.fill(POISON)
        card.cupy.cuda.Device().synchronize()
        graph.launch(card.stream)
        replayed = card.download(y)
        if scale == 1:
            assert replayed.tobytes() == eager.tobytes()
        np.testing.assert_allclose(
            replayed,
            wanted(scale * a, b, bias, a_transposed=False, b_transposed=False, epilogue=epilogue),
            rtol=1e-2,
            atol=0.1,
        )


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[2]], ids=" ".join)
def test_a_nan_stays_a_nan_through_relu(card, rng, kind):
    """The contract asks for it; should an algorithm not do it, ``relu_bias`` must not be used for a layer."""
    a, b, out, bias = (filled(rng, shape, dtype) for shape, dtype in [
        ((32, 64), kind[0]), ((64, 48), kind[0]), ((32, 48), kind[1]), ((48,), kind[1])
    ])  # fmt: skip
    bias[5] = np.nan
    product = product_of(a, b, out, a_transposed=False, b_transposed=False, kind=kind, epilogue="relu_bias")
    plan = cublaslt.load().plan(product._replace(a_alignment=16, b_alignment=16, out_alignment=16))
    on_card = card.upload(a, b, out, bias)
    for algorithm in plan.heuristics(WORKSPACE):
        plan.use(algorithm)
        card.run(plan, *on_card)
        assert np.isnan(card.download(on_card[2])[:, 5]).all(), algorithm
