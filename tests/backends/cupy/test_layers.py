"""Layers beyond the contract: how work is divided among blocks, launches, nan, bits, BF16 storage."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from activation_formulas import FORMULAS
from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import kernels, layers
from emulation.compiled import narrow, widen
from emulation.poisoned_memory import as_bf16, assert_within, launched

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
FUSED = pytest.mark.parametrize("backend", ["emulated", CUDA], indirect=True)
EVERY = pytest.mark.parametrize(
    "backend", ["numpy", "compiled", "guarded", "emulated", "simulated", CUDA], indirect=True
)

U32 = 2.0**-24  # unit roundoff of float32, in which all BF16 kernels compute
SMALLEST = float(np.finfo(np.float32).tiny)
U16 = 2.0**-8  # and of BF16, which has 8 bits with the one that is not stored, to which they round at the end


# ---- how work is divided among blocks -------------------------------------------------------------

# One strip and several; columns that fill accesses of 16 bytes or do not; rows enough for blocks to share a strip.
STRIPS = [(1, 1), (3, 4), (40, 64), (33, 200), (2, 1000), (700, 8), (1500, 10), (1100, 32), (5000, 1), (3, 777)]


@FUSED
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("multiprocessors", [1, 8])
@pytest.mark.parametrize("shape", STRIPS)
def test_activation_backward_adds_up_columns_in_any_number_of_blocks(
    backend, memory, rng, monkeypatch, dtype, u, shape, multiprocessors, offset
):
    """Three times in a row: what one call leaves in scratch memory must not show in the next."""
    monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
    for activation in ("relu", "identity", "tanh"):
        y, given = np.tanh(rng.normal(size=shape)).astype(dtype), rng.normal(size=shape).astype(dtype)
        dy, dz = memory.array(given, offset=offset), memory.output(shape, dtype, offset=offset)
        db = memory.output(shape[1:], dtype, offset=offset)
        backend.activation_backward(activation, memory.array(y, offset=offset), dy, dz=dz, db=db)
        want = given * FORMULAS[activation].derivative(y.astype(np.float64))
        assert_within(memory.read(dz), want, 4 * u * np.abs(given), activation)
        bound = 12 * u * np.abs(given).sum(axis=0, dtype=np.float64)
        assert_within(memory.read(db), want.sum(axis=0), bound, activation)


@FUSED
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1.7])
def test_bias_gradient_of_equal_numbers_does_not_drift(backend, memory, dtype, u, value):
    """If each sum were rounded the same way, as many units of roundoff would be lost as there are rows per thread."""
    dz = memory.array(np.full((20_000, 3), value, dtype))
    db = memory.output((3,), dtype)
    backend.activation_backward("identity", dz, dz, dz=dz, db=db)
    want = 20_000 * float(np.dtype(dtype).type(value))
    assert_within(memory.read(db), want, 12 * u * want)


@FUSED
def test_bias_gradient_has_the_same_bits_every_time(backend, memory, rng, dtype):
    given = memory.array(rng.normal(size=(3000, 12)), dtype)
    sums = [memory.output((12,), dtype) for _ in range(3)]
    for db in sums:
        backend.activation_backward("identity", given, given, dz=given, db=db)
    assert len({memory.read(db).tobytes() for db in sums}) == 1


@FUSED
@pytest.mark.parametrize("offsets", [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("size", [1, 31, 1024, 9001])
def test_activations_of_arrays_on_and_off_a_16_byte_border(backend, memory, rng, monkeypatch, dtype, u, size, offsets):
    monkeypatch.setattr(backend, "multiprocessors", 2)
    for activation, formula in FORMULAS.items():
        z = rng.normal(size=size).astype(dtype)
        out = memory.output((size,), dtype, offset=offsets[1])
        backend.activate(activation, memory.array(z, offset=offsets[0]), out=out)
        exact = z.astype(np.float64)
        assert_within(memory.read(out), formula.act(exact), formula.error(exact, u), activation)


@FUSED
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (33, 200), (600, 8)])
def test_dense_if_the_product_does_not_add_the_bias(backend, memory, rng, monkeypatch, dtype, u, shape, offset):
    monkeypatch.setattr(layers, "BIAS_IN_EPILOGUE", frozenset())
    monkeypatch.setattr(backend, "multiprocessors", 2)
    (n, n_out), n_in = shape, 5
    x, W, b = (rng.normal(size=s).astype(dtype) for s in ((n, n_in), (n_in, n_out), (n_out,)))
    arrays = memory.array(x), memory.array(W), memory.array(b, offset=offset)
    size = np.abs(x).astype(np.float64) @ np.abs(W) + np.abs(b)
    for (activation, formula), shared in itertools.product(FORMULAS.items(), (True, False)):
        y = memory.output(shape, dtype, offset=offset)
        z = y if shared else memory.output(shape, dtype, offset=offset)
        backend.dense(*arrays, activation, z=z, y=y)
        want = x.astype(np.float64) @ W + b
        if not shared:
            assert_within(memory.read(z), want, 10 * u * size, activation)
        bound = formula.steepest * 10 * u * size + formula.error(want, u)
        assert_within(memory.read(y), formula.act(want), bound, activation)


def test_activations_have_the_numbers_of_the_source():
    match = re.search(r"enum Activation {([^}]*)}", (kernels.HERE / "activations.cuh").read_text())
    assert match is not None
    assert re.findall(r"\w+", match[1].lower()) == list(layers.ACTIVATIONS)
    assert list(layers.ACTIVATIONS.values()) == list(range(len(layers.ACTIVATIONS)))


# ---- launches -------------------------------------------------------------------------------------


@FUSED
@pytest.mark.parametrize(("activation", "shared", "extra"), [
    ("identity", True, []), ("relu", True, []), ("tanh", True, ["activate"]), ("sigmoid", True, ["activate"]),
    ("identity", False, ["activate"]), ("relu", False, ["activate"]), ("tanh", False, ["activate"]),
])  # fmt: skip
def test_dense_is_a_product_and_at_most_one_more_launch(backend, memory, rng, activation, shared, extra):
    x, W, b = (memory.array(rng.normal(size=s), np.float32) for s in ((9, 8), (8, 12), (12,)))
    y = memory.output((9, 12), np.float32)
    z = y if shared else memory.output((9, 12), np.float32)
    assert launched(backend, lambda: backend.dense(x, W, b, activation, z=z, y=y)) == ["product", *extra]
    x, W, b, y, z = (memory.array(memory.read(a)) for a in (x, W, b, y, z))
    step = lambda: backend.dense(x, W, b, activation, z=y if shared else z, y=y)
    assert launched(backend, step) == ["product", "bias_activate"], "float64"


@FUSED
def test_dense_if_the_relu_is_a_launch_of_its_own(backend, memory, rng, monkeypatch):
    """As it has to be if the product's ReLU does not keep a nan."""
    monkeypatch.setattr(layers, "RELU_IN_EPILOGUE", False)
    x, W, b = (memory.array(rng.normal(size=s), np.float32) for s in ((9, 8), (8, 12), (12,)))
    y = memory.output((9, 12), np.float32)
    assert launched(backend, lambda: backend.dense(x, W, b, "relu", z=y, y=y)) == ["product", "activate"]
    want = memory.read(x) @ memory.read(W) + memory.read(b)
    assert_within(memory.read(y), np.where(want > 0, want, 0), 1e-5)


