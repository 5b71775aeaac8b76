"""Layer and batch normalisation on every backend against the formulas of the contract, in long double.

Odd shapes, row slices of longer buffers, outputs that hold nan before the call, errors in
units of roundoff (``u``) of what goes into a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from chainrule.backends.contract.backend import BF16, RUNNING
from chainrule.backends.reference.philox import philox_words
from chainrule.backends.reference.random import threshold
from comparisons import assert_within
from emulation.backend import EmulatedBackend, compiler_problem, narrow, widen

# The last ones: rows that a warp and a block of threads read again, columns that several blocks add up.
SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10), (2, 1000), (1, 2301), (2, 1200), (1000, 9)]
EPS = 1e-5
KEY, COUNTER = (5, 2**32 - 3), (7, 3)  # of dropout
EMULATED = pytest.mark.parametrize("backend", ["emulated"], indirect=True)


class Statistics(NamedTuple):
    """Of the elements that share a mean, along ``axis``; with an axis of length 1 there."""

    mean: np.ndarray
    var: np.ndarray
    mean_bound: np.ndarray  # one rounding of the mean, and some of the differences that are added up

    @property
    def inverse_std(self) -> np.ndarray:
        return 1 / np.sqrt(self.var + EPS)


def statistics(x: np.ndarray, axis: int, u: float) -> Statistics:
    wide = x.astype(np.longdouble)
    mean = wide.mean(axis=axis, keepdims=True)
    spread = np.abs(wide - mean).max(axis=axis, keepdims=True)
    return Statistics(mean, wide.var(axis=axis, keepdims=True), u * (1.01 * np.abs(mean) + 16 * spread))


def values(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, gain and bias."""
    x = (3 + 2 * rng.normal(size=shape)).astype(dtype)
    return x, rng.normal(size=shape[1]).astype(dtype), rng.normal(size=shape[1]).astype(dtype)


def check_normalized(memory: Any, outputs: dict[str, Any], inputs: tuple[np.ndarray, ...], axis: int, u: float) -> None:
    """mean, inverse_std and y of a forward pass."""
    x, gain, bias = inputs
    s = statistics(x, axis, u)
    assert_within(memory.read(outputs["mean"]), s.mean.ravel(), s.mean_bound.ravel(), ("mean", x.shape))
    want = s.inverse_std.ravel()
    assert_within(memory.read(outputs["inverse_std"]), want, 64 * u * want, ("inverse_std", x.shape))
    normal = (x - s.mean) * s.inverse_std * gain
    bound = s.mean_bound * s.inverse_std * np.abs(gain) + 64 * u * (np.abs(normal) + np.abs(bias))
    assert_within(memory.read(outputs["y"]), normal + bias, bound, ("y", x.shape))


def outputs(memory: Any, x: np.ndarray, statistics_of: int) -> dict[str, Any]:
    shapes = {"mean": (statistics_of,), "inverse_std": (statistics_of,), "y": x.shape}
    return {name: memory.output(shape, x.dtype) for name, shape in shapes.items()}


