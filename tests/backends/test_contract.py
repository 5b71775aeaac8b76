"""The contract: every kernel of every body against the formula of its docstring, in plain float64.

One test a method. Shapes are odd, every array is a row slice of a longer buffer, and outputs hold nan before the call:
what a kernel leaves out or writes past the end shows. Errors are measured in units of roundoff (``u``) of what goes
into a result.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from activation_formulas import FORMULAS
from chainrule.backends.contract.backend import BATCH, CORRECT, HALTED, LOSS, RUNNING, STEP, WEIGHT
from chainrule.backends.numpy.backend import CHUNK
from chainrule.errors import DeviceError
from comparisons import assert_within
from formulas import LOSSES

SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10)]
SIZES = [1, 7, 1000, 2 * CHUNK + 5]  # of flat arrays: the CPU takes them in chunks


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a.astype(np.longdouble) @ b.astype(np.longdouble), np.float64)


# ---- memory and execution -------------------------------------------------------------------------


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


def test_capture_replays_as_often_as_it_is_told(backend, memory):
    state = memory.state()
    replay = backend.capture(lambda: backend.tick(state))
    for times, total in [(0, 0), (3, 3), (0, 3), (2, 5), (1, 6)]:
        replay(times)
        assert memory.read(state).tolist() == [total, total, RUNNING]
    backend.synchronize()


# ---- elements -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3)])
def test_fill(backend, memory, dtype, shape):
    out = memory.output(shape, dtype)
    backend.fill(2.5, out=out)
    np.testing.assert_array_equal(memory.read(out), np.full(shape, 2.5))


@pytest.mark.parametrize("source", ["float32", "float64", "uint8", "int64", "bool"])
def test_copy_converts(backend, memory, rng, dtype, source):
    values = rng.integers(0, 2, (5, 3)).astype(source)
    out = memory.output((5, 3), dtype)
    backend.copy(backend.upload(values), out=out)
    np.testing.assert_array_equal(memory.read(out), values.astype(np.float64))


@pytest.mark.parametrize("source", ["float32", "float64", "int64"])
@pytest.mark.parametrize(("n", "n_in"), [(1, 1), (50, 3)])
def test_standardize_keeps_the_digits_of_small_differences(backend, memory, rng, dtype, u, source, n, n_in):
    """Time stamps around 2^30 that differ by seconds: in float32 alone all of them would be one number."""
    mean, scale = 2.0**30 + rng.normal(size=n_in), rng.uniform(0.5, 20, n_in)
    x = (mean + 64 * rng.normal(size=(n, n_in))).astype(source)
    out = memory.output((n, n_in), dtype)
    backend.standardize(memory.array(x), memory.array(mean), memory.array(scale), out=out)
    want = (x.astype(np.longdouble) - mean) / scale
    assert_within(memory.read(out), want.astype(np.float64), 4 * u * np.abs(want).astype(np.float64) + 1e-12)


@pytest.mark.parametrize("limit", [0.5, 4.0, np.inf])
def test_standardize_within_a_limit(backend, memory, dtype, u, limit):
    """z / sqrt(1 + (z / limit)^2): nothing happens near 0, and far out all comes to rest at the limit."""
    x = np.array([[-1e6, -3.0, -1e-3, 0.0, 1e-3, 4.0, 1e6]])
    out, mean, scale = memory.output(x.shape, dtype), np.full(7, 0.25), np.full(7, 0.5)
    backend.standardize(memory.array(x), memory.array(mean), memory.array(scale), limit=limit, out=out)
    z = (x - mean) / scale
    want = z / np.hypot(1, z / limit)
    assert_within(memory.read(out), want, 8 * u * np.abs(want))
    assert np.abs(memory.read(out)).max() <= limit


LARGEST = np.finfo(np.float64).max
ENDS = [0.0, -0.0, 5e-324, 1e-308, 1e-170, 1.0, -1.5, 1e8, 1e9, -1e10, 1e154, 1e155, -1e200, 1e308, LARGEST, -LARGEST]


@pytest.mark.parametrize("limit", [0.5, 3.0, 1e-300, 1e300, np.inf])
@pytest.mark.parametrize(
    ("mean", "scale"),
    [(0, 1), (0, 1e-170), (0, 1e-308), (0, 1e200), (0, 1.7e308), (1.2e308, 1.7e308), (-1.5e308, 1e308), (1e300, 1e299)],
)
def test_standardize_right_up_to_the_largest_number(backend, memory, dtype, u, mean, scale, limit):
    """No difference and no square overflows: what is far out comes to rest at the limit, never at 0 or nan."""
    x = np.array([ENDS, ENDS[::-1]])
    means, scales = np.full(len(ENDS), float(mean)), np.full(len(ENDS), float(scale))
    out = memory.output(x.shape, dtype)
    with backend.running():
        backend.standardize(memory.array(x), memory.array(means), memory.array(scales), limit=limit, out=out)
        wide = (x.astype(np.longdouble) - mean) / np.longdouble(scale)
        want = (wide / np.hypot(1, wide / np.longdouble(limit))).astype(np.float64)
        want = want.astype(dtype).astype(np.float64)
    got = memory.read(out)
    smallest = {"float32": 1e-37, "float64": 1e-307}[str(dtype)]  # 1 / 1e308 has lost digits
    infinite = np.isinf(want)
    assert (got[infinite] == want[infinite]).all()
    assert_within(got[~infinite], want[~infinite], 8 * u * np.abs(want[~infinite]) + smallest)


@pytest.mark.parametrize("limit", [3.0, np.inf])
@pytest.mark.parametrize("source", ["float64", "float32", "float16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("width", [4, 5])
def test_standardize_a_constant_column_to_0_whatever_it_holds(backend, memory, rng, dtype, source, limit, width):
    x = rng.integers(0, 2, (6, width)).astype(source)
    if source == "float64":
        x[:, 2] = [LARGEST, -LARGEST, 0, 5e-324, 1, -1e200]
    mean, scale = rng.normal(size=width), rng.uniform(1, 2, width)
    mean[2], scale[2] = (1.7e308 if source == "float64" else 0.5), np.inf
    out = memory.output(x.shape, dtype)
    with backend.running():
        backend.standardize(backend.upload(x), memory.array(mean), memory.array(scale), limit=limit, out=out)
    got = memory.read(out)
    np.testing.assert_array_equal(got[:, 2], 0)
    assert (np.abs(got) > 0)[:, [0, 1, 3]].all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 3)])
def test_scale_and_shift_rounds_a_product_and_a_sum_in_float64(backend, memory, rng, dtype, shape):
    """Also into the memory it reads, and by a scale of 0."""
    x, scale, shift = rng.normal(size=shape), rng.uniform(1, 20, shape[1]), 1.7e9 + rng.normal(size=shape[1])
    scale[-1] = 0
    source, out = memory.array(x, dtype), memory.output(shape, np.float64)
    backend.scale_and_shift(source, memory.array(scale), memory.array(shift), out=out)
    want = x.astype(dtype).astype(np.float64) * scale + shift
    np.testing.assert_array_equal(memory.read(out), want)
    wide = memory.array(x)
    backend.scale_and_shift(wide, memory.array(scale), memory.array(shift), out=wide)
    np.testing.assert_array_equal(memory.read(wide), x * scale + shift)


@pytest.mark.parametrize("shape", [(1,), (40,), (8, 5)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_nonfinite(backend, memory, rng, dtype, shape, value, monkeypatch):
    monkeypatch.setattr("chainrule.backends.numpy.backend.LARGE", 10)  # by parts
    x = rng.normal(size=shape)
    assert backend.first_nonfinite(memory.array(x, dtype)) is None
    for first in {0, x.size // 2, x.size - 1}:
        spoilt = x.copy()
        spoilt.flat[[first, x.size - 1]] = value
        assert backend.first_nonfinite(memory.array(spoilt, dtype)) == first


# ---- layers ---------------------------------------------------------------------------------------


def matmul_cases() -> list[tuple[int, int, int]]:
    """60 shapes (m, k, n), every third with a single row, column or term."""
    shapes = np.random.default_rng(1).integers(1, 65, (60, 3))
    shapes[range(0, 60, 3), np.arange(20) % 3] = 1
    return [tuple(int(s) for s in shape) for shape in [*shapes, (1, 1, 1), (200, 3, 129)]]


@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_matmul(backend, memory, rng, dtype, u, a_turned, b_turned):
    """Every element within 8 u (|A| @ |B|) of the exact product."""

    def factor(shape: tuple[int, int], turned: bool) -> tuple[np.ndarray, Any]:
        values = rng.normal(size=shape).astype(dtype)
        return values, memory.array(values.T).T if turned else memory.array(values)

    for m, k, n in matmul_cases():
        (a, device_a), (b, device_b) = factor((m, k), a_turned), factor((k, n), b_turned)
        out = memory.output((m, n), dtype)
        backend.matmul(device_a, device_b, out=out)
        size = exact_product(np.abs(a), np.abs(b))
        assert_within(memory.read(out), exact_product(a, b), 8 * u * size, (m, k, n))


EDGES = np.array(
    [[0.0, -0.0, 1e4, -1e4, 100.0, -100.0, 1e-30, -1e-30, 8.0, -8.0, 30.0, 40.0, -40.0, 41.0, np.inf, -np.inf]]
)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("in_place", [False, True])
def test_activate(backend, memory, rng, dtype, u, activation, in_place):
    for z in [EDGES.astype(dtype), *(3 * rng.normal(size=shape).astype(dtype) for shape in SHAPES)]:
        array = memory.array(z)
        out = array if in_place else memory.output(z.shape, dtype)
        backend.activate(activation, array, out=out)
        exact = z.astype(np.float64)
        want = FORMULAS[activation].act(exact)
        finite = np.isfinite(want)
        bound = FORMULAS[activation].error(exact, u) + np.finfo(dtype).tiny
        assert_within(memory.read(out)[finite], want[finite], bound[finite])
        np.testing.assert_array_equal(memory.read(out)[~finite], want[~finite])


@pytest.mark.parametrize("activation", FORMULAS)
def test_a_nan_goes_through_every_activation(backend, memory, dtype, activation):
    """Or training that has diverged would go on as if nothing had happened."""
    out = memory.output((1, 3), dtype)
    backend.activate(activation, memory.array([[1.0, np.nan, -1.0]], dtype), out=out)
    assert np.isnan(memory.read(out)).tolist() == [[False, True, False]]


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shared", [True, False], ids=["z is y", "z apart"])
def test_dense(backend, memory, rng, dtype, u, activation, shared):
    for (n, n_out), n_in in itertools.product(SHAPES, (1, 6)):
        x, W, b = (rng.normal(size=s).astype(dtype) for s in [(n, n_in), (n_in, n_out), (n_out,)])
        y = memory.output((n, n_out), dtype)
        z = y if shared else memory.output((n, n_out), dtype)
        backend.dense(memory.array(x), memory.array(W), memory.array(b), activation, z=z, y=y)
        want = exact_product(x, W) + b
        bound = 9 * u * (exact_product(np.abs(x), np.abs(W)) + np.abs(b))
        if not shared:
            assert_within(memory.read(z), want, bound, (n, n_in, n_out))
        formula = FORMULAS[activation]
        bound = formula.steepest * bound + formula.error(want, u)
        assert_within(memory.read(y), formula.act(want), bound, (n, n_in, n_out))


def saved_by(activation: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """What a layer keeps of random z, 0 (a kink) and a large one among them."""
    z = 2 * rng.normal(size=shape)
    z.flat[-1] = -50.0
    z.flat[0] = 0.0 if "relu" in activation else 50.0
    return FORMULAS[activation].saved(z).astype(dtype)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("in_place", [False, True])
def test_activation_backward(backend, memory, rng, dtype, u, activation, in_place):
    for shape in SHAPES:
        saved, given = saved_by(activation, rng, shape, dtype), rng.normal(size=shape).astype(dtype)
        dy, db = memory.array(given), memory.output(shape[1:], dtype)
        dz = dy if in_place else memory.output(shape, dtype)
        backend.activation_backward(activation, memory.array(saved), dy, dz=dz, db=db)
        formula = FORMULAS[activation]
        want, size = given * formula.derivative(saved.astype(np.float64)), np.abs(given).astype(np.float64)
        assert_within(memory.read(dz), want, formula.roundings * u * size, shape)
        assert_within(memory.read(db), want.sum(axis=0), 3 * formula.roundings * u * size.sum(axis=0), shape)


@pytest.mark.parametrize("activation", FORMULAS)
def test_activation_backward_far_from_zero(backend, memory, dtype, u, activation):
    """Up to 1e4 on either side, where exp and powers of z overflow, and at the ends of gates."""
    formula, z = FORMULAS[activation], EDGES[:, :-2]
    saved = formula.saved(z).astype(dtype)
    dz, db = memory.array(np.ones(z.shape), dtype), memory.output(z.shape[1:], dtype)
    backend.activation_backward(activation, memory.array(saved), dz, dz=dz, db=db)
    assert_within(memory.read(dz), formula.derivative(saved.astype(np.float64)), formula.roundings * u)


@pytest.mark.parametrize("activation", FORMULAS)
def test_matmul_activation_backward(backend, memory, rng, dtype, u, activation):
    for (n, n_in), n_out in itertools.product(SHAPES, (1, 6)):
        dz, W = rng.normal(size=(n, n_out)).astype(dtype), rng.normal(size=(n_in, n_out)).astype(dtype)
        saved = saved_by(activation, rng, (n, n_in), dtype)
        out, db = memory.output((n, n_in), dtype), memory.output((n_in,), dtype)
        backend.matmul_activation_backward(
            memory.array(dz), memory.array(W), activation, memory.array(saved), out=out, db=db
        )
        formula = FORMULAS[activation]
        want = exact_product(dz, W.T) * formula.derivative(saved.astype(np.float64))
        size = (8 * formula.steepest + formula.roundings) * exact_product(np.abs(dz), np.abs(W.T))
        assert_within(memory.read(out), want, u * size, (n, n_in, n_out))
        assert_within(memory.read(db), want.sum(axis=0), 2 * u * size.sum(axis=0), (n, n_in, n_out))


@pytest.mark.parametrize("backend", ["numpy", "guarded"], indirect=True)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(4, 3, 2), (1, 5, 1), (6, 1, 3)])
def test_a_model_axis_before_the_others(backend, memory, rng, dtype, u, n, n_in, n_out):
    """Three nets at once give what each gives alone."""
    models = 3
    x, W, b, y, dz = (
        rng.normal(size=(models, *s)).astype(dtype) for s in [(n, n_in), (n_in, n_out), (n_out,), (n, n_in), (n, n_out)]
    )
    z, below = memory.output((models, n, n_out), dtype), memory.output((models, n, n_in), dtype)
    db, db_below = memory.output((models, n_out), dtype), memory.output((models, n_in), dtype)
    product, device_x, device_dz = memory.output((models, n_in, n_out), dtype), memory.array(x), memory.array(dz)
    backend.dense(device_x, memory.array(W), memory.array(b), "tanh", z=z, y=z)
    backend.matmul(device_x.swapaxes(-1, -2), device_dz, out=product)
    backend.matmul_activation_backward(device_dz, memory.array(W), "tanh", memory.array(y), out=below, db=db_below)
    backend.activation_backward("relu", z, device_dz, dz=device_dz, db=db)
    for i in range(models):
        want_z, want_below = np.tanh(exact_product(x[i], W[i]) + b[i]), exact_product(dz[i], W[i].T) * (1 - y[i] ** 2.0)
        want_dz, bound = dz[i] * (want_z > 0), 300 * u
        assert_within(memory.read(z)[i], want_z, bound)
        assert_within(memory.read(product)[i], exact_product(x[i].T, dz[i]), bound)
        assert_within(memory.read(below)[i], want_below, bound)
        assert_within(memory.read(db_below)[i], want_below.sum(axis=0), bound)
        assert_within(memory.read(device_dz)[i], want_dz, bound)
        assert_within(memory.read(db)[i], want_dz.sum(axis=0), bound)


# ---- losses ---------------------------------------------------------------------------------------
# As in formulas.py.

WEIGHTINGS = ["unweighted", "weights", "some are zero", "all are zero"]


def weights_of(weighting: str, rng: np.random.Generator, n: int, dtype: str) -> np.ndarray | None:
    w = rng.uniform(0.1, 3, n).astype(dtype)
    some = (w * rng.integers(0, 2, n)).astype(dtype)
    return {"unweighted": None, "weights": w, "some are zero": some, "all are zero": 0 * w}[weighting]


@pytest.mark.parametrize(("mean", "scale", "in_place"), [(True, 0.3, False), (False, 1.0, True)])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient(backend, memory, rng, dtype, u, loss, weighting, mean, scale, in_place):
    for n, k in SHAPES:
        z, targets = LOSSES[loss].draw(rng, n, k, dtype)
        weights = weights_of(weighting, rng, n, dtype)
        logits, totals, state = memory.array(z), memory.output((5, 3), np.float64), memory.state(step=9, batch=2)
        dlogits = logits if in_place else memory.output(z.shape, dtype)
        LOSSES[loss].call(
            backend,
            logits,
            memory.array(targets),
            None if weights is None else memory.array(weights),
            state,
            scale=scale,
            mean=mean,
            totals=totals,
            dlogits=dlogits,
        )

        losses, gradient = LOSSES[loss].rows(z.astype(np.float64), targets)
        w = np.ones(n) if weights is None else weights.astype(np.float64)
        row = scale * w / (w.sum() or 1.0) if mean else scale * w
        bound = 32 * u * np.abs(row)[:, None] * (1 + np.abs(gradient))
        assert_within(memory.read(dlogits), gradient * row[:, None], bound, (n, k))

        got = memory.read(totals)
        size = scale * (w * (np.abs(losses) + z.shape[1] * np.abs(z).max(axis=1))).sum()
        assert_within(got[2, LOSS], scale * (w * losses).sum(), 32 * u * size, (n, k))
        assert_within(got[2, WEIGHT], w.sum(), 1e-14 * n)
        got[2, [LOSS, WEIGHT]] = np.nan
        assert np.isnan(got).all(), "the loss wrote elsewhere in totals"
        assert memory.read(state).tolist() == [9, 2, RUNNING]
        if not in_place:
            np.testing.assert_array_equal(memory.read(logits), z, "the logits changed")


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_added_up_in_double_precision(backend, memory, dtype, weighted):
    """2^24 + 1: the sum over an epoch's rows is more than float32 can count."""
    weights, totals = memory.array(np.ones(2), dtype) if weighted else None, memory.output((1, 3), np.float64)
    backend.elementwise_loss(
        "squared_error",
        memory.array([[4096.0], [1.0]], dtype),
        memory.array(np.zeros((2, 1)), dtype),
        weights,
        memory.state(),
        scale=1.0,
        mean=True,
        totals=totals,
        dlogits=memory.output((2, 1), dtype),
    )
    assert memory.read(totals)[0, :2].tolist() == [2**24 + 1, 2]