@FUSED
@pytest.mark.parametrize("rows", [9, 4000])
def test_launches_of_the_backward_pass(backend, memory, rng, dtype, rows):
    x, dz, W = (memory.array(rng.normal(size=s), dtype) for s in ((rows, 8), (rows, 12), (8, 12)))
    y, dx, db, dW = (memory.array(np.ones(s), dtype) for s in ((rows, 8), (rows, 8), (8,), (8, 12)))
    for activation in FORMULAS:
        step = lambda activation=activation: backend.activation_backward(activation, y, x, dz=dx, db=db)
        assert launched(backend, step) == ["activation_backward"]
        step = lambda activation=activation: backend.matmul_activation_backward(dz, W, activation, y, out=dx, db=db)
        assert launched(backend, step) == ["product", "activation_backward"]
    assert launched(backend, lambda: backend.matmul(x.T, dz, out=dW)) == ["product"]


# ---- a nan must not vanish ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 1, 1), (4, 3, 5), (128, 64, 256), (130, 96, 10)])
def test_a_nan_goes_through_a_layer(backend, memory, rng, dtype, activation, n, n_in, n_out):
    """In every implementation, and whatever multiplies: a ReLU in an epilogue that made it 0 would hide divergence.

    A nan among the inputs spoils its row, one among the weights or biases its column.
    """
    for spoilt in ("x", "W", "b"):
        values = {"x": rng.normal(size=(n, n_in)), "W": rng.normal(size=(n_in, n_out)), "b": rng.normal(size=n_out)}
        values[spoilt].flat[-1] = np.nan
        x, W, b = (memory.array(value, dtype) for value in values.values())
        y = memory.output((n, n_out), dtype)
        backend.dense(x, W, b, activation, z=y, y=y)
        want = np.zeros((n, n_out), bool)
        want[-1 if spoilt == "x" else slice(None), slice(None) if spoilt == "x" else -1] = True
        np.testing.assert_array_equal(np.isnan(memory.read(y)), want, spoilt)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(4, 3, 5), (128, 64, 256)])