def layer_norm(backend: Any, memory: Any, x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
    out = outputs(memory, x, len(x))
    backend.layer_norm(memory.array(x), memory.array(gain), memory.array(bias), eps=EPS, **out)
    return out


def batch_norm(
    backend: Any,
    memory: Any,
    x: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    state: Any = None,
    momentum: float = 0.1,
) -> dict[str, Any]:
    k = x.shape[1]
    out = outputs(memory, x, k)
    out["running_mean"] = memory.array(np.linspace(-1, 1, k), x.dtype)
    out["running_var"] = memory.array(np.linspace(0.5, 2, k), x.dtype)
    state = memory.state(step=4, batch=1) if state is None else state
    backend.batch_norm(
        memory.array(x), memory.array(gain), memory.array(bias), state, eps=EPS, momentum=momentum, **out
    )
    return out


# ---- forward --------------------------------------------------------------------------------------


def test_layer_norm(backend, memory, rng, dtype, u):
    for shape in SHAPES:
        inputs = values(rng, shape, dtype)
        check_normalized(memory, layer_norm(backend, memory, *inputs), inputs, 1, u)


def check_running(memory: Any, out: dict[str, Any], x: np.ndarray, momentum: float, u: float) -> None:
    n, k = x.shape
    s = statistics(x, 0, u)
    now = {"running_mean": s.mean[0], "running_var": s.var[0] * n / (n - 1)}
    before = {"running_mean": np.linspace(-1, 1, k), "running_var": np.linspace(0.5, 2, k)}
    for name, value in now.items():
        want = before[name] + momentum * (value - before[name])
        bound = 64 * u * (np.abs(before[name]) + np.abs(value)) + momentum * s.mean_bound[0]
        assert_within(memory.read(out[name]), want, bound, (name, x.shape))


@pytest.mark.parametrize("momentum", [0.1, 0.75])
def test_batch_norm(backend, memory, rng, dtype, u, momentum):
    for shape in SHAPES:
        inputs = values(rng, shape, dtype)
        out = batch_norm(backend, memory, *inputs, momentum=momentum)
        check_normalized(memory, out, inputs, 0, u)
        if len(inputs[0]) > 1:
            check_running(memory, out, inputs[0], momentum, u)


@pytest.mark.parametrize("why", ["a single row", "halted", "halted in step 0"])
@pytest.mark.parametrize("k", [1, 9, 64])
def test_running_statistics_stay(backend, memory, rng, dtype, u, why, k):
    inputs = values(rng, (1 if why == "a single row" else 6, k), dtype)
    halted = {"halted": 3, "halted in step 0": 0}.get(why, RUNNING)
    out = batch_norm(backend, memory, *inputs, memory.state(step=4, batch=1, halted=halted))
    check_normalized(memory, out, inputs, 0, u)
    np.testing.assert_array_equal(backend.download(out["running_mean"]), np.linspace(-1, 1, k).astype(dtype))
    np.testing.assert_array_equal(backend.download(out["running_var"]), np.linspace(0.5, 2, k).astype(dtype))


@pytest.mark.parametrize("in_place", [False, True])
def test_batch_norm_inference(backend, memory, rng, dtype, u, in_place):
    for shape in SHAPES:
        x, gain, bias = values(rng, shape, dtype)
        mean, var = rng.normal(size=shape[1]).astype(dtype), rng.uniform(0, 2, shape[1]).astype(dtype)
        array = memory.array(x)
        y = array if in_place else memory.output(shape, dtype)
        given = [memory.array(v) for v in (gain, bias, mean, var)]
        backend.batch_norm_inference(array, *given, eps=EPS, y=y)
        normal = (x.astype(np.longdouble) - mean) / np.sqrt(var.astype(np.longdouble) + EPS) * gain
        assert_within(memory.read(y), normal + bias, 16 * u * (np.abs(normal) + np.abs(bias)), shape)


@pytest.mark.parametrize("forward", [layer_norm, batch_norm])
def test_large_values_that_are_close_keep_their_digits(backend, memory, rng, dtype, u, forward):
    """Mean 1e4 and standard deviation 1: E[x^2] - E[x]^2 would have no digit of the variance left in float32."""
    axis = int(forward is layer_norm)
    for shape in [(40, 30), (3, 1200), (1000, 3)]:
        x, *affine = values(rng, shape, dtype)
        x += np.dtype(dtype).type(1e4)
        check_normalized(memory, forward(backend, memory, x, *affine), (x, *affine), axis, u)


@pytest.mark.parametrize("forward", [layer_norm, batch_norm])
def test_the_first_may_be_far_from_the_others(backend, memory, rng, dtype, u, forward):
    """What is measured from it is large then, and the variance still right."""
    for shape in [(40, 30), (3, 1200)]:
        x, *affine = values(rng, shape, dtype)
        x[0, 0] = -1e4
        out = forward(backend, memory, x, *affine)
        check_normalized(memory, out, (x, *affine), int(forward is layer_norm), u)


@pytest.mark.parametrize("forward", [layer_norm, batch_norm])
@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678])
def test_equal_numbers_have_variance_0(backend, memory, rng, dtype, u, forward, value):
    for shape in [(7, 5), (40, 32), (1000, 9), (1, 1030)]:
        _, gain, bias = values(rng, shape, dtype)
        x = np.full(shape, value, dtype)
        out = forward(backend, memory, x, gain, bias)
        np.testing.assert_array_equal(backend.download(out["y"]), np.broadcast_to(bias, shape))
        np.testing.assert_array_equal(memory.read(out["mean"]), np.broadcast_to(x[0, 0], out["mean"].shape))
        assert_within(memory.read(out["inverse_std"]), np.full(out["mean"].shape, EPS**-0.5), 8 * u * EPS**-0.5)


