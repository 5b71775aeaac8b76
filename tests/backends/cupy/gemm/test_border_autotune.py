"""A ReLU across the border of two layers: when it is part of the products, and what is asked of the device first."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.capture.captured_step import ScratchError
from chainrule.backends.cupy import layers
from chainrule.backends.cupy.gemm.choice_file import FILE_NAME
from chainrule.backends.cupy.gemm.launching import relu_signs
from chainrule.backends.cupy.gemm.relu_border import ReluBorder, signs_bytes
from chainrule.backends.cupy.gemm.timing import GemmTimer, widened
from chainrule.errors import OutOfMemoryError
from emulation.backend import EmulatedBackend, compiler_problem, narrow
from emulation.poisoned_memory import launched
from emulation.simulated_cupy import Algorithm, SimulatedProduct, simulated

SHAPE = (300, 24, 130, 10)  # rows, n_in, width, n_out
SIGNS = signs_bytes(130)


@pytest.fixture
def file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """The choices of borders on file."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CHAINRULE_TUNE", raising=False)

    def read() -> dict[str, str]:
        path = tmp_path / FILE_NAME
        content = json.loads(path.read_text()) if path.exists() else {}
        return {key: value for key, value in content.items() if "border" in key}

    return read


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device whose time is the memory that launches touch; what it was asked for."""
    calls: list[int] = []

    def seconds(timer: GemmTimer, step: Callable[[], None]) -> float:
        step()
        launches = timer._backend.record(step)
        calls.append(len(launches))
        return float(sum(stop - start for one in launches for start, stop in one.reads + one.writes))

    monkeypatch.setattr(GemmTimer, "seconds", seconds)
    return calls


@pytest.fixture
def make(file: Any) -> Iterator[Callable[[str], Any]]:
    """From a precision to a backend on the simulated device."""
    if problem := compiler_problem():
        pytest.skip(problem)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield lambda precision: CuPyBackend(precision=precision)


def asked(backend: Any, *, activation: str = "relu", dtype: str = "float32") -> int:
    return backend.signs_per_row(*SHAPE, activation=activation, dtype=dtype)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_what_touches_less_memory_is_taken_and_kept(make, file, timed, precision):
    backend = make(precision)
    assert asked(backend) == SIGNS == 32
    assert set(file().values()) == {"fused"}
    stored = "bf16" if precision == "bf16" else "float32"
    (across, *way_back) = sorted(file(), key=len, reverse=True)
    assert across.endswith(
        f"relu across a border: rows=300 n_in=24 width=130 n_out=10 stored={stored} real=float32 precision={precision}"
    )
    assert len(way_back) == (precision != "bf16")  # a product writes a bias gradient in the dtype of its result
    timed.clear()
    assert asked(backend) == SIGNS
    assert asked(make(precision)) == SIGNS
    assert timed == []


def test_what_is_no_faster_is_not_taken(make, file):
    """All takes the same time on the simulated device."""
    assert asked(make("bf16")) == 0
    assert set(file().values()) == {"apart"}


def test_without_tuning_nothing_is_fused(make, file, timed, monkeypatch):
    monkeypatch.setenv("CHAINRULE_TUNE", "0")
    assert asked(make("tf32")) == 0
    assert (timed, file()) == ([], {})


@pytest.mark.parametrize(
    "sign_of",
    [lambda x: x >= 0, lambda x: ~(x <= 0)],
    ids=["of 0", "of nan"],
)
def test_signs_that_would_not_give_the_gradient_of_the_contract_are_not_used(make, file, timed, monkeypatch, sign_of):
    monkeypatch.setattr(SimulatedProduct, "sign_of", staticmethod(sign_of))
    assert asked(make("fp32")) == 0
    assert {value for key, value in file().items() if "n_in=24" in key} == {"apart"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_relu_that_loses_a_nan_is_a_kernel_behind_the_product(make, file, timed, monkeypatch, precision):
    """With signs it writes them, as a product would; what is asked with is overwritten."""
    monkeypatch.setattr(SimulatedProduct, "relu", staticmethod(lambda x: np.fmax(x, 0)))
    backend = make(precision)
    assert asked(backend) == SIGNS  # the way back touches less memory
    with backend.running():
        stored = backend.storage("float32")
        x, W, b, y = (backend.empty(shape, stored) for shape in ((4, 8), (8, 16), (16,), (4, 16)))
        for array in (x, W, b):
            backend.fill(1.0, out=array)
        backend.fill(np.nan, out=x[:1])
        backend.fill(-1.0, out=x[1:2])
        backend.fill(0.0, out=b[5:6])
        backend.fill(0.0, out=x[2:3])
        signs = backend.empty((4, 16), np.uint8)
        for given, behind in ((None, "activate"), (signs, "relu_signs")):
            step = functools.partial(backend.dense, x, W, b, "relu", z=y, y=y, signs=given)
            assert [launched(backend, step) for _ in range(2)] == [["product", behind]] * 2
            got = widened(backend.download(y))
            assert np.isnan(got[0]).all()
            assert (got[1:] == np.maximum(np.array([[-8], [0], [8]]) + (np.arange(16) != 5), 0)).all()
        bits = np.unpackbits(backend.download(signs)[:, :2], axis=1, bitorder="little")
    assert (bits == (got > 0)).all()  # of a nan 0, as in the contract
    assert {value for key, value in file().items() if "n_in=24" in key} == {"fused"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bf16"])
@pytest.mark.parametrize("columns", [1, 4, 7, 8, 12, 16, 24, 131])
@pytest.mark.parametrize("rows", [(1,), (37,), (3, 5)])
def test_a_relu_with_signs_is_the_relu(rng, dtype, columns, rows):
    """In rows that fill accesses of 16 bytes and such that do not; the bits behind the last column stay as they are."""
    if problem := compiler_problem():
        pytest.skip(problem)
    backend = EmulatedBackend()
    values = rng.standard_normal((*rows, columns)).astype("f8" if dtype == "float64" else "f4")
    values.flat[:4] = (0.0, -0.0, np.nan, -np.inf)[: min(4, values.size)]
    for offset in (0, 1):
        z = narrow(values) if dtype == "bf16" else values
        whole = backend.empty((z.size + 1,), z.dtype)
        y, signs = (
            whole[offset : offset + z.size].reshape(z.shape),
            np.full((*rows, signs_bytes(columns)), 77, np.uint8),
        )
        y[...] = z
        relu_signs(backend, y, signs)
        apart = backend.empty(z.shape, z.dtype)
        backend.activate("relu", z, out=apart)
        assert y.tobytes() == apart.tobytes()
        used = -(-columns // 8)
        bits = np.unpackbits(signs, axis=-1, count=columns, bitorder="little")
        assert (bits == (widened(y) > 0)).all()
        assert (signs[..., used:] == 77).all()


def test_a_nan_is_sent_through_a_product_once(make, monkeypatch):
    backend, fills = make("fp32"), []
    monkeypatch.setattr(type(backend), "fill", lambda be, value, *, out: fills.append(value))
    with backend.running():
        for members in ((), (3,)):  # of several, through that of the first
            x, W, b, y = (backend.upload(np.ones((*members, *s), "f4")) for s in ((3, 8), (8, 16), (16,), (3, 16)))
            for _ in range(2):
                backend.dense(x, W, b, "relu", z=y, y=y)
    assert len(fills) == 1


def test_what_cublaslt_cannot_compute_is_not_used(make, file, timed, monkeypatch):
    found = SimulatedProduct.heuristics

    def heuristics(plan: SimulatedProduct, workspace_size: int, want: int = 8) -> list[Algorithm]:
        return [] if plan.product.epilogue == "drelu" else found(plan, workspace_size, want)

    monkeypatch.setattr(SimulatedProduct, "heuristics", heuristics)
    assert asked(make("bf16")) == 0
    assert set(file().values()) == {"apart"}


def test_without_room_for_a_trial_nothing_is_fused_and_nothing_decided(make, file, timed, monkeypatch):
    def full(*_: Any) -> Any:
        raise OutOfMemoryError("cuda:0", needed=1, free=0)

    backend = make("fp32")
    monkeypatch.setattr(GemmTimer, "random", full)
    assert asked(backend) == 0
    assert file() == {}


def test_no_trial_is_made_of_what_is_never_fused(make, file, timed, monkeypatch):
    backend = make("fp32")
    assert asked(backend, activation="tanh") == 0
    assert asked(backend, dtype="float64") == 0
    assert backend.signs_per_row(None, *SHAPE[1:], activation="relu", dtype="float32") == SIGNS
    monkeypatch.setattr(layers, "RELU_IN_EPILOGUE", False)
    assert asked(backend) == 0
    assert backend.signs_per_row(None, *SHAPE[1:], activation="relu", dtype="float32") == 0
    assert (timed, file()) == ([], {})


def test_a_step_that_is_recorded_asks_nothing_new(make, timed):
    backend = make("fp32")
    with pytest.raises(ScratchError, match=r"relu across a border: .* is first asked for while"):
        backend.record(lambda: asked(backend))


def test_a_choice_on_file_that_makes_no_sense_is_made_again(make, file, timed, tmp_path):
    backend = make("bf16")
    asked(backend)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"fused"', '"twice"'))
    assert asked(make("bf16")) == SIGNS
    assert set(file().values()) == {"fused"}


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_launches_of_a_border(make, timed, rng, precision, members):
    """Two for float32, the bias gradient in the product; three with bf16, without y; as many for members."""
    backend, leading = make(precision), (members,) * (members > 1)
    (rows, n_in, _, n_out), width = SHAPE, 128  # so that the biases of all members are aligned
    stored = backend.storage("float32")
    with backend.running():
        x, W, b, dz, V, y, out = (
            backend.empty((*leading, *shape), stored)
            for shape in (
                *((rows, n_in), (n_in, width), (width,), (rows, n_out), (width, n_out)),
                *((rows, width), (rows, width)),
            )
        )
        db, signs = backend.empty((*leading, width), np.float32), backend.empty((*leading, rows, 16), np.uint8)

        def step() -> None:
            backend.dense(x, W, b, "relu", z=y, y=y, signs=signs)
            backend.matmul_activation_backward(dz, V, "relu", y, out=out, db=db, signs=signs)

        sums = [] if precision == "fp32" else ["activation_backward"]
        assert launched(backend, step) == ["product", "product", *sums]
        read = [span for launch in backend.record(step)[1:] for span in launch.reads]
        assert not any(start <= y.data.ptr < stop for start, stop in read)
        forward, back = backend.record(step)[:2]
        assert set(forward.writes) & set(back.reads)  # the signs: one waits for the other


def test_a_member_whose_bias_gradient_is_not_aligned_has_the_bits_of_the_net_alone(make, rng):
    backend = make("fp32")
    backend.sums_in_product = lambda border: True
    dz, V, y = (rng.standard_normal((3, *shape)).astype(np.float32) for shape in ((20, 4), (5, 4), (20, 5)))
    with backend.running():
        device_dz, device_V, out = backend.upload(dz), backend.upload(V), backend.empty((3, 20, 5), np.float32)
        signs, db = backend.upload(rng.integers(0, 256, (3, 20, 16)).astype(np.uint8)), backend.empty((3, 5), "f4")
        backend.matmul_activation_backward(device_dz, device_V, "relu", y, out=out, db=db, signs=signs)
        together = backend.download(db)
        alone = backend.empty((5,), np.float32)
        for j in range(3):
            backend.matmul_activation_backward(
                device_dz[j], device_V[j], "relu", y[j], out=out[j], db=alone, signs=signs[j]
            )
            assert backend.download(alone).tobytes() == together[j].tobytes()
            np.testing.assert_allclose(together[j], backend.download(out)[j].sum(axis=0), rtol=1e-5, atol=1e-5)


def test_the_record_of_a_border():
    border = ReluBorder(2, 3, 129, 4, "bf16", "float32", "bf16")
    assert border.backward == border._replace(n_in=0)
    assert [signs_bytes(width) for width in (1, 128, 129, 4096)] == [16, 16, 32, 512]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_border_is_timed_on_the_card(file, precision):
    backend = cr.backend("cuda", precision=precision)
    for rows, width in ((128, 512), (8192, 64)):
        backend.signs_per_row(rows, 64, width, 64, activation="relu", dtype="float32")
    assert set(file().values()) <= {"fused", "apart"}
    assert len(file()) >= 2
