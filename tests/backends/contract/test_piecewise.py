"""The contract of piecewise-linear encodings: every backend against plain arithmetic, with a model axis, in bf16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.numpy.backend import NumPyBackend
from comparisons import assert_within
from emulation.backend import EmulatedBackend, compiler_problem, narrow, widen

CASES: dict[str, tuple[int, list[tuple[float, ...]]]] = {
    "one column": (1, [(-1.0, 0.0, 0.5)]),
    "a single piece, open at both ends": (2, [(), (-0.5, 1.5)]),
    "columns without edges": (5, [(-1.0, -0.25, 0.5, 2.0), (), (0.0, 1.0, 3.0)]),
    "no edges at all": (3, []),
    "many pieces": (4, [tuple(np.linspace(-2, 2, 65)), (), tuple(np.geomspace(0.01, 2, 18)), (0.0, 1.0)]),
}
ROWS = [1, 7, 130]
MEMBERS = [(), (3,)]  # axes before the rows


def rows_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers on both sides of the edges, and some on them."""
    return np.where(rng.uniform(size=shape) < 0.2, rng.integers(-1, 3, shape), 2 * rng.normal(size=shape)).astype(dtype)


def expected(x: np.ndarray, edges: list[tuple[float, ...]]) -> np.ndarray:
    """y, number by number, in the dtype of x and its own rounding."""
    kind = x.dtype.type
    columns = [x[..., j] for j in range(x.shape[-1])]
    for j, of_column in enumerate(edges):
        b = [kind(edge) for edge in of_column]
        for t in range(1, len(b)):
            low, high = (-1 if t == 1 else 0), (2 if t == len(b) - 1 else 1)
            columns.append(((x[..., j] - b[t - 1]) / kind(b[t] - b[t - 1])).clip(low, high))
    return np.stack(columns, axis=-1)


def pieces_on(memory: Any, n_in: int, edges: list[tuple[float, ...]], dtype: str) -> Pieces:
    made = cr.PiecewiseLinear(edges).pieces(n_in, dtype)
    return Pieces(*(memory.array(values, values.dtype if values.dtype.kind == "i" else dtype) for values in made))


@pytest.mark.parametrize("members", MEMBERS, ids=["one net", "3 members"])
@pytest.mark.parametrize("case", CASES)
def test_piecewise_linear(backend, memory, rng, dtype, u, case, members):
    n_in, edges = CASES[case]
    pieces = pieces_on(memory, n_in, edges, dtype)
    for n in ROWS:
        for axes in {members, ()}:  # x of each member, or one for all
            x = rows_of(rng, (*axes, n, n_in), dtype)
            x[..., 0, 0] = np.nan if n == 7 else x[..., 0, 0]
            want = np.broadcast_to(expected(x, edges), (*members, n, n_in + cr.PiecewiseLinear(edges).fractions))
            y = memory.output(want.shape, dtype)
            backend.piecewise_linear(memory.array(x), pieces, y=y)
            np.testing.assert_array_equal(memory.read(y)[..., :n_in], want[..., :n_in])
            assert (np.isnan(memory.read(y)) == np.isnan(want)).all()
            assert_within(np.nan_to_num(memory.read(y)), np.nan_to_num(want), 4 * u)


@pytest.mark.parametrize("members", MEMBERS, ids=["one net", "3 members"])
@pytest.mark.parametrize("case", CASES)
def test_piecewise_linear_backward(backend, memory, rng, dtype, u, case, members):
    n_in, edges = CASES[case]
    pieces = pieces_on(memory, n_in, edges, dtype)
    for n in ROWS:
        y = expected(rows_of(rng, (*members, n, n_in), dtype), edges)
        dy = rng.normal(size=y.shape).astype(dtype)
        want, size, o = dy[..., :n_in].astype(np.longdouble), np.abs(dy[..., :n_in]).astype(np.longdouble), n_in
        for j, of_column in enumerate(edges):
            widths = np.diff(np.array(of_column, dtype).astype(np.float64))
            for t, width in enumerate(widths, 1):
                low, high = (-1 if t == 1 else 0), (2 if t == len(widths) else 1)
                through = (low < y[..., o]) & (y[..., o] < high)
                want[..., j] += np.where(through, dy[..., o] / width, 0)
                size[..., j] += np.where(through, np.abs(dy[..., o] / width), 0)
                o += 1
        dx = memory.output(want.shape, dtype)
        backend.piecewise_linear_backward(memory.array(dy), memory.array(y), pieces, dx=dx)
        assert_within(memory.read(dx), want, 8 * u * size, (case, n))


