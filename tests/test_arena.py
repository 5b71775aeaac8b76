"""Arenas: aligned views into one buffer."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.arena import ALIGNMENT, Arena, Layout
from chainrule.errors import ShapeError

SHAPES = {"W": (5, 3), "b": (3,), "one": (1,), "nothing": (), "wide": (2, 100)}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_slots_are_aligned_and_do_not_overlap(dtype):
    layout = Layout(SHAPES, dtype)
    stop = 0
    for name, slot in layout.slots.items():
        assert slot.shape == SHAPES[name]
        assert slot.start == stop, "slots follow each other without a gap but their padding"
        assert slot.start * layout.dtype.itemsize % ALIGNMENT == 0
        assert 0 <= slot.extent - slot.size < ALIGNMENT / layout.dtype.itemsize
        stop = slot.start + slot.extent
    assert layout.size == stop


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_views_are_views(backend, dtype):
    arena = Arena(backend, Layout(SHAPES, dtype))
    np.testing.assert_array_equal(backend.download(arena.flat), np.zeros(arena.layout.size, dtype), strict=True)
    values = {name: np.arange(1.0, 1 + np.prod(shape)).reshape(shape) for name, shape in SHAPES.items()}
    arena.assign(values)
    assert list(arena) == list(SHAPES)
    assert len(arena) == len(SHAPES)
    for name, value in values.items():
        assert arena[name].flags.c_contiguous
        np.testing.assert_array_equal(backend.download(arena[name]), value.astype(dtype), strict=True)
        np.testing.assert_array_equal(arena.download()[name], value.astype(dtype), strict=True)
    flat = backend.download(arena.flat)
    assert flat.sum() == sum(value.sum() for value in values.values()), "the padding holds zeros"
    with backend.running():
        backend.fill(7.0, out=arena.flat)
    assert all((backend.download(view) == 7).all() for view in arena.values())


def test_copies_are_copies(backend):
    arena = Arena(backend, Layout(SHAPES, "float32"))
    with backend.running():
        backend.fill(3.0, out=arena.flat)
        copy, like = arena.copy(), arena.like()
        backend.fill(4.0, out=arena.flat)
    assert set(backend.download(copy.flat)) == {3.0}
    assert set(backend.download(like.flat)) == {0.0}
    downloaded = arena.download()
    downloaded["W"][:] = 9.0
    assert set(backend.download(arena.flat)) == {4.0}


def test_an_arena_without_arrays(backend):
    arena = Arena(backend, Layout({}, "float32"))
    assert (len(arena), arena.flat.size, arena.download()) == (0, 0, {})


GOOD = {name: np.zeros(shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"expected arrays \['W', 'b', 'nothing', 'one', 'wide'\], got \[\]"),
        ({**GOOD, "c": np.zeros(3)}, "expected arrays"),
        ({**GOOD, "W": np.zeros((3, 5))}, r"W: expected shape \(5, 3\), got \(3, 5\)"),
        ({**GOOD, "b": 0.0}, r"b: expected shape .*, got \(\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_any_is_written(backend, values, message):
    arena = Arena(backend, Layout(SHAPES, "float32"))
    with backend.running():
        backend.fill(5.0, out=arena.flat)
    with pytest.raises(ShapeError, match=message):
        arena.assign(values)
    assert set(backend.download(arena.flat)) == {5.0}


@pytest.mark.parametrize("width", [10**18, 2**63, 10**400], ids=["1e18", "2^63", "1e400"])
def test_a_net_that_no_machine_can_hold_is_out_of_memory(backend, width):
    """Libraries have errors of their own for what has no address: ValueError, OverflowError."""
    with pytest.raises(cr.OutOfMemoryError, match="bytes more are needed"):
        cr.MLP([3, width, 2], backend=backend)