def test_a_nan_goes_through_a_layer_in_bf16(bf16_memory, rng, activation, n, n_in, n_out):
    memory, W = bf16_memory, rng.normal(size=(n_in, n_out))
    W[0, 1] = np.nan
    x, W, b = (memory.array(as_bf16(a)[0]) for a in (rng.normal(size=(n, n_in)), W, rng.normal(size=n_out)))
    y = memory.output((n, n_out), BF16)
    memory.backend.dense(x, W, b, activation, z=y, y=y)
    np.testing.assert_array_equal(np.isnan(memory.read(y)), np.arange(n_out)[None, :].repeat(n, axis=0) == 1)


@FUSED
@pytest.mark.parametrize("activation", FORMULAS)
def test_a_gradient_that_is_not_finite_shows_in_the_bias_gradient(backend, memory, dtype, activation):
    for value in (np.nan, np.inf):
        dy, db = memory.array([[1.0, value], [2.0, 3.0]], dtype), memory.output((2,), dtype)
        backend.activation_backward(activation, memory.array([[0.5, 0.0], [0.5, 0.5]], dtype), dy, dz=dy, db=db)
        assert np.isfinite(memory.read(db)).tolist() == [True, False]


# ---- BF16 storage ---------------------------------------------------------------------------------
# Kernels compute in float32 and round once, at the end: at most half a unit in the last place of BF16, which is U16 of
# the result, beside the few U32 of the arithmetic.


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (130, 64), (33, 20), (2000, 8), (1500, 10)])
def test_activation_backward_in_bf16(bf16_memory, rng, monkeypatch, activation, shape):
    memory, backend, formula = bf16_memory, bf16_memory.backend, FORMULAS[activation]
    monkeypatch.setattr(backend, "multiprocessors", 3)
    for in_place, offset in itertools.product((True, False), (0, 1)):
        y, exact_y = as_bf16(formula.saved(rng.normal(size=shape)))
        given, exact_dy = as_bf16(rng.normal(size=shape))
        dy, db = memory.array(given, offset=offset), memory.output(shape[1:], np.float32)
        dz = dy if in_place else memory.output(shape, BF16, offset=offset)
        # The identity's is the last layer's output, which is float32.
        saved = memory.array(exact_y.astype(np.float32)) if activation == "identity" else memory.array(y, offset=offset)
        backend.activation_backward(activation, saved, dy, dz=dz, db=db)
        want, got = exact_dy * formula.derivative(exact_y), memory.read(dz)
        exact = activation in {"identity", "relu"}
        assert_within(got, want, 0 if exact else U16 * np.abs(want) + formula.roundings * U32 * np.abs(exact_dy))
        # db is the sum of dz as it was rounded, what the product of a column of ones and dz would be.
        assert_within(memory.read(db), got.sum(axis=0), 12 * U32 * np.abs(got).sum(axis=0))