@pytest.mark.parametrize("case", CASES)
def test_compiled_loops_of_encodings_have_the_bits_of_numpy(rng, dtype, case):
    pytest.importorskip("numba", reason="numba is not installed")
    from chainrule.backends.compiled import backend as compiled

    n_in, edges = CASES[case]
    pieces = cr.PiecewiseLinear(edges).pieces(n_in, dtype)
    pieces = Pieces(*(values if values.dtype.kind == "i" else values.astype(dtype) for values in pieces))
    x, found = rows_of(rng, (130, n_in), dtype), []
    for be in (NumPyBackend(), compiled.loaded(), cr.GuardedBackend()):
        on_device = Pieces(*map(be.upload, pieces))
        y, dx = be.empty((130, len(pieces.width)), dtype), be.empty(x.shape, dtype)
        be.piecewise_linear(be.upload(x), on_device, y=y)
        be.piecewise_linear_backward(y, y, on_device, dx=dx)
        found.append((be.download(y).tobytes(), be.download(dx).tobytes()))
    assert found[1:] == found[:1] * 2


def test_in_bf16_pieces_keep_all_digits(rng):
    if problem := compiler_problem():
        pytest.skip(problem)
    be, (n_in, edges) = EmulatedBackend(precision="bf16"), CASES["many pieces"]
    pieces = Pieces(*(be.upload(v if v.dtype.kind == "i" else v.astype(np.float32))
                      for v in cr.PiecewiseLinear(edges).pieces(n_in, np.float32)))  # fmt: skip
    x = narrow(rows_of(rng, (130, n_in), "float32"))
    y, dx = be.empty((130, len(pieces.width)), x.dtype), be.empty(x.shape, x.dtype)
    with be.running():
        be.piecewise_linear(x, pieces, y=y)
        want = narrow(expected(widen(x), edges))
        assert np.abs(widen(y) - widen(want)).max() <= 2.0**-7  # two roundings that differ in the last bit of float32
        be.piecewise_linear_backward(y, y, pieces, dx=dx)
        wide = np.empty(x.shape, np.float32)
        NumPyBackend().piecewise_linear_backward(widen(y), widen(y), pieces, dx=wide)
        assert_within(widen(dx), wide, 2.0**-8 * np.abs(wide) + 1e-5)


# ---- below a dense layer --------------------------------------------------------------------------------------------

ENCODED = {**CASES, "many columns": (3, [tuple(np.linspace(-1, 1, 9))] * 3)}


