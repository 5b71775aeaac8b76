"""Random numbers beyond the contract: uniform and permutation on any grid, and what no kernel draws."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DeviceError

pytestmark = pytest.mark.parametrize(
    "backend", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)


def test_a_permutation_is_no_part_of_a_recorded_step(backend, memory):
    out = memory.output((5,), np.int64)
    with pytest.raises(DeviceError, match="recorded step"):
        backend.record(lambda: backend.permutation((1, 2), (3, 4, 5), out=out))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_do_not_depend_on_the_grid(backend, memory, monkeypatch, dtype):
    """9000 words: more than the threads of one multiprocessor draw at a time."""
    draws, orders = [], []
    for multiprocessors in (1, 132):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        out, order = memory.output((9001,), dtype, offset=1), memory.output((9001,), np.int64)
        backend.uniform((1, 2), (3, 4, 5), low=-1.0, high=2.0, out=out)
        backend.permutation((1, 2), (3, 4, 5), out=order)
        draws.append(backend.download(out))
        orders.append(backend.download(order))
    np.testing.assert_array_equal(*draws)
    np.testing.assert_array_equal(*orders)
    assert sorted(orders[0].tolist()) == list(range(9001))


def test_uniform_into_what_no_kernel_writes_is_left_to_the_reference(backend, memory):
    whole, part = memory.output((6,), np.float32), memory.output((6, 2), np.float32)
    backend.uniform((1, 2), (3, 4, 5), low=0.0, high=1.0, out=whole)
    backend.uniform((1, 2), (3, 4, 5), low=0.0, high=1.0, out=part[:, 0])
    np.testing.assert_array_equal(backend.download(part)[:, 0], backend.download(whole))
