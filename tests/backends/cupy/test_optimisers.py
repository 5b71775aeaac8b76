"""Optimisers beyond the contract: starts off a 16-byte border, several rounds per thread, launches, bits."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.cupy import optimisers
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import DeviceError
from emulation.compiled import narrow

pytestmark = pytest.mark.parametrize(
    "backend", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)

SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1}
MOMENTUM = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.1}
NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "decoupled": False}
ADAMW = ADAM | {"decoupled": True}
OPTIMISERS = [("sgd", 0, SGD), ("sgd", 1, MOMENTUM), ("sgd", 1, NESTEROV), ("adam", 2, ADAM), ("adam", 2, ADAMW)]
STARTS = [(0, 0, 0, 0), (4, 8, 4, 0), (1, 1, 1, 1), (0, 1, 0, 0), (0, 0, 0, 3), (2, 3, 1, 0)]


@pytest.fixture
def device(backend):
    with backend.running(), np.errstate(all="ignore"):
        yield backend


def slices(backend: Any, values: list[np.ndarray], starts: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """The arrays, each a slice from its start on of a longer one; and the longer ones, which hold 7 elsewhere."""
    buffers = [backend.empty((start + a.size + 9,), a.dtype) for start, a in zip(starts, values, strict=False)]
    parts = []
    for buffer, start, array in zip(buffers, starts, values, strict=False):
        backend.assign(np.full(buffer.shape, 7, buffer.dtype), out=buffer)
        part = buffer[start : start + array.size]
        backend.assign(array, out=part)
        parts.append(part)
    return parts, buffers


def update(backend: Any, name: str, arrays: list[Any], lr: Any, state: Any, options: dict[str, Any]) -> None:
    if name == "sgd" and len(arrays) == 2:
        arrays = [*arrays, None]
    getattr(backend, name)(*arrays, lr, state, lr_factor=0.5, **options)


@pytest.mark.parametrize(("name", "moments", "options"), OPTIMISERS)
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_sgd_and_adam_follow_the_reference_wherever_the_arrays_start(
    device, rng, monkeypatch, dtype, u, name, moments, options, multiprocessors
):
    """On one multiprocessor every thread loops several times."""
    monkeypatch.setattr(device, "multiprocessors", multiprocessors)
    reference = NumPyBackend()
    lr, state = np.array([0.0, 0.1]), np.array([6, 1, RUNNING])
    for size, starts in itertools.product((1, 5, 1003, 20_001 if multiprocessors == 1 else 12), STARTS):
        values = [rng.normal(size=size).astype(dtype) for _ in range(2)]
        values += [rng.uniform(size=size).astype(dtype) for _ in range(moments)]
        arrays, buffers = slices(device, values, starts)
        update(device, name, arrays, device.upload(lr), device.upload(state), options)
        update(reference, name, values, lr, state, options)
        for got, buffer, want, start in zip(arrays, buffers, values, starts, strict=False):
            np.testing.assert_allclose(device.download(got), want, rtol=32 * u, atol=32 * u)
            around = np.delete(device.download(buffer), slice(start, start + size))
            assert (around == 7).all(), "written beside the array"


@pytest.mark.parametrize(("name", "moments", "options"), OPTIMISERS)
def test_an_update_is_one_launch_and_stops_with_the_run(device, rng, name, moments, options):
    values = [rng.normal(size=50).astype(np.float32) ** 2 for _ in range(2 + moments)]
    arrays, _ = slices(device, values, (0, 0, 0, 0))
    lr, state = device.upload(np.array([0.1])), device.upload(np.array([6, 1, 5]))
    assert [launch.key[0] for launch in device.record(lambda: update(device, name, arrays, lr, state, options))] == [
        name
    ]
    update(device, name, arrays, lr, state, options)
    for got, before in zip(arrays, values, strict=True):
        np.testing.assert_array_equal(device.download(got), before)


def test_adam_bias_corrections_keep_their_digits(device):
    """1 - beta2^2 = (1 - beta2) (1 + beta2): a beta2 near 1 costs digits if its power is subtracted from 1."""
    beta2 = 0.999999
    arrays, _ = slices(device, [np.array(a) for a in ([0.0], [1.0], [0.0], [0.0])], (0, 0, 0, 0))
    options = {"beta1": 0.0, "beta2": beta2, "eps": 1e-30, "weight_decay": 0.0, "decoupled": False}
    update(device, "adam", arrays, device.upload(np.array([2.0])), device.upload(np.array([1, 0, RUNNING])), options)
    # m = 1 and v = 1 - beta2 at a learning rate of 1
    assert abs(device.download(arrays[0])[0] + np.sqrt(1 + beta2)) < 1e-14


def test_adam_divides_no_zero_by_an_eps_that_is_flushed_to_zero(device, dtype):
    """eps sqrt(1 - beta2) = 3e-39 is no normal float32, and a weight without a gradient has m = v = 0."""
    arrays, _ = slices(device, [np.array(a, dtype) for a in ([1.0], [0.0], [0.0], [0.0])], (0, 0, 0, 0))
    state = device.upload(np.array([0, 0, RUNNING]))
    update(device, "adam", arrays, device.upload(np.array([0.1])), state, ADAM | {"eps": 1e-37, "weight_decay": 0.0})
    assert [device.download(array).tolist() for array in arrays] == [[1.0], [0.0], [0.0], [0.0]]


@pytest.mark.parametrize("touched", [None, np.arange(7) % 2])
@pytest.mark.parametrize(("name", "moments", "options"), OPTIMISERS)
def test_factors_in_bf16_are_the_parameters_rounded(device, rng, name, moments, options, touched):
    """By the same launch, wherever the arrays start; parameters and moments have the bits that they have without."""
    lr, state = device.upload(np.array([0.1])), device.upload(np.array([6, 0, RUNNING]))
    marks = {} if touched is None else {"touched": device.upload(touched.astype(np.float32))}
    for size, starts in itertools.product((7, 7 * 143), STARTS):
        values = [rng.normal(size=size).astype(np.float32) ** 2 for _ in range(2 + moments)]
        without, _ = slices(device, values, starts)
        update(device, name, without, lr, state, options | marks)
        # The factors start where the parameters do, and one number further on.
        for start in (starts[0], starts[0] + 1):
            arrays, _ = slices(device, values, starts)
            (factors,), (buffer,) = slices(device, [narrow(values[0])], (start,))
            step = functools.partial(update, device, name, arrays, lr, state, options | marks | {"factors": factors})
            assert [(launch.key[0].split("_")[0], launch.key[1]) for launch in device.record(step)] == [(name, "bf16")]
            around = np.delete(device.download(buffer), slice(start, start + size)).tobytes()
            step()
            for got, want in zip(arrays, without, strict=True):
                assert device.download(got).tobytes() == device.download(want).tobytes()
            assert device.download(factors).tobytes() == narrow(device.download(arrays[0])).tobytes()
            assert np.delete(device.download(buffer), slice(start, start + size)).tobytes() == around


@pytest.mark.parametrize("start", [0, 1, 4])
@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e30])
def test_clipping_follows_the_reference_if_the_norm_is_not_finite(device, rng, dtype, start, factor):
    g = rng.normal(size=300).astype(dtype)
    g[17] = factor
    (grads,), _ = slices(device, [g], (start,))
    device.clip_by_global_norm(grads, max_norm=2.0)
    want = g.copy()
    NumPyBackend().clip_by_global_norm(want, max_norm=2.0)
    np.testing.assert_allclose(device.download(grads), want, rtol=1e-6)


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("blocks", [1, 3, 1024])
def test_clipping_adds_up_the_norm_in_any_number_of_blocks(device, rng, monkeypatch, dtype, u, blocks, start):
    """Few blocks loop many times each, four loads under way at a time."""
    monkeypatch.setattr(optimisers, "PARTIAL_SUMS", blocks)
    for size in (7, 1024, 5 * 4096 + 333):
        g = rng.normal(size=size).astype(dtype)
        (grads,), _ = slices(device, [g], (start,))
        device.clip_by_global_norm(grads, max_norm=0.3)
        want = g * (0.3 / np.sqrt((g.astype(np.float64) ** 2).sum()))
        np.testing.assert_allclose(device.download(grads), want, rtol=8 * u)


def test_clipping_has_the_same_bits_on_every_device(device, rng, monkeypatch, dtype):
    """And at every call: what a call leaves in scratch memory does not show in the next."""
    g, clipped = rng.normal(size=20_001).astype(dtype), []
    for multiprocessors in (1, 7, 132, 132):
        monkeypatch.setattr(device, "multiprocessors", multiprocessors)
        (grads,), _ = slices(device, [g], (0,))
        device.clip_by_global_norm(grads, max_norm=0.3)
        clipped.append(device.download(grads))
    for other in clipped[1:]:
        np.testing.assert_array_equal(other, clipped[0])


def test_clipping_is_two_launches_that_find_their_scratch_memory(device, rng):
    grads = device.upload(rng.normal(size=5000))
    device.clip_by_global_norm(grads, max_norm=1.0)  # a step runs once before it is recorded
    launches = device.record(lambda: device.clip_by_global_norm(grads, max_norm=1.0))
    assert [launch.key[0] for launch in launches] == ["global_norm", "clip_by_global_norm"]
    assert launches[0].writes[-1] in launches[1].reads, "nothing would keep the two in order"


@pytest.mark.parametrize("method", ["average", "accumulate mean", "accumulate sum", "accumulate first"])
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_average_and_accumulate_follow_the_reference(device, rng, monkeypatch, dtype, u, method, multiprocessors):
    """One launch, wherever the arrays start; several rounds per thread on one multiprocessor."""
    monkeypatch.setattr(device, "multiprocessors", multiprocessors)
    state = np.array([6, 3 if method == "accumulate first" else 5, RUNNING])
    totals = np.column_stack([np.zeros(6), rng.uniform(1, 3, 6), np.zeros(6)])

    def run(backend: Any, source: Any, out: Any, state: Any, totals: Any) -> None:
        if method == "average":
            backend.average(source, state, decay=0.99, out=out)
        else:
            backend.accumulate(source, totals, state, group=3, mean=method != "accumulate sum", out=out)

    device_state, device_totals = device.upload(state), device.upload(totals)
    for size, starts in itertools.product((1, 1003, 20_001 if multiprocessors == 1 else 12), STARTS):
        values = [rng.normal(size=size).astype(dtype) for _ in "01"]
        arrays, buffers = slices(device, values, starts)
        launches = device.record(lambda arrays=arrays: run(device, *arrays, device_state, device_totals))
        assert [launch.key[0] for launch in launches] == [method.split()[0]]
        run(device, *arrays, device_state, device_totals)
        run(NumPyBackend(), *values, state, totals)
        for got, buffer, want, start in zip(arrays, buffers, values, starts, strict=False):
            np.testing.assert_allclose(device.download(got), want, rtol=32 * u, atol=32 * u)
            assert (np.delete(device.download(buffer), slice(start, start + size)) == 7).all()


@pytest.mark.parametrize(("name", "moments", "options"), [OPTIMISERS[1], OPTIMISERS[3]])
def test_complex_parameters_are_left_to_the_reference(device, rng, name, moments, options):
    """Outside a recorded step: a gradient check by complex step runs here as well."""
    values = [rng.normal(size=5) + 1j * rng.normal(size=5) for _ in range(2 + moments)]
    lr, state = np.array([0.1]), np.array([0, 0, RUNNING])
    arrays, _ = slices(device, values, (0, 0, 0, 0))
    device_lr, device_state = device.upload(lr), device.upload(state)
    with pytest.raises(DeviceError, match="recorded step"):
        device.record(lambda: update(device, name, arrays, device_lr, device_state, options))
    update(device, name, arrays, device_lr, device_state, options)
    update(NumPyBackend(), name, values, lr, state, options)
    np.testing.assert_allclose(device.download(arrays[0]), values[0], rtol=1e-12)
