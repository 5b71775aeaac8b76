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
from chainrule.backends.cupy.gemm.matrix_product import EPILOGUES, MatrixProduct, alignment
from chainrule.backends.cupy.gemm.relu_border import signs_bytes
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


def cases(*epilogues: str) -> list[Any]:
    return [pytest.param(kind, name, id=f"{' '.join(kind)} {name}") for kind in KINDS for name in epilogues]


CASES, WITHOUT_SIGNS = cases(*EPILOGUES), cases("none", "bias", "relu_bias")


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
    n = out.shape[1]
    product = MatrixProduct(m, n, k, a_transposed, b_transposed, *steps, *kind, epilogue, *aligned)
    return product._replace(signs_step=8 * bytes_of_signs(n)) if product.has_signs else product


def bytes_of_signs(n: int) -> int:
    """More than there have to be."""
    return signs_bytes(n) + 16


def signs_for(m: int, n: int, seen: np.ndarray) -> np.ndarray:
    """Memory for signs that holds those that are to be read."""
    signs = memory((m, bytes_of_signs(n)), np.uint8)
    bits = np.packbits(seen, axis=1, bitorder="little")
    signs[:, : bits.shape[1]] = bits
    return signs


def wanted(a, b, bias, *, a_transposed: bool, b_transposed: bool, epilogue: str, signs: Any = 1.0) -> np.ndarray:
    x = (values(a).T if a_transposed else values(a)) @ (values(b).T if b_transposed else values(b))
    if epilogue in {"drelu", "drelu_bgrad"}:
        return x * signs
    x = x if epilogue == "none" else x + values(bias)
    return np.maximum(x, 0) if epilogue in {"relu_bias", "relu_aux_bias"} else x


def addresses_of(epilogue: str, a, b, out, bias, signs) -> list[int]:
    """As a run takes them: 0 for what the epilogue does not have."""
    product = plain(epilogue=epilogue)
    used = (True, True, True, product.has_bias, product.has_signs)
    return [_address(array) if use else 0 for array, use in zip((a, b, out, bias, signs), used, strict=True)]


def _address(array: Any) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


@pytest.mark.parametrize(("a_transposed", "b_transposed"), TURNED)
@pytest.mark.parametrize(("kind", "epilogue"), CASES)
def test_what_the_descriptors_say_is_the_product_that_was_meant(
    dll, library, rng, kind, epilogue, a_transposed, b_transposed
):
    operands, result, precision = kind
    shapes = [(1, 1, 1), (5, 4, 3), (7, 3, 8), (2, 16, 5), (1, 6, 9), (6, 1, 4), (3, 130, 2)]
    for (m, n, k), padding in itertools.product(shapes, [0, 3]):
        a = filled(rng, (k, m) if a_transposed else (m, k), operands, padding)
        b = filled(rng, (n, k) if b_transposed else (k, n), operands, 2 * padding)
        bias, seen = filled(rng, (n,), result), rng.integers(0, 2, (m, n)).astype(bool)
        out, signs = memory((m, n), ITEMS[result], padding), signs_for(m, n, seen)
        transposes = {"a_transposed": a_transposed, "b_transposed": b_transposed, "epilogue": epilogue}
        plan = library.plan(product_of(a, b, out, kind=kind, **transposes))
        plan.use(ALGORITHM)
        want = wanted(a, b, bias, **transposes, signs=seen)
        addresses = addresses_of(epilogue, a, b, out, bias, signs)
        plan.run(*addresses, stream=5, workspace=512, workspace_size=64)
        tolerance = {"bf16": 2.0**-8, "float32": 1e-6, "float64": 1e-14}[result]
        np.testing.assert_allclose(values(out), want, rtol=tolerance, atol=tolerance)
        check_side_results(epilogue, want, values(bias), signs, m * tolerance)
        if padding:
            between = np.lib.stride_tricks.as_strided(out, (m - 1, n + padding), (out.strides[0], out.itemsize))
            assert (between[:, n:] == POISON).all()
        (call,) = dll.calls[-1:]
        compute = {"tf32": "CUBLAS_COMPUTE_32F_FAST_TF32"}.get(precision, "CUBLAS_COMPUTE_32F")
        assert call.compute == C["CUBLAS_COMPUTE_64F" if operands == "float64" else compute]
        assert call.in_place
        assert (call.algo, call.workspace, call.size, call.stream) == (ALGORITHM.opaque, 512, 64, 5)


