"""Batches and conversions beyond the contract: gather, copy, standardize and fill for every dtype, BF16, odd starts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import BATCH, BF16, HALTED
from chainrule.backends.cupy.kernels import KINDS
from chainrule.errors import DeviceError
from emulation.compiled import narrow, widen

pytestmark = pytest.mark.parametrize(
    "backend", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)

DESTINATIONS = [np.dtype(np.float32), np.dtype(np.float64), BF16, np.dtype(np.int32)]


def name_of(dtype: Any) -> str:
    return "bf16" if dtype == BF16 else str(dtype)


def converted(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``values`` in ``dtype`` as NumPy converts them; to BF16 by way of float32."""
    if values.dtype == dtype:
        return values
    wide = widen(values) if values.dtype == BF16 else values
    return narrow(wide.astype(np.float32)) if dtype == BF16 else wide.astype(dtype)


def assert_same_bits(got: np.ndarray, want: np.ndarray) -> None:
    """Bit for bit, except that one nan is as good as another."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    wide = [widen(a) if a.dtype == BF16 else a for a in (got, want)]
    np.testing.assert_array_equal(*wide)
    numbers = np.ones(got.shape, bool) if wide[1].dtype.kind != "f" else ~np.isnan(wide[1])
    assert got[numbers].tobytes() == want[numbers].tobytes()  # the sign of a zero, too


def values_of(dtype: np.dtype, rng: np.random.Generator, shape: tuple[int, ...], out: np.dtype) -> np.ndarray:
    """Numbers of all sizes that ``dtype`` has and ``out`` can hold."""
    if dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if out.kind == "i" and dtype.kind != "b":
            low, high = max(low, -(2**31)), min(high, 2**31 - 1)
        size = rng.integers(low, high, shape, dtype=np.uint64 if low >= 0 else np.int64, endpoint=True)
        return (size >> rng.integers(0, 8, shape, dtype=size.dtype)).astype(dtype)
    wide = rng.normal(size=shape) * 2.0 ** rng.integers(-20, 14, shape)
    return narrow(wide.astype(np.float32)) if dtype == BF16 else wide.astype(dtype)


@pytest.mark.parametrize("destination", DESTINATIONS, ids=name_of)
@pytest.mark.parametrize("source", KINDS, ids=name_of)
def test_copy_converts_every_kind(backend, memory, rng, source, destination):
    for size, (start, end) in itertools.product((1, 8, 77, 1200), ((0, 0), (1, 0), (0, 1))):
        values = values_of(source, rng, (size,), destination)
        out = memory.output((size,), destination, offset=end)
        backend.copy(memory.array(values, offset=start), out=out)
        assert_same_bits(backend.download(out), converted(values, destination))


@pytest.mark.parametrize("destination", DESTINATIONS[:3], ids=name_of)
@pytest.mark.parametrize("source", [np.float16, BF16], ids=["float16", "bf16"])
def test_every_number_of_sixteen_bits(backend, memory, source, destination):
    """Subnormals, infinities and nans among them."""
    values = np.arange(2**16).astype(np.uint16).view(source)
    out = memory.output(values.shape, destination)
    backend.copy(memory.array(values), out=out)
    assert_same_bits(backend.download(out), converted(values, destination))


def test_a_subnormal_of_float32_is_kept_in_float64(backend, memory):
    """The device's own conversion of one is 0."""
    smallest = np.finfo(np.float32).smallest_subnormal
    values = smallest * np.array([0, -0.0, 1, -1, 3, 2**22 + 1, 2**23 - 1, 2**23, 1 - 2**23], np.float32)
    out = memory.output(values.shape, np.float64)
    backend.copy(memory.array(values), out=out)
    assert_same_bits(backend.download(out), values.astype(np.float64))


