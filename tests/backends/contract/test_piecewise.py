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