def check_side_results(epilogue: str, want: np.ndarray, bias: np.ndarray, signs: np.ndarray, tolerance: float) -> None:
    """What an epilogue writes beside the product."""
    n = want.shape[1]
    if epilogue == "relu_aux_bias":
        written = np.unpackbits(signs, axis=1, count=n, bitorder="little")
        assert (written == (want > 0)).all()
        assert (signs[:, -16:] == POISON).all()
    elif epilogue == "drelu_bgrad":
        np.testing.assert_allclose(bias, want.sum(axis=0), rtol=tolerance, atol=tolerance)


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
        with pytest.raises(DeviceError, match=r"less aligned than was planned for.* bias 0x\w+, signs 0x0 \(16\)"):
            plan.run(*addresses, **space)
    with pytest.raises(DeviceError, match="expected bias, got 0x0: a @ b"):
        plan.run(256, 256, 256, **space)
    with pytest.raises(DeviceError, match="expected no bias, got 0x100: a @ b"):
        plan_of(library).run(256, 256, 256, 256, **space)
    signs = plan_of(library, epilogue="relu_aux_bias", signs_step=128)
    with pytest.raises(DeviceError, match="expected signs, got 0x0"):
        signs.run(256, 256, 256, 256, **space)
    with pytest.raises(DeviceError, match=r"less aligned than was planned for.*signs 0x8"):
        signs.run(256, 256, 256, 256, 8, **space)
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
        ({"members": 2, "out_stride": 32, "bias_stride": 9}, ShapeError, "begin 9 elements apart, not at 16 bytes"),
        ({"epilogue": "gelu"}, DeviceError, "no epilogue 'gelu', only none, bias, relu_bias"),
        ({"epilogue": "drelu"}, ShapeError, "expected rows of signs of at least 8 bits, a multiple of 128, got 0"),
        ({"epilogue": "drelu", "signs_step": 192}, ShapeError, "a multiple of 128, got 192"),
        ({"epilogue": "relu_aux_bias", "n": 136, "ldb": 136, "ldout": 136, "signs_step": 128}, ShapeError, "least 136"),
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

    def run(self, plan: PlannedProduct, a: Any, b: Any, out: Any, bias: Any, signs: Any = None) -> None:
        addresses = addresses_of(plan.product.epilogue, a, b, out, bias, signs)
        plan.run(*addresses, stream=self.stream.ptr, workspace=self.workspace.data.ptr, workspace_size=WORKSPACE)

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
@pytest.mark.parametrize(("kind", "epilogue"), WITHOUT_SIGNS)
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
def test_a_nan_stays_a_nan_through_relu_or_becomes_0(card, rng, kind):
    """A product in which it becomes 0 is not used for a layer: ``Gemm.keeps_nan`` asks each."""
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
        column = card.download(on_card[2])[:, 5]
        assert np.isnan(column).all() or (column == 0).all(), algorithm


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[3]], ids=" ".join)
@pytest.mark.parametrize("backward", ["drelu", "drelu_bgrad"])
def test_signs_are_those_of_the_result_and_their_use_gives_the_same_bits_twice(card, rng, kind, backward):
    """At 0 and at nan a sign may be any: `border_autotune.py` asks the device."""
    for m, n, k in [(8, 16, 8), (130, 96, 40), (4096, 64, 64)]:
        a, b, dz, V = (filled(rng, shape, kind[0]) for shape in ((m, k), (k, n), (m, k), (n, k)))
        bias, y, out = filled(rng, (n,), kind[1]), memory((m, n), ITEMS[kind[1]]), memory((m, n), ITEMS[kind[1]])
        sums, signs = filled(rng, (n,), kind[1]), memory((m, bytes_of_signs(n)), np.uint8)
        forward = {"a_transposed": False, "b_transposed": False, "epilogue": "relu_aux_bias"}
        back = {"a_transposed": False, "b_transposed": True, "epilogue": backward}
        plans = [
            cublaslt.load().plan(
                product_of(*arrays, kind=kind, **options)._replace(a_alignment=16, b_alignment=16, out_alignment=16)
            )
            for arrays, options in (((a, b, y), forward), ((dz, V, out), back))
        ]
        found = [plan.heuristics(WORKSPACE) for plan in plans]
        if not all(found):
            pytest.skip(f"cublasLt has no algorithm for {plans[0].product} or {plans[1].product}")
        on_card = card.upload(a, b, y, bias, signs, dz, V, out, sums)
        for algorithms in itertools.zip_longest(*found):
            for plan, algorithm in zip(plans, algorithms, strict=True):
                if algorithm is not None:
                    plan.use(algorithm)
            seen = []
            for _ in range(2):
                card.run(plans[0], *on_card[:5])
                card.run(plans[1], *on_card[5:], on_card[4])
                seen.append([card.download(on_card[i]) for i in (2, 7, 8)])
            assert [x.tobytes() for x in seen[0]] == [x.tobytes() for x in seen[1]], plans[1].product
            got_y, got_out, got_sums = map(values, seen[0])
            product = values(dz) @ values(V).T
            size, unit = np.abs(values(dz)) @ np.abs(values(V)).T, 2.0**-8 if kind[1] == "bf16" else 2.0**-11
            assert (np.abs(got_out - product * (got_y > 0)) <= 8 * unit * size).all()
            if backward == "drelu_bgrad":
                assert (np.abs(got_sums - got_out.sum(axis=0)) <= 8 * unit * size.sum(axis=0)).all()