def test_a_float64_below_the_normal_numbers_of_float32_becomes_zero(backend, memory):
    """Under flush-to-zero no conversion makes a subnormal."""
    smallest = np.finfo(np.float32).tiny
    values = np.array([smallest, smallest / 2, -smallest / 2, 1e-300])
    out = memory.output(values.shape, np.float32)
    backend.copy(memory.array(values), out=out)
    assert backend.download(out).tolist() == [smallest, 0, 0, 0]


def test_float32_is_rounded_to_bf16_to_nearest_and_ties_to_even(backend, memory, rng):
    upper = rng.integers(0, 2**16, 4000, dtype=np.uint32) << 16
    lower = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32), 4000)
    values = (upper | lower).view(np.float32)
    out = memory.output(values.shape, BF16)
    backend.copy(memory.array(values), out=out)
    assert_same_bits(backend.download(out), narrow(values))
    got, near = widen(backend.download(out)).astype(np.float64), np.abs(values) < 2.0**127
    ulp = 2.0 ** (np.maximum(np.frexp(values[near])[1], -125) - 8)
    assert (np.abs(got[near] - values[near]) <= ulp / 2).all()


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_a_large_integer_is_rounded_once(backend, memory, kind):
    """Just beside a tie of float32, in a digit that float64 does not have: by way of it, it would go the other way."""
    values = np.array([2**62 + 2**38 + 1, 2**62 + 3 * 2**38 - 1, 2**63 - 1, 2**24 + 1, 0], kind)
    out = memory.output(values.shape, np.float32)
    backend.copy(memory.array(values), out=out)
    want = [2**62 + 2**39, 2**62 + 2**39, 2**63, 2**24, 0]
    assert backend.download(out).tolist() == want


def test_a_double_goes_to_bf16_by_way_of_float32(backend, memory):
    """So it may be rounded twice, as documented: just above a tie, it arrives at the tie."""
    values = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8 + 2.0**-20])
    out = memory.output((2,), BF16)
    backend.copy(memory.array(values), out=out)
    assert widen(backend.download(out)).tolist() == [1.0, 1 + 2.0**-7]


def test_what_the_kernels_do_not_convert_is_left_to_the_reference(backend, memory):
    with pytest.raises(DeviceError, match=r"copy from float32 to int64 .* recorded step"):
        backend.record(lambda: backend.copy(memory.array(np.ones(3, np.float32)), out=memory.output((3,), np.int64)))
    out = memory.output((3,), np.int64)
    backend.copy(memory.array(np.float32([1, 2, 3])), out=out)
    assert backend.download(out).tolist() == [1, 2, 3]
    transposed = memory.array(np.arange(6.0).reshape(2, 3))
    out = memory.output((3, 2), np.float32)
    backend.copy(transposed.T, out=out)
    assert backend.download(out).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "uint8", "bool", "float16"])
def test_bytes_of_one_dtype_are_copied_as_they_are(backend, memory, rng, dtype):
    values = rng.integers(0, 2, (7, 3)).astype(dtype)
    out = memory.output((7, 3), dtype, offset=1)
    assert len(backend.record(lambda: backend.copy(memory.array(values), out=out))) == 1
    backend.copy(memory.array(values), out=out)
    np.testing.assert_array_equal(backend.download(out), values, strict=True)


# ---- gather ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3, 8, 100, 784, 1100])
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("uint8", "float32"),
        ("uint8", BF16),
        ("uint8", "uint8"),
        ("float32", BF16),
        ("float32", "float32"),
        ("float64", "float32"),
        ("float64", BF16),
        ("int16", "float64"),
        ("int64", "int32"),
        (BF16, BF16),
        (BF16, "float32"),
        ("float16", BF16),
        ("bool", "float32"),
        ("uint32", "float32"),
    ],
    ids=name_of,
)
def test_gather_rows(backend, memory, rng, source, destination, columns):
    """Wide and narrow rows, whole and ragged batches, starts on and off a border."""
    source, destination = np.dtype(source), np.dtype(destination)
    values = values_of(source, rng, (40, columns), destination)
    order = rng.permutation(40)
    device_order = memory.array(order)
    for batch, n, offset in [(0, 12, 0), (1, 12, 1), (3, 4, 0)]:
        position = memory.array(np.array([batch]))
        out = memory.output((n, columns), destination, offset=offset)
        backend.gather([memory.array(values)], device_order, position, stride=12, out=[out])
        want = converted(values[order[12 * batch : 12 * batch + n]], destination)
        assert_same_bits(backend.download(out), want)


