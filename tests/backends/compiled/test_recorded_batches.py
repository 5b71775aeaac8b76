"""What a recorded step does with its rows: gathers, converts, copies, standardises, with NumPy's bits."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.numpy.backend import NumPyBackend
from recorded import RecordedBackend

pytest.importorskip("numba", reason="numba is not installed")

SOURCES = ["float32", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
STRANGE = ["float16", ">f8", ">i2"]  # NumPy converts them; a step that does is not recorded
SHAPES = [(1,), (7,), (9, 1), (1, 5), (129, 4), (3, 7, 2)]


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    compiled.loaded()


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers from the whole range of a dtype."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    if kind.kind in "iu":
        limits, native = np.iinfo(kind), kind.newbyteorder("=")
        return rng.integers(limits.min, limits.max, shape, native, endpoint=True).astype(kind)
    found = (1e3 * rng.normal(size=shape)).astype(kind)
    found.flat[0] = -0.0
    found.flat[-1] = np.inf
    return found


def assert_same_bits(name: str, work: Any, make: Any, *, is_replayed: bool = True) -> None:
    """That ``work(backend, *make())`` leaves the same in these arrays on NumPy, on compiled loops, and replayed."""
    found, recorded = [], RecordedBackend()
    for backend in (NumPyBackend(), compiled.loaded(), recorded):
        arrays = make()
        with backend.running():
            work(backend, *arrays)
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1] == found[2]
    assert (recorded.replayed[name] > 0) is is_replayed
    assert (recorded.called[name] == 0) is is_replayed


@pytest.mark.parametrize("source", SOURCES + STRANGE)
def test_copy_converts(rng, dtype, source):
    for shape in SHAPES:
        x = values(rng, shape, source)
        make = lambda x=x, shape=shape: (x, np.full(shape, np.nan, dtype))
        assert_same_bits("copy", lambda be, x, out: be.copy(x, out=out), make, is_replayed=source in SOURCES)


@pytest.mark.parametrize(("source", "to"), [("int64", "int32"), ("bool", "bool"), ("uint8", "uint8"), ("int64",) * 2])
def test_copy_of_whole_numbers(rng, source, to):
    x = rng.integers(0, 2, (9, 3)).astype(source)
    assert_same_bits("copy", lambda be, x, out: be.copy(x, out=out), lambda: (x, np.zeros((9, 3), to)))


def test_copy_of_members_that_lie_apart(rng, dtype):
    """And of a column beside others."""
    for part in ((slice(None), slice(2, 7)), (slice(None), slice(None), slice(1, 2))):
        x = rng.normal(size=(3, 9, 4))
        make = lambda x=x: (x, np.full((3, 9, 4), np.nan, dtype))
        assert_same_bits("copy", lambda be, x, out, part=part: be.copy(x[part], out=out[part]), make)


@pytest.mark.parametrize("value", [0, 2.5, 1 / 3, np.nan, -np.inf])
def test_fill(dtype, value):
    for shape in SHAPES:
        make = functools.partial(lambda shape: (np.full(shape, 7, dtype),), shape)
        assert_same_bits("fill", lambda be, out: be.fill(value, out=out), make)
    assert_same_bits("fill", lambda be, out: be.fill(3, out=out), lambda: (np.zeros(3, np.int64),))
    apart = lambda be, out: be.fill(value, out=out[:, 2:5])
    assert_same_bits("fill", apart, lambda: (np.full((3, 9), 7, dtype),))


@pytest.mark.parametrize("members", [0, 1, 3])
@pytest.mark.parametrize("source", SOURCES + STRANGE)
def test_gather_converts(rng, dtype, source, members):
    """Every batch and the ragged last one, of numbers, rows and rows of two dimensions, shared or of each member."""
    n, stride, is_known = 10, 4, source in SOURCES
    axis = (members,) if members else ()
    order = np.argsort(rng.normal(size=(*axis, n)))

    def work(backend: Any, position: np.ndarray, *arrays: np.ndarray) -> None:
        sources, outs = arrays[:3], arrays[3:]
        for start in range(0, n, stride):
            of_batch = slice(start, min(start + stride, n))
            out = [np.ascontiguousarray(o[:, of_batch] if members else o[of_batch]) for o in outs]
            backend.gather(sources, order, position, stride=stride, out=out)
            for whole, batch in zip(outs, out, strict=True):
                whole[(slice(None),) * bool(members) + (of_batch,)] = batch

    for has_own in {False, bool(members)}:
        given = [values(rng, (*(axis if has_own else ()), n, *row), source) for row in ((), (3,), (2, 3))]

        def make(given: list[np.ndarray] = given) -> tuple[np.ndarray, ...]:
            outs = [np.full((*axis, n, *row), np.nan, dtype) for row in ((), (3,), (2, 3))]
            return np.array([0]), *given, *outs

        assert_same_bits("gather", work, make, is_replayed=is_known)


@pytest.mark.parametrize("limit", [0.5, 4.0, 1e-300, np.inf])
@pytest.mark.parametrize("source", SOURCES + STRANGE)
def test_standardize(rng, dtype, source, limit):
    for shape in [(1, 1), (7, 3), (129, 5), (3, 9, 4)]:
        x = values(rng, shape, source)
        x[~np.isfinite(x)] = 0
        mean, scale = rng.normal(size=shape[-1]), rng.uniform(0.5, 20, shape[-1])
        if source == "float64" and shape[-1] > 1:
            mean[1], scale[1] = -1.5e308, 1e308
            x[..., 1] = np.resize([1.7e308, -1.7e308, 5e-324, 0], x[..., 1].shape)
            scale[0] = np.inf
        make = lambda x=x, shape=shape: (x, np.full(shape, np.nan, dtype))
        work = functools.partial(
            lambda be, x, out, m, s: be.standardize(x, m, s, limit=limit, out=out), m=mean, s=scale
        )
        assert_same_bits("standardize", work, make, is_replayed=source in SOURCES)


def test_a_step_that_standardises_is_replayed_whole_and_in_parts(rng, dtype):
    """Each time with the batch that the counter says then."""
    backend, numpy = compiled.loaded(), NumPyBackend()
    x, y = values(rng, (30, 3), "uint8"), rng.integers(0, 9, 30)
    order, mean, scale = rng.permutation(30), rng.normal(size=3), rng.uniform(1, 2, 3)

    def make() -> list[np.ndarray]:
        buffers = [np.empty((10, 3), np.uint8), np.empty(10, np.int32), np.empty((10, 3), dtype), np.empty((10, 3))]
        return [np.array([0]), *buffers]

    def step(be: Any, position: Any, raw: Any, labels: Any, out: Any, kept: Any) -> None:
        be.gather([x, y], order, position, stride=10, out=[raw, labels])
        be.standardize(raw, mean, scale, limit=3.0, out=out)
        be.copy(out, out=kept)

    def in_parts(launch: Any) -> list[Any]:
        return [launch.part(*ends) for ends in itertools.pairwise((0, 3, launch.rows))] if launch.rows > 3 else [launch]

    wanted, whole, cut = make(), make(), make()
    programs = []
    for arrays, divide in ((whole, lambda launch: [launch]), (cut, in_parts)):
        recorder = LOOPS.programs.StepRecorder()
        launches = recorder.record(functools.partial(step, backend, *arrays))
        programs.append(recorder.program([part for launch in launches for part in divide(launch)]))
    for _ in range(3):
        step(numpy, *wanted)
        for program, arrays in zip(programs, (whole, cut), strict=True):
            program(1)
            assert [a.tobytes() for a in arrays] == [a.tobytes() for a in wanted]


def test_a_step_that_is_recorded_again_and_again_keeps_no_more(rng):
    """Members and transposed views, which the step makes anew each time."""
    backend = compiled.loaded()
    a, b, out, kept = (rng.normal(size=(3, 4, 4)) for _ in range(4))

    def step() -> None:
        backend.matmul(a.transpose(0, 2, 1), b, out=out)
        backend.copy(out[:, :2], out=kept[:, :2])

    recorder = LOOPS.programs.StepRecorder()
    launches = recorder.record(step)
    held = len(recorder._memory)
    for _ in range(3):
        again = recorder.record(step, launches)
        assert all(new is old for new, old in zip(again, launches, strict=True))
    assert len(recorder._memory) == held