HUGE = 1e4
EXTREMES = [  # loss, logits, targets, loss of the row, gradient of the row
    ("softmax_cross_entropy", [HUGE, -HUGE, 0], 0, 0.0, [0, 0, 0]),
    ("softmax_cross_entropy", [HUGE, -HUGE, 0], 1, 2 * HUGE, [1, -1, 0]),
    ("softmax_cross_entropy", [-HUGE, -HUGE, -HUGE], 2, np.log(3), [1 / 3, 1 / 3, -2 / 3]),
    ("softmax_cross_entropy", [HUGE, HUGE, 0], 1, np.log(2), [1 / 2, -1 / 2, 0]),
    ("sigmoid_cross_entropy", [HUGE, -HUGE, 0], [1, 0, 1], np.log(2), [0, 0, -1 / 2]),
    ("sigmoid_cross_entropy", [HUGE, -HUGE, 0], [0, 1, 0], 2 * HUGE + np.log(2), [1, -1, 1 / 2]),
    ("squared_error", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 4 * HUGE**2, [0, -4 * HUGE, 0]),
    ("smoothed", [HUGE, -HUGE, 0], 0, 0.1 * HUGE, [0.2 / 3, -0.1 / 3, -0.1 / 3]),
    ("focal", [HUGE, -HUGE, 0], 0, 0.0, [0, 0, 0]),
    ("focal", [HUGE, -HUGE, 0], 1, 2 * HUGE, [1, -1, 0]),
    ("focal", [HUGE, HUGE, -HUGE], 1, np.log(2) / 4, [0.125 + np.log(2) / 4, -0.125 - np.log(2) / 4, 0]),
    ("absolute_error", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 2 * HUGE, [0, -1, 0]),
    ("huber", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 1.5 * (2 * HUGE - 0.75), [0, -1.5, 0]),
    ("poisson", [-HUGE, -HUGE, 0], [0, 2, 0], 2 * HUGE + 1, [0, -2, 1]),
    ("gamma", [HUGE, 0, 0], [1, 1, 2], HUGE + 3, [1, 0, -1]),
    ("quantile", [0, HUGE, -HUGE], [0], 0.5 * HUGE + 0.25 * HUGE, [0.5, 0.75, 0]),
    (
        "quantile",
        [0, HUGE, HUGE],
        [1.5 * HUGE],
        0.25 * 1.5 * HUGE + 0.5 * 0.5 * HUGE + 0.25 * 0.5 * HUGE,
        [-0.5, -0.25, 0.25],
    ),
    ("gaussian_nll", [HUGE, 0, HUGE, 0], [0, 2], HUGE / 2 + 2, [0, -2, 0.5, -1.5]),
]