def encoded_case(rng: np.random.Generator, case: str, shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
    """x, edges, scale, W and b; all weights of the last column's fractions are 0."""
    n_in, edges = ENCODED[case]
    width, axes = n_in + cr.PiecewiseLinear(edges).fractions, shape[:-1]
    W = rng.normal(size=(*axes, width, 37)).astype(dtype)
    W[..., width - max(0, len(edges[-1]) - 1 if edges and len(edges) > 1 else 0) :, :] = 0
    scale, b = (rng.normal(1, 0.3, (*axes, size)).astype(dtype) for size in (width, 37))
    return rows_of(rng, (*shape, n_in), dtype), edges, scale, W, b


def places_on(memory: Any, x: np.ndarray, edges: list[tuple[float, ...]]) -> dict[str, Any]:
    """Memory for where the numbers lie; -1 is no piece."""
    shape = (*x.shape[:-1], sum(1 for of_column in edges if of_column))
    return {"piece": memory.array(np.full(shape, -1, np.int32)), "fraction": memory.output(shape, x.dtype)}


@pytest.mark.parametrize("members", [(), (1,), (2,), (5,)], ids=["one net", "1 member", "2 members", "5 members"])
@pytest.mark.parametrize("case", ENCODED)
def test_encoded_dense(backend, memory, rng, dtype, u, case, members):
    for n in ROWS:
        x, edges, scale, W, b = encoded_case(rng, case, (*members, n), dtype)
        x[..., 0, 0] = np.nan if n == 7 else x[..., 0, 0]
        x[..., -1, -1] = 1e4 if n > 1 else x[..., -1, -1]  # far beyond the last edge
        pieces = pieces_on(memory, x.shape[-1], edges, dtype)
        encoded = expected(x, edges).astype(np.longdouble) * scale[..., None, :]
        size = np.abs(encoded) @ np.abs(W) + np.abs(b[..., None, :])
        want = encoded @ W.astype(np.longdouble) + b[..., None, :]
        for activation in ("identity", "tanh"):
            y = memory.output(want.shape, dtype)
            arrays = [memory.array(a) for a in (scale, W, b)]
            places = places_on(memory, x, edges)
            backend.encoded_dense(memory.array(x), pieces, *arrays, activation, z=y, y=y, keeps=False, **places)
            found, wanted = memory.read(y), want if activation == "identity" else np.tanh(want)
            assert (np.isnan(found) == np.isnan(want)).all()
            assert_within(np.nan_to_num(found), np.nan_to_num(wanted), 40 * u * np.nan_to_num(size, nan=1.0))


@pytest.mark.parametrize("members", [(), (1,), (2,), (5,)], ids=["one net", "1 member", "2 members", "5 members"])
@pytest.mark.parametrize("case", ENCODED)
def test_encoded_dense_backward(backend, memory, rng, dtype, u, case, members):
    for n in ROWS:
        x, edges, scale, W, _ = encoded_case(rng, case, (*members, n), dtype)
        dz, n_in = rng.normal(size=(*members, n, 37)).astype(dtype), x.shape[-1]
        pieces = pieces_on(memory, n_in, edges, dtype)
        encoded = expected(x, edges).astype(np.longdouble)
        dV, size = encoded.swapaxes(-1, -2) @ dz, np.abs(encoded.swapaxes(-1, -2)) @ np.abs(dz)
        dx_wide = np.empty(x.shape)
        dy = (dz.astype(np.float64) @ W.swapaxes(-1, -2)) * scale[..., None, :]
        made = cr.PiecewiseLinear(edges).pieces(n_in, dtype)
        NumPyBackend().piecewise_linear_backward(dy, encoded.astype(dtype), made, dx=dx_wide)
        steepest = np.abs(dz) @ np.abs(W.swapaxes(-1, -2)) * np.abs(scale[..., None, :]) / made.width
        for frozen in (False, True):
            fixed = (W[..., n_in:, :] == 0).all(axis=-1) if frozen else np.zeros_like(scale[..., n_in:], bool)
            for wants_dx in (True, False):
                dW, dscale = (memory.output(a.shape, dtype) for a in (W, scale))
                dx = memory.output(x.shape, dtype) if wants_dx else None
                scale_, W_, dz_, x_, b = [memory.array(a) for a in (scale, W, dz, x, 0 * W[..., 0, :])]
                places, z = places_on(memory, x, edges), memory.output(dz.shape, dtype)
                backend.encoded_dense(x_, pieces, scale_, W_, b, "identity", z=z, y=z, keeps=not frozen, **places)
                options = {"dW": dW, "dscale": dscale, "dx": dx, "frozen": frozen}
                backend.encoded_dense_backward(x_, pieces, scale_, W_, dz_, **places, **options)
                keep = np.concatenate([np.ones((*scale.shape[:-1], n_in), bool), ~fixed], axis=-1)
                assert_within(memory.read(dW)[keep], (dV * scale[..., None])[keep], 40 * u * (size * 2)[keep])
                assert_within(memory.read(dscale), (dV * W).sum(axis=-1), 40 * u * (size * np.abs(W)).sum(axis=-1))
                if wants_dx:
                    assert_within(memory.read(dx), dx_wide, 80 * u * steepest.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])
@pytest.mark.parametrize("case", ENCODED)
def test_compiled_loops_of_encoded_layers_have_the_bits_of_numpy(rng, dtype, case, members, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    from chainrule.backends.compiled import backend as compiled
    from chainrule.backends.compiled.state import LOOPS

    be, found = compiled.loaded(), []
    for n in ROWS:
        x, edges, scale, W, b = encoded_case(rng, case, (*members, n), dtype)
        x[..., 0, 0] = np.nan if n == 7 else x[..., 0, 0]
        made = cr.PiecewiseLinear(edges).pieces(x.shape[-1], dtype)
        pieces = Pieces(*(values if values.dtype.kind == "i" else values.astype(dtype) for values in made))
        dz = rng.normal(size=(*x.shape[:-1], 37)).astype(dtype)
        for is_loaded in (True, False):
            monkeypatch.setattr(LOOPS, "is_loaded", is_loaded)
            y, dW, dscale, dx = (np.full_like(a, 7) for a in (dz, W, scale, x))
            q = int((np.diff(pieces.first) > 0).sum())
            places = {"piece": np.empty((*x.shape[:-1], q), np.int32), "fraction": np.empty((*x.shape[:-1], q), dtype)}
            with be.running():
                be.encoded_dense(x, pieces, scale, W, b, "identity", z=y, y=y, keeps=n != 7, **places)
                options = {"dW": dW, "dscale": dscale, "dx": dx, "frozen": n == 7}
                be.encoded_dense_backward(x, pieces, scale, W, dz, **places, **options)
            found.append([a.tobytes() for a in (y, dW, dscale, dx)])
        monkeypatch.undo()
        assert found[-1] == found[-2], n