def test_a_batch_is_gathered_in_one_launch_and_counted(backend, memory, rng):
    x, labels, weights = rng.integers(0, 256, (30, 20)).astype(np.uint8), rng.integers(0, 9, 30), rng.uniform(size=30)
    sources = [memory.array(x), memory.array(labels), memory.array(weights)]
    out = [memory.output((8, 20), BF16), memory.output((8,), np.int32), memory.output((8,), np.float32)]
    order, position = memory.array(rng.permutation(30)), memory.array(np.array([2]))

    def gather() -> None:
        backend.gather(sources, order, position, stride=8, out=out)

    gather()
    assert [launch.key[0] for launch in backend.record(gather)] == ["gather"]
    assert backend.download(position).tolist() == [3]
    backend.assign([2], out=position)
    gather()
    rows = backend.download(order)[16:24]
    for values, got in zip((x, labels, weights), out, strict=True):
        assert_same_bits(backend.download(got), converted(values[rows], got.dtype))


def test_gather_of_complex_numbers_is_left_to_the_reference(backend, memory, rng):
    values = rng.normal(size=(5, 2)) + 1j
    order, position = memory.array(np.arange(5)[::-1].copy()), memory.array(np.array([0]))
    same, narrower = memory.output((5, 2), np.complex128), memory.output((5, 2), np.complex64)
    backend.gather([memory.array(values)], order, position, stride=5, out=[same])
    backend.assign([0], out=position)
    np.testing.assert_array_equal(backend.download(same), values[::-1])
    backend.gather([memory.array(values)], order, position, stride=5, out=[narrower])
    np.testing.assert_array_equal(backend.download(narrower), values[::-1].astype(np.complex64))


@pytest.mark.parametrize("columns", [1, 3, 32, 300])
def test_more_rows_than_threads(backend, memory, rng, monkeypatch, columns):
    """A device of one multiprocessor: every thread loops several times."""
    monkeypatch.setattr(backend, "multiprocessors", 1)
    n = 40_000 // columns
    values, order = values_of(np.dtype(np.uint8), rng, (n, columns), BF16), rng.permutation(n)
    source = memory.array(values)
    for destination in (np.dtype(np.uint8), BF16, np.dtype(np.float32)):
        out = memory.output((n, columns), destination)
        backend.gather([source], memory.array(order), memory.array(np.array([0])), stride=n, out=[out])
        assert_same_bits(backend.download(out), converted(values[order], destination))
        backend.copy(source, out=out)
        assert_same_bits(backend.download(out), converted(values, destination))
        if destination != np.uint8:
            mean, scale = rng.uniform(0, 255, columns), rng.uniform(1, 50, columns)
            backend.standardize(source, memory.array(mean), memory.array(scale), out=out)
            assert_near(backend.download(out), (values - mean) / scale)
    flat = memory.output((40_001,), np.float32)
    backend.fill(3.0, out=flat)
    assert (backend.download(flat) == 3).all()


# ---- standardize ----------------------------------------------------------------------------------


def assert_near(got: np.ndarray, want: np.ndarray) -> None:
    """``want``, computed in double precision, rounded to the dtype of ``got``: which may be the other side of a tie."""
    roundoff = {BF16: 2.0**-8, np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-52}[got.dtype]
    wide = (widen(got) if got.dtype == BF16 else got).astype(np.float64)
    assert (np.abs(wide - want) <= (1 + 1e-6) * roundoff * np.abs(want) + 1e-300).all()


