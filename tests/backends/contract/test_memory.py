"""Memory of a device, and execution: what comes back as it went there, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import RUNNING
from chainrule.errors import DeviceError


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4), (0,)])
@pytest.mark.parametrize("kind", ["float32", "float64", "int32", "int64"])
def test_empty_is_aligned(backend, shape, kind):
    array = backend.empty(shape, kind)
    assert array.shape == shape
    assert array.dtype == np.dtype(kind)
    assert array.flags.c_contiguous
    if backend.name == "numpy" and array.size:
        assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "bool", "int64"])
def test_upload_and_download_keep_every_bit(backend, rng, kind):
    values = rng.integers(0, 2, (5, 3)).astype(kind)
    for given in (values, values[::-1], np.asfortranarray(values), values.tolist()):
        array = backend.upload(given, kind)
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(backend.download(array), np.asarray(given, kind), strict=True)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0, 3)])
def test_upload_keeps_the_shape(backend, shape):
    assert backend.upload(np.ones(shape)).shape == shape


def test_upload_converts(backend):
    array = backend.upload(np.array([1, 2, 300], np.int16), np.float32)
    np.testing.assert_array_equal(backend.download(array), np.float32([1, 2, 300]), strict=True)


def test_upload_of_what_is_there_already_is_free():
    values = np.zeros(3)
    assert cr.backend("cpu").upload(values) is values


def test_the_cpu_refuses_an_array_of_a_gpu():
    class OnGpu:
        __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012

    with pytest.raises(DeviceError, match="lives on a GPU"):
        cr.backend("cpu").upload(OnGpu())


def test_assign_keeps_the_address_and_download_is_a_copy(backend):
    array = backend.empty((4,), np.float64)
    view = array[1:3]
    backend.assign([1, 2, 3, 4], out=array)
    before = backend.download(view)
    backend.assign([5, 6, 7, 8], out=array)
    np.testing.assert_array_equal(before, [2, 3])
    np.testing.assert_array_equal(backend.download(view), [6, 7])


def test_several_arrays_are_downloaded_together(backend):
    """Copies, of any shapes and kinds, as :meth:`download` makes them."""
    values = [np.arange(3), np.arange(12, dtype=np.float32).reshape(2, 2, 3), np.zeros(0), np.ones(1, bool)]
    arrays = [backend.upload(v) for v in values]
    found = backend.download_all([*arrays, arrays[0][1:], arrays[1][:, 1]])
    for got, expected in zip(found, [*values, values[0][1:], values[1][:, 1]], strict=True):
        assert type(got) is np.ndarray
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    found[0][:] = 7
    np.testing.assert_array_equal(backend.download(arrays[0]), values[0])
    assert backend.download_all([]) == []


def test_capture_replays_as_often_as_it_is_told(backend, memory):
    state = memory.state()
    replay = backend.capture(lambda: backend.tick(state))
    for times, total in [(0, 0), (3, 3), (0, 3), (2, 5), (1, 6)]:
        replay(times)
        assert memory.read(state).tolist() == [total, total, RUNNING]
    replay(2, unchanged=True)
    assert memory.read(state).tolist() == [8, 8, RUNNING]
    replay = backend.capture(lambda: backend.tick(state), lambda: backend.tick(state))  # with a twin
    replay(5)
    assert memory.read(state).tolist() == [13, 13, RUNNING]
    backend.synchronize()