@pytest.mark.parametrize("forward", [layer_norm, batch_norm])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_and_no_other(backend, memory, rng, dtype, forward, bad):
    for at in [(0, 0), (3, 4), (39, 31)]:
        x, gain, bias = values(rng, (40, 32), dtype)
        x[at] = bad
        out = forward(backend, memory, x, gain, bias)
        spoilt = np.zeros(x.shape, bool)
        spoilt[at[0] if forward is layer_norm else slice(None), at[1] if forward is batch_norm else slice(None)] = True
        np.testing.assert_array_equal(~np.isfinite(memory.read(out["y"])) | spoilt, spoilt)
        assert np.isnan(memory.read(out["y"])[at])
        assert np.isnan(memory.read(out["inverse_std"])[at[0] if forward is layer_norm else at[1]])


# ---- backward -------------------------------------------------------------------------------------


def backward(
    backend: Any,
    memory: Any,
    kind: str,
    dy: np.ndarray,
    x: np.ndarray,
    gain: np.ndarray,
    dx: str,
    place: Callable[[np.ndarray], Any] | None = None,
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """dx, dgain and dbias, and the statistics that they were computed from."""
    array = place or memory.array
    s = statistics(x, 1 if kind == "layer" else 0, 0.0)
    mean, inverse_std = (v.ravel().astype(x.dtype) for v in (s.mean, s.inverse_std))
    given = array(dy)
    out = {"dx": {"none": None, "in place": given, "apart": memory.output(x.shape, x.dtype)}[dx]}
    out |= {name: memory.output(gain.shape, gain.dtype) for name in ("dgain", "dbias")}
    getattr(backend, f"{kind}_norm_backward")(
        given, array(x), array(gain), memory.array(mean), memory.array(inverse_std), **out
    )
    return out, (mean, inverse_std)


def check_backward(
    memory: Any,
    kind: str,
    out: dict[str, Any],
    dy: np.ndarray,
    x: np.ndarray,
    gain: np.ndarray,
    given: tuple[np.ndarray, np.ndarray],
    u: float,
    stored: float = 0.0,
) -> None:
    """``stored`` is the unit roundoff of the dtype to which dx is rounded at the end."""
    axis = 1 if kind == "layer" else 0
    mean, inverse_std = (np.expand_dims(v.astype(np.longdouble), axis) for v in given)
    normal = (x - mean) * inverse_std
    assert_within(memory.read(out["dbias"]), dy.sum(axis=0, dtype=np.longdouble), 16 * u * np.abs(dy).sum(axis=0))
    size = np.abs(dy * normal).sum(axis=0)
    assert_within(memory.read(out["dgain"]), (dy * normal).sum(axis=0), 20 * u * size, (kind, x.shape))
    if out["dx"] is None:
        return
    g = dy.astype(np.longdouble) * gain
    along_one, along_x = g.mean(axis=axis, keepdims=True), (g * normal).mean(axis=axis, keepdims=True)
    want = inverse_std * (g - along_one - normal * along_x)
    sizes = [np.abs(v).mean(axis=axis, keepdims=True) for v in (g, g * normal)]
    bound = 32 * u * inverse_std * (np.abs(g) + sizes[0] + np.abs(normal) * sizes[1]) + stored * np.abs(want)
    assert_within(memory.read(out["dx"]), want, bound, (kind, x.shape))


@pytest.mark.parametrize("dx", ["apart", "in place", "none"])
@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_backward(backend, memory, rng, dtype, u, kind, dx):
    for shape in SHAPES:
        x, gain, _ = values(rng, shape, dtype)
        dy = rng.normal(size=shape).astype(dtype)
        out, given = backward(backend, memory, kind, dy, x, gain, dx)
        check_backward(memory, kind, out, dy, x, gain, given, u)


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_a_nan_comes_back(backend, memory, rng, dtype, kind):
    x, gain, _ = values(rng, (40, 32), dtype)
    dy = rng.normal(size=x.shape).astype(dtype)
    dy[3, 4] = np.nan
    out, _ = backward(backend, memory, kind, dy, x, gain, "apart")
    assert np.isnan(memory.read(out["dx"])[3, 4])
    for name in ("dgain", "dbias"):
        assert np.isnan(memory.read(out[name])).tolist() == [column == 4 for column in range(32)]


# ---- the CUDA kernels beyond the contract ---------------------------------------------------------


def one_off(memory: Any) -> Callable[[np.ndarray], Any]:
    """Arrays that start one element behind a 16-byte border."""

    def place(given: np.ndarray) -> Any:
        return memory.array(np.concatenate([[0], given.ravel()]), given.dtype)[1:].reshape(given.shape)

    return place


@EMULATED
@pytest.mark.parametrize("multiprocessors", [1, 64])
@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_any_number_of_blocks_wherever_arrays_start(backend, memory, rng, monkeypatch, dtype, u, kind, multiprocessors):
    """Twice in a row: what one call leaves in scratch memory must not show in the next."""
    monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
    for shape in [(40, 64), (1100, 16), (700, 3), (3, 600)]:
        for place in (memory.array, one_off(memory), memory.array):
            inputs = values(rng, shape, dtype)
            forward = layer_norm if kind == "layer" else batch_norm
            check_normalized(memory, forward(backend, memory, *inputs), inputs, int(kind == "layer"), u)
            dy = rng.normal(size=shape).astype(dtype)
            out, given = backward(backend, memory, kind, dy, inputs[0], inputs[1], "apart", place)
            check_backward(memory, kind, out, dy, inputs[0], inputs[1], given, u)


@EMULATED
def test_statistics_have_the_same_bits_every_time(backend, memory, rng, dtype):
    inputs, seen = values(rng, (3000, 12), dtype), set()
    for _ in range(3):
        out = batch_norm(backend, memory, *inputs)
        back, _ = backward(backend, memory, "batch", inputs[0], inputs[0], inputs[1], "none")
        seen.add(b"".join(backend.download(a).tobytes() for a in (*out.values(), back["dgain"], back["dbias"])))
    assert len(seen) == 1


class NarrowMemory:
    """Arrays of a backend that stores BF16: as they are stored, and in double precision."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def output(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.array(np.full(shape, np.nan), dtype)

    def array(self, given: Any, dtype: Any = None) -> Any:
        given = np.asarray(given, dtype)
        stored = narrow(given) if given.ndim == 2 else given
        out = self.backend.empty(stored.shape, stored.dtype)
        self.backend.assign(stored, out=out)
        return out

    def state(self) -> Any:
        return self.backend.upload(np.array([4, 1, RUNNING]))

    def read(self, array: Any) -> np.ndarray:
        host = self.backend.download(array)
        return (widen(host) if host.dtype == BF16 else host).astype(np.float64)


U32, U16 = 2.0**-24, 2.0**-8


def test_bf16_is_how_rows_are_stored_and_nothing_else(rng):
    """Statistics and gradients are float32's; y and dx are those rounded once."""
    if problem := compiler_problem():
        pytest.skip(problem)
    backend = EmulatedBackend(precision="bf16")
    backend.multiprocessors = 4
    memory = NarrowMemory(backend)
    for shape in [(1, 1), (17, 33), (40, 64), (1100, 16), (2, 2200)]:
        x, dy = (widen(narrow(v)) for v in (3 + 2 * rng.normal(size=shape), rng.normal(size=shape)))
        gain, bias = (rng.normal(size=shape[1]).astype(np.float32) for _ in range(2))
        for kind, axis in (("layer", 1), ("batch", 0)):
            n = shape[1 - axis]
            out = {name: memory.output((n,), np.float32) for name in ("mean", "inverse_std")}
            out["y"] = memory.output(shape, np.float32)
            options: dict[str, Any] = {"eps": EPS}
            given = [memory.array(v) for v in (x, gain, bias)]
            if kind == "batch":
                given.append(memory.state())
                running = memory.array(np.zeros(n, np.float32)), memory.array(np.ones(n, np.float32))
                options |= {"momentum": 0.1, "running_mean": running[0], "running_var": running[1]}
            getattr(backend, f"{kind}_norm")(*given, **options, **out)
            s = statistics(x, axis, U32)
            assert_within(memory.read(out["mean"]), s.mean.ravel(), s.mean_bound.ravel(), (kind, shape))
            want = (x - s.mean) * s.inverse_std * gain + bias
            loose = s.mean_bound * s.inverse_std * np.abs(gain) + 64 * U32 * (np.abs(want) + 2 * np.abs(bias))
            assert_within(memory.read(out["y"]), want, loose + U16 * np.abs(want), (kind, shape))
            back, used = backward(backend, memory, kind, dy, x, gain, "in place")
            check_backward(memory, kind, back, dy, x, gain, used, U32, stored=U16)
        state, total = memory.state(), memory.output(shape, np.float32)
        backend.add(memory.array(x), memory.array(dy), out=total)
        np.testing.assert_array_equal(backend.download(total), narrow(x + dy))
        backend.dropout(memory.array(x), state, key=KEY, counter=COUNTER, rate=0.3, out=total)
        words = philox_words(np, x.size, (4, COUNTER[0] + 2**16, COUNTER[1]), KEY).reshape(shape)
        kept = np.where(words >= threshold(0.3), x * np.float32(1 / 0.7), np.float32(0))
        np.testing.assert_array_equal(backend.download(total), narrow(kept))
