"""The contract of columns: side by side, cut out, times factors; on every backend, with a model axis too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.numpy.backend import NumPyBackend
from comparisons import assert_within
from emulation.backend import EmulatedBackend, compiler_problem, narrow, widen

SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10), (40, 64), (1000, 9)]
MEMBERS = [(), (1,), (3,)]  # axes before the rows


@pytest.fixture(params=MEMBERS, ids=["one net", "one member", "3 members"])
def members(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def apart(memory: Any, values: np.ndarray) -> Any:
    """As the parameters of members lie in an arena: those of one far from the next one's."""
    if values.ndim == 1:
        return memory.array(values)
    wide = memory.array(np.concatenate([values, np.zeros((len(values), 16))], axis=1).astype(values.dtype))
    return wide[:, : values.shape[1]]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("shared", ["none", "left", "right"])
def test_join_columns(backend, memory, rng, dtype, members, shared):
    for n, a in SHAPES:
        left = draw(rng, (*(() if shared == "left" else members), n, a), dtype)
        right = draw(rng, (*(() if shared == "right" else members), n, 5), dtype)
        out = memory.output((*members, n, a + 5), dtype)
        backend.join_columns(memory.array(left), memory.array(right), out=out)
        np.testing.assert_array_equal(memory.read(out)[..., :a], np.broadcast_to(left, (*members, n, a)))
        np.testing.assert_array_equal(memory.read(out)[..., a:], np.broadcast_to(right, (*members, n, 5)))


def test_take_columns_and_add_columns(backend, memory, rng, dtype, members):
    for n, k in SHAPES:
        source, before = draw(rng, (*members, n, k + 3), dtype), draw(rng, (*members, n, k), dtype)
        for first in (0, 1, 3):
            part, out = source[..., first : first + k], memory.output(before.shape, dtype)
            backend.take_columns(memory.array(source), first, out=out)
            np.testing.assert_array_equal(memory.read(out), part)
            total = memory.array(before)
            backend.add_columns(memory.array(source), first, out=total)
            np.testing.assert_array_equal(memory.read(total), before + part)


@pytest.mark.parametrize("x_of", ["each", "all"])
@pytest.mark.parametrize("in_place", [False, True])
def test_scale_columns(backend, memory, rng, dtype, members, x_of, in_place):
    for n, k in SHAPES:
        x, scale = draw(rng, (*(members if x_of == "each" else ()), n, k), dtype), draw(rng, (*members, k), dtype)
        given, want = memory.array(x), x * scale[..., None, :]
        out = given if in_place and want.shape == x.shape else memory.output(want.shape, dtype)
        backend.scale_columns(given, apart(memory, scale), out=out)
        np.testing.assert_array_equal(memory.read(out), want)


def check_backward(
    backend: Any,
    memory: Any,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: str,
    u: float,
    *,
    dx: str,
    x_of: str = "each",
    off: int = 0,
) -> None:
    """The gradients against plain sums; ``off`` elements behind a border of 16 bytes."""
    *members, n, k = shape
    dy, scale = draw(rng, shape, dtype), draw(rng, (*members, k), dtype)
    x = draw(rng, shape if x_of == "each" else (n, k), dtype)

    def placed(values: np.ndarray) -> Any:
        return memory.array(np.concatenate([np.zeros(off), values.ravel()]), dtype)[off:].reshape(values.shape)

    given = placed(dy)
    out = {"none": None, "in place": given, "apart": memory.output(shape, dtype)}[dx]
    dscale = apart(memory, np.full(scale.shape, np.nan, dtype))
    backend.scale_columns_backward(given, placed(x), apart(memory, scale), dx=out, dscale=dscale)
    exact = dy.astype(np.longdouble) * x
    assert_within(memory.read(dscale), exact.sum(axis=-2), 16 * u * np.abs(exact).sum(axis=-2), shape)
    if out is not None:
        np.testing.assert_array_equal(memory.read(out), dy * scale[..., None, :])


@pytest.mark.parametrize("dx", ["apart", "in place", "none"])
@pytest.mark.parametrize("x_of", ["each", "all"])
def test_scale_columns_backward(backend, memory, rng, dtype, u, members, dx, x_of):
    for shape in SHAPES:
        check_backward(backend, memory, rng, (*members, *shape), dtype, u, dx=dx, x_of=x_of)


def test_a_nan_reaches_its_own_factor_alone(backend, memory, rng, dtype):
    x, dy = draw(rng, (40, 32), dtype), draw(rng, (40, 32), dtype)
    dy[3, 4] = np.nan
    dx, dscale = memory.output(x.shape, dtype), memory.output((32,), dtype)
    backend.scale_columns_backward(memory.array(dy), memory.array(x), memory.array(x[0]), dx=dx, dscale=dscale)
    assert np.isnan(memory.read(dscale)).tolist() == [column == 4 for column in range(32)]
    assert np.argwhere(np.isnan(memory.read(dx))).tolist() == [[3, 4]]


@pytest.mark.parametrize("backend", ["emulated"], indirect=True)
@pytest.mark.parametrize("multiprocessors", [1, 64])
def test_factors_with_any_number_of_blocks_wherever_arrays_start(
    backend, memory, rng, monkeypatch, dtype, u, multiprocessors
):
    """Twice in a row: what one call leaves in scratch memory must not show in the next."""
    monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
    for shape in [(40, 64), (1100, 16), (2, 1100, 16), (700, 3)]:
        for off in (0, 1, 0):
            check_backward(backend, memory, rng, shape, dtype, u, dx="apart", off=off)


def test_compiled_loops_of_factors_have_the_bits_of_numpy(rng, dtype):
    pytest.importorskip("numba", reason="numba is not installed")
    from chainrule.backends.compiled import backend as compiled

    for shape in SHAPES:
        dy, x, scale, found = draw(rng, shape, dtype), draw(rng, shape, dtype), draw(rng, shape[1:], dtype), []
        for be in (NumPyBackend(), compiled.loaded()):
            dx, dscale = np.empty(shape, dtype), np.empty(shape[1], dtype)
            be.scale_columns_backward(dy, x, scale, dx=dx, dscale=dscale)
            found.append((dx.tobytes(), dscale.tobytes()))
        assert found[0] == found[1], shape


def test_in_bf16_factors_and_their_gradients_are_float32(rng):
    """Rows are rounded to bf16 when they are stored, and a sum of columns is rounded once."""
    if problem := compiler_problem():
        pytest.skip(problem)
    be, u, shape = EmulatedBackend(precision="bf16"), 2.0**-24, (1100, 16)
    x, dy = (widen(narrow(draw(rng, shape, "float32"))) for _ in range(2))
    scale, dscale, y = draw(rng, (16,), "float32"), np.empty(16, np.float32), be.empty(shape, narrow(x).dtype)
    with be.running():
        be.scale_columns(narrow(x), scale, out=y)
        assert y.tobytes() == narrow(x * scale).tobytes()
        be.scale_columns_backward(narrow(dy), narrow(x), scale, dx=y, dscale=dscale)
        assert y.tobytes() == narrow(dy * scale).tobytes()
        exact = dy.astype(np.float64) * x
        assert_within(dscale, exact.sum(axis=0), 16 * u * np.abs(exact).sum(axis=0))
        total = narrow(x)
        be.add_columns(narrow(dy), 0, out=total)
        assert total.tobytes() == narrow(x + dy).tobytes()
        both = be.empty((1100, 32), y.dtype)
        be.join_columns(narrow(x), narrow(dy), out=both)
        be.take_columns(both, 16, out=y)
        assert y.tobytes() == narrow(dy).tobytes()