@pytest.mark.parametrize("activation", FORMULAS)
def test_a_nan_and_an_infinity_stay_what_they_are_in_bf16(bf16_memory, activation):
    memory, values = bf16_memory, np.array([[np.nan, np.inf, -np.inf, 3e38, -0.0, 1e-40]], np.float32)
    out = memory.output(values.shape, BF16)
    memory.backend.activate(activation, memory.array(narrow(values)), out=out)
    want = FORMULAS[activation].act(widen(narrow(values)).astype(np.float64))
    want[0, 0] = np.nan
    got = memory.read(out)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    np.testing.assert_allclose(got, want, rtol=U16, atol=1e-38)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shared", [True, False], ids=["z is y", "z apart"])
@pytest.mark.parametrize("in_epilogue", [True, False])
def test_dense_hidden_layer_in_bf16(bf16_memory, rng, monkeypatch, activation, shared, in_epilogue):
    memory, backend = bf16_memory, bf16_memory.backend
    if not in_epilogue:
        monkeypatch.setattr(layers, "BIAS_IN_EPILOGUE", frozenset())
    formula = FORMULAS[activation]
    for n, n_in, n_out in [(1, 1, 1), (7, 5, 3), (40, 16, 64), (300, 8, 24)]:
        (x, exact_x), (W, exact_W) = as_bf16(rng.normal(size=(n, n_in))), as_bf16(rng.normal(size=(n_in, n_out)))
        b, exact_b = as_bf16(rng.normal(size=n_out))
        y = memory.output((n, n_out), BF16)
        z = y if shared else memory.output((n, n_out), BF16)
        arrays = [memory.array(a) for a in (x, W, b)]
        backend.dense(*arrays, activation, z=z, y=y)
        want = exact_x @ exact_W + exact_b
        # The sum in float32; then z is rounded, and before it, if a kernel of its own adds the bias, the product.
        bound = 9 * U32 * (np.abs(exact_x) @ np.abs(exact_W) + np.abs(exact_b)) + 1.01 * U16 * np.abs(want)
        if not in_epilogue:
            bound += 1.01 * U16 * np.abs(exact_x @ exact_W)
        got = memory.read(y)
        if not shared:
            assert_within(memory.read(z), want, bound)
            want, bound = memory.read(z), 0  # y is what the activation makes of the z that was written
        bound = formula.steepest * bound + U16 * np.abs(formula.act(want)) + 2 * formula.error(want, U32)
        bound = bound + SMALLEST * np.maximum(1, np.abs(want))  # a factor of z that is smaller counts as 0
        assert_within(got, formula.act(want), bound)


def test_the_last_layer_of_bf16_factors_is_float32(bf16_memory, rng):
    memory, backend = bf16_memory, bf16_memory.backend
    (x, exact_x), (W, exact_W) = as_bf16(rng.normal(size=(20, 16))), as_bf16(rng.normal(size=(16, 10)))
    b = rng.normal(size=10).astype(np.float32)
    y, dW = memory.output((20, 10), np.float32), memory.output((16, 10), np.float32)
    x, W, b_array = memory.array(x), memory.array(W), memory.array(b)
    assert launched(backend, lambda: backend.dense(x, W, b_array, "identity", z=y, y=y)) == ["product"]
    size = np.abs(exact_x) @ np.abs(exact_W) + np.abs(b)
    assert_within(memory.read(y), exact_x @ exact_W + b, 9 * U32 * size)
    dz, exact_dz = as_bf16(rng.normal(size=(20, 10)))
    backend.matmul(x.T, memory.array(dz), out=dW)
    assert_within(memory.read(dW), exact_x.T @ exact_dz, 9 * U32 * (np.abs(exact_x.T) @ np.abs(exact_dz)))


@pytest.mark.parametrize("activation", FORMULAS)
def test_launches_of_layers_in_bf16(bf16_memory, rng, activation):
    memory, backend = bf16_memory, bf16_memory.backend
    x, W, b = (memory.array(as_bf16(rng.normal(size=s))[0]) for s in ((9, 8), (8, 16), (16,)))
    y, db = memory.output((9, 16), BF16), memory.output((8,), np.float32)
    extra = [] if activation in {"identity", "relu"} else ["activate"]
    assert launched(backend, lambda: backend.dense(x, W, b, activation, z=y, y=y)) == ["product", *extra]
    step = lambda: backend.matmul_activation_backward(y, W, activation, x, out=x, db=db)
    assert launched(backend, step) == ["product", "activation_backward"]