@pytest.mark.parametrize(("loss", "z", "target", "value", "gradient"), EXTREMES)
def test_huge_logits(backend, memory, dtype, u, loss, z, target, value, gradient):
    targets = np.array([target], dtype if isinstance(target, list) else np.int32)
    totals, dlogits, state = memory.output((1, 3), np.float64), memory.output((1, len(z)), dtype), memory.state()
    LOSSES[loss].call(
        backend,
        memory.array([z], dtype),
        memory.array(targets),
        None,
        state,
        scale=1.0,
        mean=True,
        totals=totals,
        dlogits=dlogits,
    )
    assert_within(memory.read(totals)[0, LOSS], value, 4 * u * abs(value) + 4 * u)
    size = np.ones((1, len(z))) if loss == "smoothed" else np.abs([gradient])  # a difference of two numbers below 1
    assert_within(memory.read(dlogits), [gradient], 4 * u * size)
    assert memory.read(state)[HALTED] == RUNNING


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_halts_the_run_here(backend, memory, rng, dtype, loss, value, weighted):
    n, k = 4, 3
    z, targets = LOSSES[loss].draw(rng, n, k, dtype)
    z[2, 1] = value
    weights = memory.array(np.ones(n), dtype) if weighted else None
    for before, after in [(RUNNING, 7), (0, 0), (3, 3)]:
        state, totals = memory.state(step=7, batch=1, halted=before), memory.output((2, 3), np.float64)
        LOSSES[loss].call(
            backend,
            memory.array(z, dtype),
            memory.array(targets),
            weights,
            state,
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=memory.output(z.shape, dtype),
        )
        assert not np.isfinite(memory.read(totals)[1, LOSS])
        assert memory.read(state).tolist() == [7, 1, after]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", ["labels", "columns"])
