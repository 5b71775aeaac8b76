"""Products, activations and their gradients, on every backend against their formulas.

Errors are measured in units of roundoff (``u``) of what goes into a result. Every array is a row slice of a longer
buffer and outputs hold nan before the call: what a kernel leaves out or writes past the end shows.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from activation_formulas import FORMULAS
from comparisons import assert_within
from kernel_cases import SHAPES, exact_product
from pairwise import pairwise


def matmul_cases() -> list[tuple[int, int, int]]:
    """60 shapes (m, k, n), every third with a single row, column or term."""
    shapes = np.random.default_rng(1).integers(1, 65, (60, 3))
    shapes[range(0, 60, 3), np.arange(20) % 3] = 1
    return [tuple(int(s) for s in shape) for shape in [*shapes, (1, 1, 1), (200, 3, 129)]]


@pairwise(
    a_turned=[False, True],
    b_turned=[False, True],
    dtype=["float32", "float64"],
)
def test_matmul(backend, memory, rng, dtype, u, a_turned, b_turned):
    """Every element within 8 u (|A| @ |B|) of the exact product."""

    def factor(shape: tuple[int, int], turned: bool) -> tuple[np.ndarray, Any]:
        values = rng.normal(size=shape).astype(dtype)
        return values, memory.array(values.T).T if turned else memory.array(values)

    for m, k, n in matmul_cases():
        (a, device_a), (b, device_b) = factor((m, k), a_turned), factor((k, n), b_turned)
        out = memory.output((m, n), dtype)
        backend.matmul(device_a, device_b, out=out)
        size = exact_product(np.abs(a), np.abs(b))
        assert_within(memory.read(out), exact_product(a, b), 8 * u * size, (m, k, n))


EDGES = np.array(
    [[0.0, -0.0, 1e4, -1e4, 100.0, -100.0, 1e-30, -1e-30, 8.0, -8.0, 30.0, 40.0, -40.0, 41.0, np.inf, -np.inf]]
)


@pairwise(
    activation=FORMULAS,
    in_place=[False, True],
    dtype=["float32", "float64"],
)
def test_activate(backend, memory, rng, dtype, u, activation, in_place):
    for z in [EDGES.astype(dtype), *(3 * rng.normal(size=shape).astype(dtype) for shape in SHAPES)]:
        array = memory.array(z)
        out = array if in_place else memory.output(z.shape, dtype)
        backend.activate(activation, array, out=out)
        exact = z.astype(np.float64)
        want = FORMULAS[activation].act(exact)
        finite = np.isfinite(want)
        bound = FORMULAS[activation].error(exact, u) + np.finfo(dtype).tiny
        assert_within(memory.read(out)[finite], want[finite], bound[finite])
        np.testing.assert_array_equal(memory.read(out)[~finite], want[~finite])


@pytest.mark.parametrize("activation", FORMULAS)
def test_a_nan_goes_through_every_activation(backend, memory, dtype, activation):
    """Or training that has diverged would continue as if nothing had happened."""
    out = memory.output((1, 3), dtype)
    backend.activate(activation, memory.array([[1.0, np.nan, -1.0]], dtype), out=out)
    assert np.isnan(memory.read(out)).tolist() == [[False, True, False]]


@pairwise(
    activation=FORMULAS,
    shared=[True, False],
    dtype=["float32", "float64"],
)
def test_dense(backend, memory, rng, dtype, u, activation, shared):
    for (n, n_out), n_in in itertools.product(SHAPES, (1, 6)):
        x, W, b = (rng.normal(size=s).astype(dtype) for s in [(n, n_in), (n_in, n_out), (n_out,)])
        y = memory.output((n, n_out), dtype)
        z = y if shared else memory.output((n, n_out), dtype)
        backend.dense(memory.array(x), memory.array(W), memory.array(b), activation, z=z, y=y)
        want = exact_product(x, W) + b
        bound = 9 * u * (exact_product(np.abs(x), np.abs(W)) + np.abs(b))
        if not shared:
            assert_within(memory.read(z), want, bound, (n, n_in, n_out))
        formula = FORMULAS[activation]
        bound = formula.steepest * bound + formula.error(want, u)
        assert_within(memory.read(y), formula.act(want), bound, (n, n_in, n_out))


def saved_by(activation: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """What a layer keeps of random z, 0 (a kink) and a large one among them."""
    z = 2 * rng.normal(size=shape)
    z.flat[-1] = -50.0
    z.flat[0] = 0.0 if "relu" in activation else 50.0
    return FORMULAS[activation].saved(z).astype(dtype)


@pairwise(
    activation=FORMULAS,
    in_place=[False, True],
    dtype=["float32", "float64"],
)
def test_activation_backward(backend, memory, rng, dtype, u, activation, in_place):
    for shape in SHAPES:
        saved, given = saved_by(activation, rng, shape, dtype), rng.normal(size=shape).astype(dtype)
        dy, db = memory.array(given), memory.output(shape[1:], dtype)
        dz = dy if in_place else memory.output(shape, dtype)
        backend.activation_backward(activation, memory.array(saved), dy, dz=dz, db=db)
        formula = FORMULAS[activation]
        want, size = given * formula.derivative(saved.astype(np.float64)), np.abs(given).astype(np.float64)
        assert_within(memory.read(dz), want, formula.roundings * u * size, shape)
        assert_within(memory.read(db), want.sum(axis=0), 3 * formula.roundings * u * size.sum(axis=0), shape)


@pytest.mark.parametrize("activation", FORMULAS)
def test_activation_backward_far_from_zero(backend, memory, dtype, u, activation):
    """Up to 1e4 on either side, where exp and powers of z overflow, and at the ends of gates."""
    formula, z = FORMULAS[activation], EDGES[:, :-2]
    saved = formula.saved(z).astype(dtype)
    dz, db = memory.array(np.ones(z.shape), dtype), memory.output(z.shape[1:], dtype)
    backend.activation_backward(activation, memory.array(saved), dz, dz=dz, db=db)
    assert_within(memory.read(dz), formula.derivative(saved.astype(np.float64)), formula.roundings * u)


@pytest.mark.parametrize("activation", FORMULAS)
def test_matmul_activation_backward(backend, memory, rng, dtype, u, activation):
    for (n, n_in), n_out in itertools.product(SHAPES, (1, 6)):
        dz, W = rng.normal(size=(n, n_out)).astype(dtype), rng.normal(size=(n_in, n_out)).astype(dtype)
        saved = saved_by(activation, rng, (n, n_in), dtype)
        out, db = memory.output((n, n_in), dtype), memory.output((n_in,), dtype)
        backend.matmul_activation_backward(
            memory.array(dz), memory.array(W), activation, memory.array(saved), out=out, db=db
        )
        formula = FORMULAS[activation]
        want = exact_product(dz, W.T) * formula.derivative(saved.astype(np.float64))
        size = (8 * formula.steepest + formula.roundings) * exact_product(np.abs(dz), np.abs(W.T))
        assert_within(memory.read(out), want, u * size, (n, n_in, n_out))
        assert_within(memory.read(db), want.sum(axis=0), 2 * u * size.sum(axis=0), (n, n_in, n_out))


@pytest.mark.parametrize("width", [1, 5, 128, 131])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_relu_across_the_border_of_two_layers(backend, memory, rng, dtype, u, width, zero, monkeypatch):
    """With signs if the device wants any; those of the CUDA implementation that do not time it are told to."""
    for question in {"fuses_relu", "sums_in_product"} & set(dir(backend)) if backend.device == "cpu" else ():
        monkeypatch.setattr(backend, question, lambda border: True)
    n, n_in, n_out = 9, 6, 4
    x, W, b, dz, V = (
        rng.normal(size=shape).astype(dtype)
        for shape in ((n, n_in), (n_in, width), (width,), (n, n_out), (width, n_out))
    )
    x[3], b[:1] = 0, zero  # z is 0 there, and the gradient too
    size = backend.signs_per_row(n, n_in, width, n_out, activation="relu", dtype=dtype)
    assert size <= backend.signs_per_row(None, n_in, width, n_out, activation="relu", dtype=dtype)
    assert backend.signs_per_row(n, n_in, width, n_out, activation="tanh", dtype=dtype) == 0
    signs = memory.output((n, size), np.uint8) if size else None
    y, out, db = memory.output((n, width), dtype), memory.output((n, width), dtype), memory.output((width,), dtype)
    device_dz, device_V = memory.array(dz), memory.array(V)
    backend.dense(memory.array(x), memory.array(W), memory.array(b), "relu", z=y, y=y, signs=signs)
    backend.matmul_activation_backward(device_dz, device_V, "relu", y, out=out, db=db, signs=signs)
    got, want = memory.read(y), exact_product(dz, V.T)
    assert_within(
        got, np.maximum(exact_product(x, W) + b, 0), 8 * u * (exact_product(np.abs(x), np.abs(W)) + np.abs(b))
    )
    assert got[3, 0] == 0
    want, bound = want * (got > 0), 9 * u * exact_product(np.abs(dz), np.abs(V.T))
    assert_within(memory.read(out), want, bound)
    assert_within(memory.read(db), want.sum(axis=0), 2 * bound.sum(axis=0))


@pytest.mark.parametrize("backend", ["numpy", "guarded"], indirect=True)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(4, 3, 2), (1, 5, 1), (6, 1, 3)])
def test_a_model_axis_before_the_others(backend, memory, rng, dtype, u, n, n_in, n_out):
    """Three nets at once give what each gives alone."""
    models = 3
    x, W, b, y, dz = (
        rng.normal(size=(models, *s)).astype(dtype) for s in [(n, n_in), (n_in, n_out), (n_out,), (n, n_in), (n, n_out)]
    )
    z, below = memory.output((models, n, n_out), dtype), memory.output((models, n, n_in), dtype)
    db, db_below = memory.output((models, n_out), dtype), memory.output((models, n_in), dtype)
    product, device_x, device_dz = memory.output((models, n_in, n_out), dtype), memory.array(x), memory.array(dz)
    backend.dense(device_x, memory.array(W), memory.array(b), "tanh", z=z, y=z)
    backend.matmul(device_x.swapaxes(-1, -2), device_dz, out=product)
    backend.matmul_activation_backward(device_dz, memory.array(W), "tanh", memory.array(y), out=below, db=db_below)
    backend.activation_backward("relu", z, device_dz, dz=device_dz, db=db)
    for i in range(models):
        want_z, want_below = np.tanh(exact_product(x[i], W[i]) + b[i]), exact_product(dz[i], W[i].T) * (1 - y[i] ** 2.0)
        want_dz, bound = dz[i] * (want_z > 0), 300 * u
        assert_within(memory.read(z)[i], want_z, bound)
        assert_within(memory.read(product)[i], exact_product(x[i].T, dz[i]), bound)
        assert_within(memory.read(below)[i], want_below, bound)
        assert_within(memory.read(db_below)[i], want_below.sum(axis=0), bound)
        assert_within(memory.read(device_dz)[i], want_dz, bound)
        assert_within(memory.read(db)[i], want_dz.sum(axis=0), bound)


@pytest.mark.parametrize("place", ["apart", "first", "second"])
def test_add(backend, memory, rng, dtype, place):
    for shape in [*SHAPES, (5000,), (1, 8192)]:
        a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        one, other = memory.array(a), memory.array(b)
        out = {"apart": memory.output(shape, dtype), "first": one, "second": other}[place]
        backend.add(one, other, out=out)
        np.testing.assert_array_equal(backend.download(out), a + b)


@pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 1, 1), (5, 4, 3), (7, 3, 8), (130, 17, 9)])
def test_scaled_dense_and_its_gradients(backend, memory, rng, dtype, u, members, n, n_in, n_out):
    """Few rows and many, so that the factors go into x and into W."""
    shapes = (n, n_in), (n_in,), (n_in, n_out), (n_out,), (n, n_out)
    x, scale, W, b, dz = (rng.normal(size=(*members, *shape)).astype(dtype) for shape in shapes)
    wide = (x * scale[..., None, :].astype(np.float64)).astype(np.longdouble)
    y = memory.output(dz.shape, dtype)
    backend.scaled_dense(*map(memory.array, (x, scale, W, b)), "identity", z=y, y=y)
    size = np.abs(wide) @ np.abs(W) + np.abs(b[..., None, :])
    assert_within(memory.read(y), wide @ W + b[..., None, :], 16 * u * size)
    dy, size = dz.astype(np.longdouble) @ W.swapaxes(-1, -2), np.abs(dz) @ np.abs(W.swapaxes(-1, -2))
    for wants_dx in (True, False):
        dW, dscale = (memory.output(a.shape, dtype) for a in (W, scale))
        dx = memory.output(x.shape, dtype) if wants_dx else None
        backend.scaled_dense_backward(*map(memory.array, (x, scale, W, dz)), dW=dW, dscale=dscale, dx=dx)
        want, of_dW = wide.swapaxes(-1, -2) @ dz, np.abs(wide.swapaxes(-1, -2)) @ np.abs(dz)
        assert_within(memory.read(dW), want, 16 * u * of_dW)
        assert_within(memory.read(dscale), (dy * x).sum(axis=-2), 32 * u * (size * np.abs(x)).sum(axis=-2))
        if wants_dx:
            assert_within(memory.read(dx), dy * scale[..., None, :], 16 * u * size * np.abs(scale[..., None, :]))