@pytest.mark.parametrize("destination", DESTINATIONS[:3], ids=name_of)
@pytest.mark.parametrize("source", KINDS, ids=name_of)
def test_standardize_every_kind(backend, memory, rng, source, destination):
    for (n, n_in), offset, limit in itertools.product(((1, 1), (9, 4), (5, 70), (3, 300)), (0, 1), (np.inf, 1.5)):
        x = values_of(source, rng, (n, n_in), destination)
        wide = (widen(x) if source == BF16 else x).astype(np.float64)
        mean, scale = rng.normal(size=n_in) * np.abs(wide).max(), rng.uniform(0.5, 20, n_in) * np.abs(wide).max() + 1e-3
        out = memory.output((n, n_in), destination, offset=offset)
        backend.standardize(
            memory.array(x, offset=offset), memory.array(mean), memory.array(scale), limit=limit, out=out
        )
        z = (wide - mean) / scale
        assert_near(backend.download(out), z / np.sqrt(1 + (z / limit) ** 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardize_in_place(backend, memory, rng, dtype):
    x, mean, scale = rng.normal(size=(50, 12)).astype(dtype), rng.normal(size=12), rng.uniform(0.5, 2, 12)
    array = memory.array(x)
    backend.standardize(array, memory.array(mean), memory.array(scale), limit=3.0, out=array)
    z = (x - mean) / scale
    assert_near(backend.download(array), z / np.sqrt(1 + (z / 3) ** 2))


def test_standardize_by_means_of_another_dtype_is_left_to_the_reference(backend, memory, rng):
    x, mean, scale = (rng.uniform(1, 2, shape).astype(np.float32) for shape in ((4, 3), (3,), (3,)))
    out = memory.output((4, 3), np.float32)
    backend.standardize(memory.array(x), memory.array(mean), memory.array(scale), out=out)
    np.testing.assert_allclose(backend.download(out), (x - mean) / scale, rtol=1e-6, atol=1e-6)


# ---- fill and the rest ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*KINDS, np.dtype(np.complex64)], ids=name_of)
@pytest.mark.parametrize("offset", [0, 1])
def test_fill_every_kind(backend, memory, dtype, offset):
    for size, value in itertools.product((1, 5, 64, 1000), (0, 1, 3)):
        out = memory.output((size,), dtype, offset=offset)
        backend.fill(value, out=out)
        want = np.full(size, value, np.float32 if dtype == BF16 else dtype)
        assert_same_bits(backend.download(out), narrow(want) if dtype == BF16 else want)


@pytest.mark.parametrize("value", [0.1, -0.0, np.nan, np.inf, -1e30, 1 + 2.0**-8, 1 + 3 * 2.0**-8])
def test_fill_rounds_as_copy_does(backend, memory, value):
    for dtype in DESTINATIONS[:3]:
        out = memory.output((7,), dtype)
        backend.fill(value, out=out)
        want = np.full(7, value)
        assert_same_bits(backend.download(out), converted(want, dtype))


def test_nothing_to_do_is_done(backend, memory):
    empty, none = memory.output((0,), np.float32), memory.output((3, 0), np.float32)
    backend.copy(empty, out=memory.output((0,), BF16))
    backend.fill(1.0, out=empty)
    backend.uniform((1, 2), (3, 4, 5), low=0.0, high=1.0, out=empty)
    order = memory.array(np.arange(3))
    backend.gather([none], order, memory.array(np.array([0])), stride=3, out=[memory.output((3, 0), BF16)])


def test_tick_is_one_launch(backend, memory):
    state = memory.array(np.array([7, 3, 5]))
    assert [launch.key[0] for launch in backend.record(lambda: backend.tick(state))] == ["tick"]
    backend.tick(state)
    values = backend.download(state)
    assert (values[BATCH], values[HALTED]) == (4, 5)