def test_count_correct(backend, memory, rng, dtype, kind, weighting):
    for n, k in SHAPES:
        # Few distinct values, so that ties are common: the first of equals is what was predicted.
        z = rng.integers(-1, 2, (n, k)).astype(dtype)
        if kind == "labels":
            targets = rng.integers(0, k, n).astype(np.int32)
            right = [int(targets[i]) == z[i].tolist().index(max(z[i])) for i in range(n)]
        else:
            targets = rng.choice([0, 0.4, 0.5, 0.6, 1], (n, k)).astype(dtype)
            right = [all((z[i, j] > 0) == (targets[i, j] > 0.5) for j in range(k)) for i in range(n)]
        weights = weights_of(weighting, rng, n, dtype)
        w = np.ones(n) if weights is None else weights.astype(np.float64)
        totals, state = memory.output((3, 3), np.float64), memory.state(batch=1)
        backend.count_correct(
            memory.array(z),
            memory.array(targets),
            None if weights is None else memory.array(weights),
            state,
            totals=totals,
        )
        got = memory.read(totals)
        assert_within(got[1, CORRECT], (w * right).sum(), 1e-12 * n, (n, k))
        got[1, CORRECT] = np.nan
        assert np.isnan(got).all(), "written elsewhere in totals"


# ---- from logits to predictions -------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(backend, memory, rng, dtype, u, in_place):
    for values in [[[HUGE, -HUGE, 0.0]], [[-HUGE] * 4], *(5 * rng.normal(size=shape) for shape in SHAPES)]:
        z = np.asarray(values, dtype)
        logits = memory.array(z)
        out = logits if in_place else memory.output(z.shape, dtype)
        backend.softmax(logits, out=out)
        want = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
        want /= want.sum(axis=1, keepdims=True)
        assert_within(memory.read(out), want, 32 * u * want)
        assert_within(memory.read(out).sum(axis=1), np.ones(len(z)), 32 * u)


