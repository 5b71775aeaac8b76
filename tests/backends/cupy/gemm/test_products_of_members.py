"""The products of the members of an ensemble: one call, and each has the bits of the same net alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy.gemm.cublaslt import Algorithm, Library
from chainrule.backends.cupy.gemm.gemm import describe_product
from chainrule.errors import ShapeError
from emulation.backend import compiler_problem
from emulation.cublaslt import HostDll
from emulation.simulated_cupy import SimulatedProduct, simulated

K = 3


def in_arena(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """(K, *shape): a slice of each row of an arena, at a multiple of 16 bytes."""
    size = int(np.prod(shape))
    arena = rng.standard_normal((K, size + 32 - size % 16))
    return arena[:, 16 : 16 + size].reshape(K, *shape)


@pytest.mark.parametrize("epilogue", ["none", "bias", "relu_bias"])
def test_one_call_multiplies_for_all_members(rng, epilogue):
    """x W forward, x.T dz for dW, dz W.T for dx; x may be shared."""
    library = Library(dll := HostDll())
    x, W, dz = rng.standard_normal((K, 5, 4)), in_arena(rng, 4, 6), rng.standard_normal((K, 5, 6))
    for left, right in [(x, W), (x[0], W), (x.swapaxes(1, 2), dz), (x[0].T, dz), (dz, W.swapaxes(1, 2))]:
        wanted = left @ right
        out, bias = in_arena(rng, *wanted.shape[1:]), in_arena(rng, wanted.shape[2])
        has_bias = epilogue != "none"
        product = describe_product(left, right, out, "fp32", epilogue, bias if has_bias else None)
        plan = library.plan(product)
        plan.use(Algorithm(bytes(64), 0))
        addresses = [array.ctypes.data for array in (left, right, out, bias)][: 3 + has_bias]
        plan.run(*addresses, stream=5, workspace=512, workspace_size=64)
        if has_bias:
            wanted = wanted + bias[:, None]
        np.testing.assert_allclose(out, np.maximum(wanted, 0) if epilogue == "relu_bias" else wanted, rtol=1e-12)
        assert (product.members, dll.calls[-1].count) == (K, K)


def test_the_product_of_one_member_is_described_as_that_of_the_net_alone():
    """Also if its rows are such that only the first of an array of its own is well aligned."""
    for n, n_in, n_out in itertools.product((5, 8), (3, 4, 6), (1, 3, 8)):
        shapes = ((n, n_in), (n_in, n_out), (n, n_out))
        together = describe_product(*(np.zeros((K, *shape), np.float32) for shape in shapes), "fp32", "none")
        alone = describe_product(*(np.zeros(shape, np.float32) for shape in shapes), "fp32", "none")
        assert (together.members, together.of_one) == (K, alone)


def test_members_that_do_not_go_together_are_refused():
    x, W = np.zeros((K, 5, 4), np.float32), np.zeros((K, 4, 6), np.float32)
    for arrays in ((x, W[:2], np.zeros((K, 5, 6), np.float32)), (x, W, np.zeros((5, 6), np.float32))):
        with pytest.raises(ShapeError, match="expected out"):
            describe_product(*arrays, "fp32", "none")


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """From a precision to a backend."""
    if request.param == "cuda":
        yield lambda precision: cr.backend("cuda", precision=precision)
        return
    if problem := compiler_problem():
        pytest.skip(problem)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield lambda precision: CuPyBackend(precision=precision)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_member_has_the_bits_of_the_net_alone(make, rng, monkeypatch, precision, fits):
    """By one call; or, if the simulated library refuses the algorithm of one for several, by a call for each."""
    if not fits:
        check = SimulatedProduct.check
        monkeypatch.setattr(SimulatedProduct, "check", lambda p, o: check(p, o) if p.product.members == 1 else None)
    backend = make(precision)
    for n, n_in, n_out in ((37, 5, 7), (64, 32, 16), (1, 8, 3)):
        shapes = ((K, n, n_in), (K, n_in, n_out), (K, n_out))
        values = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        y = _dense(backend, values)
        for j in range(K):
            assert y[j].tobytes() == _dense(backend, [value[j] for value in values]).tobytes()


def _dense(backend: Any, values: list[np.ndarray]) -> np.ndarray:
    with backend.running():
        x, W, b = (_stored(backend, value) for value in values)
        y = backend.empty((*x.shape[:-1], W.shape[-1]), x.dtype)
        backend.matmul(x, W, out=y)
        product = backend.download(y)
        backend.dense(x, W, b, "relu", z=y, y=y)
    return np.concatenate([product, backend.download(y)], axis=-1)


def _stored(backend: Any, values: np.ndarray) -> Any:
    array = backend.upload(values)
    if backend.storage(array.dtype) != BF16:
        return array
    stored = backend.empty(array.shape, BF16)
    backend.copy(array, out=stored)
    return stored