def test_argmax_takes_the_first_of_equals(backend, memory, rng, dtype):
    for n, k in SHAPES:
        x = rng.integers(-2, 2, (n, k)).astype(dtype)
        out = memory.output((n,), np.int32)
        backend.argmax(memory.array(x), out=out)
        assert memory.read(out).tolist() == [row.tolist().index(max(row)) for row in x]


def test_positive(backend, memory, dtype):
    x = np.array([[1e-30, -1e-30, 0.0], [-0.0, 3.0, np.inf]])
    out = memory.output(x.shape, np.int32)
    backend.positive(memory.array(x, dtype), out=out)
    assert memory.read(out).tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize("in_place", [False, True])
def test_exp(backend, memory, rng, dtype, u, in_place):
    for x in [np.array([[0.0, -0.0, 1e4, -1e4, -np.inf]]), *(3 * rng.normal(size=shape) for shape in SHAPES)]:
        array = memory.array(x, dtype)
        out = array if in_place else memory.output(x.shape, dtype)
        backend.exp(array, out=out)
        want = np.exp(x.astype(dtype).astype(np.float64))
        np.testing.assert_array_equal(np.isinf(memory.read(out)), np.isinf(want))
        assert_within(np.nan_to_num(memory.read(out)), np.nan_to_num(want), 4 * u * np.nan_to_num(want))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("n", "columns", "count"), [(1, 1, 1), (5, 1, 3), (4, 2, 3), (600, 3, 2)])
def test_quantiles(backend, memory, rng, dtype, u, in_place, n, columns, count):
    z = (3 * rng.normal(size=(n, columns * count))).astype(dtype)
    z[0, -1] = -1e4 if count > 1 else z[0, -1]
    logits = memory.array(z)
    out = logits if in_place else memory.output(z.shape, dtype)
    backend.quantiles(logits, count=count, out=out)
    steps = z.astype(np.float64).reshape(n, columns, count)
    steps[..., 1:] = np.logaddexp(0, steps[..., 1:])
    got = memory.read(out).reshape(n, columns, count)
    assert_within(got, np.cumsum(steps, axis=-1), 4 * count * u * (1 + np.abs(steps).sum(axis=-1, keepdims=True)))
    assert (np.diff(got, axis=-1) >= 0).all()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("n", "columns"), [(1, 1), (5, 3), (700, 2)])
def test_mean_and_variance(backend, memory, rng, dtype, u, in_place, n, columns):
    z = (3 * rng.normal(size=(n, 2 * columns))).astype(dtype)
    logits = memory.array(z)
    out = logits if in_place else memory.output(z.shape, dtype)
    backend.mean_and_variance(logits, out=out)
    want = np.hstack([z[:, :columns], np.exp(z[:, columns:].astype(np.float64))])
    assert_within(memory.read(out), want, 4 * u * np.abs(want))


# ---- batches and random numbers -------------------------------------------------------------------


@pytest.mark.parametrize(("n", "stride"), [(1, 1), (10, 3), (10, 4), (9, 3), (5, 5)])
def test_gather(backend, memory, rng, dtype, n, stride):
    """Every batch, the ragged last one too; features of pixels become floats, labels stay whole numbers."""
    sources = [
        (rng.normal(size=(n, 3)).astype(dtype), dtype),
        (rng.integers(0, 256, (n, 4)).astype(np.uint8), dtype),
        (rng.normal(size=(n, 2)), "float32"),
        (rng.integers(0, 9, n).astype(np.int32), "int32"),
        (rng.integers(0, 9, n), "int32"),
        (rng.uniform(size=n).astype(dtype), dtype),
    ]
    order = rng.permutation(n)
    arrays, device_order = [memory.array(values) for values, _ in sources], memory.array(order, np.int64)
    position = memory.array([0], np.int64)
    for start in range(0, n, stride):
        rows = order[start : start + stride]
        out = [memory.output((len(rows), *values.shape[1:]), kind) for values, kind in sources]
        backend.gather(arrays, device_order, position, stride=stride, out=out)
        for (values, kind), got in zip(sources, out, strict=True):
            want = values[rows].astype(kind)
            np.testing.assert_array_equal(backend.download(got), want, strict=True)
    assert memory.read(position).tolist() == [-(-n // stride)]


KEYS = [((0, 0), (0, 0, 0)), ((1, 2), (3, 4, 5)), ((2**32 - 1, 7), (2**32 - 1, 0, 1))]


@pytest.mark.parametrize(("key", "counter"), KEYS)
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3)])
def test_uniform_has_the_bits_of_the_formula(backend, memory, plain_philox, dtype, key, counter, shape):
    low, high = -0.3, 1.7
    out = memory.output(shape, dtype)
    backend.uniform(key, counter, low=low, high=high, out=out)
    words = [plain_philox((e // 4, *counter), key)[e % 4] for e in range(np.prod(shape))]
    want = np.array([low + (high - low) * ((word >> 8) / 2**24) for word in words]).astype(dtype).reshape(shape)
    np.testing.assert_array_equal(backend.download(out), want, strict=True)


def test_uniform_stays_within_its_range(backend, memory, dtype):
    out = memory.output((5000,), dtype)
    backend.uniform((1, 2), (3, 4, 5), low=-2.0, high=3.0, out=out)
    got = memory.read(out)
    assert -2.0 <= got.min() < -1.9
    assert 2.9 < got.max() <= 3.0
    assert len(set(got.tolist())) > 4900


@pytest.mark.parametrize(("key", "counter"), KEYS)
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_permutation_sorts_by_the_words(backend, memory, plain_philox, key, counter, n):
    out = memory.output((n,), np.int64)
    backend.permutation(key, counter, out=out)
    words = [plain_philox((e // 4, *counter), key)[e % 4] for e in range(n)]
    assert memory.read(out).tolist() == sorted(range(n), key=lambda e: (words[e], e))


# ---- optimisers -----------------------------------------------------------------------------------

RATES = [0.1, 0.0, 0.03]  # of batches 0, 1 and 2 and of all later ones
STEPS = 5
FIRST_STEP = 3


def plain_sgd(p, g, moments, rate, t, *, momentum, nesterov, weight_decay):
    g = g + weight_decay * p
    v = momentum * moments[0] + g
    return p - rate * (g + momentum * v if nesterov else v), [v]


def plain_adam(p, g, moments, rate, t, *, beta1, beta2, eps, weight_decay, decoupled, eps_hat=False):
    if decoupled:
        p = p - rate * weight_decay * p
    else:
        g = g + weight_decay * p
    m, v = beta1 * moments[0] + (1 - beta1) * g, beta2 * moments[1] + (1 - beta2) * g**2
    eps = eps / np.sqrt(1 - beta2**t) if eps_hat else eps
    return p - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), [m, v]


SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
OPTIMISERS = {
    "sgd": ("sgd", plain_sgd, 0, SGD),
    "sgd, decay": ("sgd", plain_sgd, 0, SGD | {"weight_decay": 0.2}),
    "momentum": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8}),
    "momentum, decay": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8, "weight_decay": 0.2}),
    "nesterov": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
    "adam": ("adam", plain_adam, 2, ADAM),
    "adam, other betas": ("adam", plain_adam, 2, ADAM | {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2}),
    "adam, no betas": ("adam", plain_adam, 2, ADAM | {"beta1": 0.0, "beta2": 0.0, "eps": 1.0}),
    "adam, eps hat": ("adam", plain_adam, 2, ADAM | {"eps": 1e-2, "eps_hat": True}),
    "adam, decay": ("adam", plain_adam, 2, ADAM | {"weight_decay": 0.2}),
    "adamw": ("adam", plain_adam, 2, ADAM | {"weight_decay": 0.2, "decoupled": True}),
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("size", SIZES)
def test_optimiser(backend, memory, rng, dtype, u, name, size):
    kernel, plain, n_moments, options = OPTIMISERS[name]
    p = rng.normal(size=size).astype(dtype).astype(np.float64)
    moments = [np.zeros(size)] * max(1, n_moments)
    params, arenas = memory.array(p, dtype), [memory.array(np.zeros(size), dtype) for _ in range(n_moments)]
    lr, state, lr_factor = memory.array(RATES), memory.state(step=FIRST_STEP), 0.5
    for step in range(STEPS):
        g = rng.normal(size=size).astype(dtype)
        getattr(backend, kernel)(
            params,
            memory.array(g),
            *(arenas or ([None] if kernel == "sgd" else [])),
            lr,
            state,
            lr_factor=lr_factor,
            **options,
        )
        backend.tick(state)
        rate = lr_factor * RATES[min(step, len(RATES) - 1)]
        p, moments = plain(p, g.astype(np.float64), moments, rate, FIRST_STEP + step + 1, **options)
        for arena, moment in zip(arenas, moments, strict=False):
            assert_within(memory.read(arena), moment, 32 * u * (1 + np.abs(moment)), (name, step))
        assert_within(memory.read(params), p, 64 * u * (1 + np.abs(p)), (name, step))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_run_that_has_halted_moves_no_parameter(backend, memory, rng, dtype, name):
    kernel, _, n_moments, options = OPTIMISERS[name]
    for size, gradient in itertools.product((7, CHUNK + 1), (1.0, np.nan, np.inf)):
        p = rng.normal(size=size).astype(dtype)
        params, moments = memory.array(p), [memory.array(np.zeros(size), dtype) for _ in range(n_moments)]
        getattr(backend, kernel)(
            params,
            memory.array(np.full(size, gradient), dtype),
            *(moments or ([None] if kernel == "sgd" else [])),
            memory.array(RATES),
            memory.state(step=4, halted=4),
            lr_factor=1.0,
            **options,
        )
        np.testing.assert_array_equal(backend.download(params), p)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", [0.0, 1e-6, 0.99, 1.0, 1.01, 50.0, 1e12])
def test_clip_by_global_norm(backend, memory, rng, dtype, u, size, norm):
    g = rng.normal(size=size)
    g = (norm * g / np.sqrt((g**2).sum())).astype(dtype)
    grads = memory.array(g)
    backend.clip_by_global_norm(grads, max_norm=1.0)
    exact = np.sqrt((g.astype(np.float64) ** 2).sum())
    want = g * (min(1.0, exact) / exact if exact else 1.0)
    assert_within(memory.read(grads), want, (8 + size**0.5) * u * np.abs(want))
    if norm < 0.999:
        np.testing.assert_array_equal(backend.download(grads), g, "a small gradient changed")


@pytest.mark.parametrize(("size", "clipped"), [(1e-25, [3e-25, 4e-25]), (1e20, [0.6, 0.8])])
def test_clip_by_global_norm_of_gradients_whose_squares_leave_float32(backend, size, clipped):
    gradients = backend.upload(np.float32([3, 4]) * np.float32(size)) * 1
    with backend.running():
        backend.clip_by_global_norm(gradients, max_norm=1.0)
    np.testing.assert_allclose(backend.download(gradients), clipped, rtol=1e-6)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weight", [0.0, 1.0, 12.5])
def test_penalize(backend, memory, rng, dtype, u, size, weight, mean):
    p, g = (rng.normal(size=size).astype(dtype) for _ in range(2))
    rows = np.array([[1.0, 2.0, 3.0], [4.0, weight, 5.0]])
    totals, grads, params = memory.array(rows), memory.array(g), memory.array(p)
    backend.penalize(params, grads, totals, memory.state(step=7, batch=1), alpha=0.3, mean=mean)
    exact = p.astype(np.float64)
    rows[1, LOSS] += 0.15 * (exact**2).sum()
    assert_within(memory.read(totals), rows, 1e-12 * rows)
    want = g + 0.3 / (weight if mean and weight else 1.0) * exact
    assert_within(memory.read(grads), want, 4 * u * (np.abs(g) + np.abs(exact)))
    np.testing.assert_array_equal(backend.download(params), p)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize(("size", "group"), [(1, 1), (7, 3), (1000, 4), (2 * CHUNK + 5, 2), (5, 11)])
def test_accumulate(backend, memory, rng, dtype, u, size, group, mean):
    """Two groups and a smaller third one, a batch without weight among them; what is not a number before is gone."""
    count = 2 * group + max(1, group - 1)
    weights = rng.integers(0, 5, count).astype(float)
    weights[0] = 0.0
    totals = memory.array(np.column_stack([np.full(count, np.nan), weights, np.full(count, np.nan)]))
    out, grads = memory.output((size,), dtype), rng.normal(size=(count, size)).astype(dtype)
    grads[weights == 0] = 0.0  # as a loss without weight leaves it
    for batch in range(count):
        first = batch - batch % group
        newest = memory.array(grads[batch])
        backend.accumulate(newest, totals, memory.state(step=9, batch=batch), group=group, mean=mean, out=out)
        seen, w = grads[first : batch + 1].astype(np.float64), weights[first : batch + 1, None]
        want = (w * seen).sum(axis=0) / (w.sum() or 1) if mean else seen.sum(axis=0)
        bound = 8 * u * (batch - first + 1) * np.abs(seen).sum(axis=0)
        assert_within(memory.read(out), want, bound, batch)
        np.testing.assert_array_equal(backend.download(newest), grads[batch])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average(backend, memory, rng, dtype, u, size, decay):
    want = rng.normal(size=size).astype(dtype).astype(np.float64)
    out = memory.array(want, dtype)
    for step in (0, 1, 2, 40, 10**7):
        p = rng.normal(size=size).astype(dtype)
        backend.average(memory.array(p), memory.state(step=step, batch=1), decay=decay, out=out)
        d = min(decay, (2 + step) / (11 + step))
        want = d * want + (1 - d) * p
        assert_within(memory.read(out), want, 16 * u * (1 + np.abs(want) + np.abs(p)), step)


def test_the_average_of_what_does_not_move_does_not_move(backend, memory, rng, dtype):
    p = rng.normal(size=50).astype(dtype)
    out = memory.array(p)
    backend.average(memory.array(p), memory.state(step=3), decay=0.9, out=out)
    np.testing.assert_array_equal(backend.download(out), p)


def test_a_run_that_has_halted_keeps_its_averages(backend, memory, rng, dtype):
    before = rng.normal(size=50).astype(dtype)
    out = memory.array(before)
    for value in (1.0, np.nan, np.inf):
        backend.average(memory.array(np.full(50, value, dtype)), memory.state(step=4, halted=4), decay=0.5, out=out)
    np.testing.assert_array_equal(backend.download(out), before)


@pytest.mark.parametrize("updates", [0, 1])
def test_tick_counts_steps_and_batches(backend, memory, updates):
    for halted in (RUNNING, 0, 5):
        state = memory.state(step=2**40, batch=3, halted=halted)
        backend.tick(state, updates=updates)
        values = memory.read(state)
        assert (values[STEP], values[BATCH], values[HALTED]) == (2**40 + updates, 4, halted)
