"""The fused layers and losses beyond the contract: how work is laid over blocks, launches, bits, BF16 storage."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from activation_formulas import FORMULAS
from chainrule.backends.contract.backend import BF16, CORRECT, HALTED, LOSS, RUNNING, WEIGHT
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy import kernels, layers
from chainrule.errors import DeviceError
from emulation.backend import EmulatedBackend, compiler_problem, narrow, widen
from formulas import LOSSES

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
FUSED = pytest.mark.parametrize("backend", ["emulated", CUDA], indirect=True)
EVERY = pytest.mark.parametrize(
    "backend", ["numpy", "compiled", "guarded", "emulated", "simulated", CUDA], indirect=True
)

U32 = 2.0**-24  # unit roundoff of float32, in which all BF16 kernels compute
U16 = 2.0**-8  # and of BF16, which has 8 bits with the one that is not stored, to which they round at the end

MARGIN = 64  # bytes of poison before and after an array
POISON = 0xA5


class Memory:
    """Arrays that start ``offset`` elements behind a 16-byte border, amid bytes of poison that have to stay."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self._buffers: list[tuple[Any, slice]] = []

    def output(self, shape: tuple[int, ...], dtype: Any, *, offset: int = 0) -> Any:
        dtype = np.dtype(dtype)
        size, margin = int(np.prod(shape)), MARGIN // dtype.itemsize
        buffer = self.backend.empty((offset + size + 2 * margin,), dtype)
        self.backend.assign(np.full(buffer.nbytes, POISON, np.uint8).view(dtype), out=buffer)
        part = slice(margin + offset, margin + offset + size)
        self._buffers.append((buffer, part))
        return buffer[part].reshape(shape)

    def array(self, values: Any, dtype: Any = None, *, offset: int = 0) -> Any:
        values = np.asarray(values, dtype)
        out = self.output(values.shape, values.dtype, offset=offset)
        self.backend.assign(values, out=out)
        return out

    def state(self) -> Any:
        return self.array([5, 1, RUNNING], np.int64)

    def read(self, array: Any) -> np.ndarray:
        """In double precision."""
        values = self.backend.download(array)
        return (widen(values) if values.dtype == BF16 else values).astype(np.float64)

    def check(self) -> None:
        for buffer, part in self._buffers:
            size = buffer.dtype.itemsize
            raw = np.ascontiguousarray(self.backend.download(buffer)).view(np.uint8)
            around = np.concatenate([raw[: part.start * size], raw[part.stop * size :]])
            assert (around == POISON).all(), "written beside the array"


@pytest.fixture
def memory(backend: Any) -> Iterator[Memory]:
    memory = Memory(backend)
    with backend.running(), np.errstate(all="ignore"):
        yield memory
    memory.check()


@pytest.fixture(params=["emulated", CUDA])
def narrow_memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    """Memory of a body that stores BF16."""
    if request.param == "emulated" and (problem := compiler_problem()):
        pytest.skip(problem)
    on_cpu = request.param == "emulated"
    memory = Memory(EmulatedBackend(precision="bf16") if on_cpu else cr.backend("cuda", precision="bf16"))
    with memory.backend.running(), np.errstate(all="ignore"):
        yield memory
    memory.check()


def assert_within(got: np.ndarray, want: Any, bound: Any, what: Any = "") -> None:
    want, bound = np.broadcast_arrays(np.asarray(want), np.asarray(bound))
    within = np.abs(got - want) <= bound
    if not within.all():
        at = tuple(int(i) for i in np.argwhere(~within)[0])
        pytest.fail(f"{what}{list(at)} is {got[at]}, {want[at]} +- {bound[at]} was expected")


def launched(backend: Any, step: Callable[[], None]) -> list[str]:
    """The names of what ``step`` launches when it is recorded, which it is after it ran once."""
    step()
    return [launch.key[0] for launch in backend.record(step)]


def as_bf16(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``values`` as BF16, and what these are in double precision."""
    bits = narrow(values.astype(np.float32))
    return bits, widen(bits).astype(np.float64)


# ---- how work is laid over blocks -----------------------------------------------------------------

# One strip and several; columns that fill accesses of 16 bytes or do not; rows enough for blocks to share a strip.
STRIPS = [(1, 1), (3, 4), (40, 64), (33, 200), (2, 1000), (700, 8), (1500, 10), (1100, 32), (5000, 1), (3, 777)]


@FUSED
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("multiprocessors", [1, 8])
@pytest.mark.parametrize("shape", STRIPS)
def test_columns_are_added_up_by_any_number_of_blocks(
    backend, memory, rng, monkeypatch, dtype, u, shape, multiprocessors, offset
):
    """Three times in a row: what one call leaves in scratch memory must not show in the next."""
    monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
    for activation in ("relu", "identity", "tanh"):
        y, given = np.tanh(rng.normal(size=shape)).astype(dtype), rng.normal(size=shape).astype(dtype)
        dy, dz = memory.array(given, offset=offset), memory.output(shape, dtype, offset=offset)
        db = memory.output(shape[1:], dtype, offset=offset)
        backend.activation_backward(activation, memory.array(y, offset=offset), dy, dz=dz, db=db)
        want = given * FORMULAS[activation].derivative(y.astype(np.float64))
        assert_within(memory.read(dz), want, 4 * u * np.abs(given), activation)
        bound = 12 * u * np.abs(given).sum(axis=0, dtype=np.float64)
        assert_within(memory.read(db), want.sum(axis=0), bound, activation)


@FUSED
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1.7])
def test_equal_numbers_are_added_up_without_drift(backend, memory, dtype, u, value):
    """Each sum rounded the same way would lose as many units of roundoff as there are rows a thread."""
    dz = memory.array(np.full((20_000, 3), value, dtype))
    db = memory.output((3,), dtype)
    backend.activation_backward("identity", dz, dz, dz=dz, db=db)
    want = 20_000 * float(np.dtype(dtype).type(value))
    assert_within(memory.read(db), want, 12 * u * want)


@FUSED
def test_a_sum_has_the_same_bits_every_time(backend, memory, rng, dtype):
    given = memory.array(rng.normal(size=(3000, 12)), dtype)
    sums = [memory.output((12,), dtype) for _ in range(3)]
    for db in sums:
        backend.activation_backward("identity", given, given, dz=given, db=db)
    assert len({memory.read(db).tobytes() for db in sums}) == 1


@FUSED
@pytest.mark.parametrize("offsets", [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("size", [1, 31, 1024, 9001])
def test_elements_are_activated_wherever_they_start(backend, memory, rng, monkeypatch, dtype, u, size, offsets):
    monkeypatch.setattr(backend, "multiprocessors", 2)
    for activation, formula in FORMULAS.items():
        z = rng.normal(size=size).astype(dtype)
        out = memory.output((size,), dtype, offset=offsets[1])
        backend.activate(activation, memory.array(z, offset=offsets[0]), out=out)
        exact = z.astype(np.float64)
        assert_within(memory.read(out), formula.act(exact), formula.error(exact, u), activation)


@FUSED
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (33, 200), (600, 8)])
def test_a_bias_that_the_product_does_not_add(backend, memory, rng, monkeypatch, dtype, u, shape, offset):
    monkeypatch.setattr(layers, "BIAS_IN_EPILOGUE", frozenset())
    monkeypatch.setattr(backend, "multiprocessors", 2)
    (n, n_out), n_in = shape, 5
    x, W, b = (rng.normal(size=s).astype(dtype) for s in ((n, n_in), (n_in, n_out), (n_out,)))
    arrays = memory.array(x), memory.array(W), memory.array(b, offset=offset)
    size = np.abs(x).astype(np.float64) @ np.abs(W) + np.abs(b)
    for (activation, formula), shared in itertools.product(FORMULAS.items(), (True, False)):
        y = memory.output(shape, dtype, offset=offset)
        z = y if shared else memory.output(shape, dtype, offset=offset)
        backend.dense(*arrays, activation, z=z, y=y)
        want = x.astype(np.float64) @ W + b
        if not shared:
            assert_within(memory.read(z), want, 10 * u * size, activation)
        bound = formula.steepest * 10 * u * size + formula.error(want, u)
        assert_within(memory.read(y), formula.act(want), bound, activation)


def test_activations_have_the_numbers_of_the_source():
    match = re.search(r"enum Activation {([^}]*)}", (kernels.HERE / "layers.cu").read_text())
    assert match is not None
    assert re.findall(r"\w+", match[1].lower()) == list(layers.ACTIVATIONS)
    assert list(layers.ACTIVATIONS.values()) == list(range(len(layers.ACTIVATIONS)))


# ---- launches -------------------------------------------------------------------------------------


@FUSED
@pytest.mark.parametrize(("activation", "shared", "extra"), [
    ("identity", True, []), ("relu", True, []), ("tanh", True, ["activate"]), ("sigmoid", True, ["activate"]),
    ("identity", False, ["activate"]), ("relu", False, ["activate"]), ("tanh", False, ["activate"]),
])  # fmt: skip
def test_a_layer_is_a_product_and_at_most_one_launch_more(backend, memory, rng, activation, shared, extra):
    x, W, b = (memory.array(rng.normal(size=s), np.float32) for s in ((9, 8), (8, 12), (12,)))
    y = memory.output((9, 12), np.float32)
    z = y if shared else memory.output((9, 12), np.float32)
    assert launched(backend, lambda: backend.dense(x, W, b, activation, z=z, y=y)) == ["product", *extra]
    x, W, b, y, z = (memory.array(memory.read(a)) for a in (x, W, b, y, z))
    step = lambda: backend.dense(x, W, b, activation, z=y if shared else z, y=y)
    assert launched(backend, step) == ["product", "bias_activate"], "float64"


@FUSED
def test_a_relu_of_its_own(backend, memory, rng, monkeypatch):
    """Where the product's ReLU cannot be trusted with a nan."""
    monkeypatch.setattr(layers, "RELU_IN_EPILOGUE", False)
    x, W, b = (memory.array(rng.normal(size=s), np.float32) for s in ((9, 8), (8, 12), (12,)))
    y = memory.output((9, 12), np.float32)
    assert launched(backend, lambda: backend.dense(x, W, b, "relu", z=y, y=y)) == ["product", "activate"]
    want = memory.read(x) @ memory.read(W) + memory.read(b)
    assert_within(memory.read(y), np.where(want > 0, want, 0), 1e-5)


@FUSED
@pytest.mark.parametrize("rows", [9, 4000])
def test_launches_of_the_way_back(backend, memory, rng, dtype, rows):
    x, dz, W = (memory.array(rng.normal(size=s), dtype) for s in ((rows, 8), (rows, 12), (8, 12)))
    y, dx, db, dW = (memory.array(np.ones(s), dtype) for s in ((rows, 8), (rows, 8), (8,), (8, 12)))
    for activation in FORMULAS:
        step = lambda activation=activation: backend.activation_backward(activation, y, x, dz=dx, db=db)
        assert launched(backend, step) == ["activation_backward"]
        step = lambda activation=activation: backend.matmul_activation_backward(dz, W, activation, y, out=dx, db=db)
        assert launched(backend, step) == ["product", "activation_backward"]
    assert launched(backend, lambda: backend.matmul(x.T, dz, out=dW)) == ["product"]


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [9, 300])
def test_launches_of_losses_and_predictions(backend, memory, rng, dtype, rows, weighted):
    z, t = (memory.array(rng.normal(size=(rows, 10)), dtype) for _ in range(2))
    labels, state = memory.array(rng.integers(0, 10, rows), np.int32), memory.state()
    weights = memory.array(rng.uniform(size=rows), dtype) if weighted else None
    totals, out = memory.output((2, 3), np.float64), memory.output((rows, 10), dtype)
    options = {"scale": 1.0, "mean": True, "totals": totals, "dlogits": out}
    half = memory.array(rng.uniform(size=(rows, 5)), dtype)
    for loss in LOSSES.values():
        targets = labels if loss.method in {"softmax_cross_entropy", "focal_loss"} else (half if loss.each != 1 else t)
        step = lambda loss=loss, targets=targets: loss.call(backend, z, targets, weights, state, **options)
        assert launched(backend, step) == (["sum_weights", loss.launches()] if weighted else [loss.launches()])
    for targets in (labels, t):
        step = lambda targets=targets: backend.count_correct(z, targets, weights, state, totals=totals)
        assert launched(backend, step) == ["count_correct"]
    numbers = memory.output((rows, 10), np.int32)
    assert launched(backend, lambda: backend.softmax(z, out=out)) == ["softmax"]
    assert launched(backend, lambda: backend.argmax(z, out=labels)) == ["argmax"]
    assert launched(backend, lambda: backend.positive(z, out=numbers)) == ["positive"]


@FUSED
def test_what_has_no_kernel_is_left_to_the_reference_and_kept_out_of_steps(backend, memory, rng):
    """Complex numbers, a model axis, labels of another width."""
    x, W, b = (rng.normal(size=s) + 1j for s in ((3, 4), (4, 2), (2,)))
    y, db = memory.output((3, 2), np.complex128), memory.output((2,), np.complex128)
    complex_x, complex_W, complex_b = memory.array(x), memory.array(W), memory.array(b)
    three, product = memory.array(rng.normal(size=(2, 3, 3))), memory.output((2, 3, 3), np.float64)
    z, totals, state = memory.array(rng.normal(size=(3, 4))), memory.output((2, 3), np.float64), memory.state()
    numbers, wide = memory.output((3, 4), np.int64), memory.array([0, 1, 2], np.int64)
    plain, dlogits = {"scale": 1.0, "mean": True}, memory.output((3, 4), np.float64)
    batch = lambda targets: LossBatch(z, targets, None, state, totals, dlogits)
    for step in (
        lambda: backend.dense(complex_x, complex_W, complex_b, "tanh", z=y, y=y),
        lambda: backend.activation_backward("tanh", y, y, dz=y, db=db),
        lambda: backend.activate("sigmoid", y, out=y),
        lambda: backend.matmul(three, three, out=product),
        lambda: backend.softmax_cross_entropy(batch(wide), **plain),
        lambda: backend.focal_loss(batch(wide), gamma=2.0, **plain),
        lambda: backend.elementwise_loss(batch(numbers), "sigmoid_cross_entropy", **plain),
        lambda: backend.elementwise_loss(batch(numbers), "squared_error", **plain),
        lambda: backend.quantile_loss(batch(numbers[:, :2]), levels=(0.2, 0.8), **plain),
        lambda: backend.gaussian_nll(batch(numbers[:, :2]), **plain),
        lambda: backend.exp(complex_x, out=memory.output((3, 4), np.complex128)),
        lambda: backend.quantiles(complex_x, count=2, out=memory.output((3, 4), np.complex128)),
        lambda: backend.mean_and_variance(complex_x, out=memory.output((3, 4), np.complex128)),
        lambda: backend.count_correct(z, wide, None, state, totals=totals),
        lambda: backend.argmax(z, out=wide),
        lambda: backend.positive(z, out=numbers),
        lambda: backend.softmax(complex_x, out=memory.output((3, 4), np.complex128)),
    ):
        with pytest.raises(DeviceError, match="recorded step"):
            backend.record(step)
        if backend.name == "emulated":  # CuPy has no matmul of some of these
            step()


# ---- a nan must not vanish ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 1, 1), (4, 3, 5), (128, 64, 256), (130, 96, 10)])
def test_a_nan_goes_through_a_layer(backend, memory, rng, dtype, activation, n, n_in, n_out):
    """On every body, and whatever multiplies: a ReLU in a product's epilogue that made it 0 would hide divergence.

    A nan among the inputs spoils its row, one among the weights or biases its column.
    """
    for spoilt in ("x", "W", "b"):
        values = {"x": rng.normal(size=(n, n_in)), "W": rng.normal(size=(n_in, n_out)), "b": rng.normal(size=n_out)}
        values[spoilt].flat[-1] = np.nan
        x, W, b = (memory.array(value, dtype) for value in values.values())
        y = memory.output((n, n_out), dtype)
        backend.dense(x, W, b, activation, z=y, y=y)
        want = np.zeros((n, n_out), bool)
        want[-1 if spoilt == "x" else slice(None), slice(None) if spoilt == "x" else -1] = True
        np.testing.assert_array_equal(np.isnan(memory.read(y)), want, spoilt)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(4, 3, 5), (128, 64, 256)])
def test_a_nan_goes_through_a_layer_in_bf16(narrow_memory, rng, activation, n, n_in, n_out):
    memory, W = narrow_memory, rng.normal(size=(n_in, n_out))
    W[0, 1] = np.nan
    x, W, b = (memory.array(as_bf16(a)[0]) for a in (rng.normal(size=(n, n_in)), W, rng.normal(size=n_out)))
    y = memory.output((n, n_out), BF16)
    memory.backend.dense(x, W, b, activation, z=y, y=y)
    np.testing.assert_array_equal(np.isnan(memory.read(y)), np.arange(n_out)[None, :].repeat(n, axis=0) == 1)


@FUSED
@pytest.mark.parametrize("activation", FORMULAS)
def test_a_gradient_that_is_not_finite_shows_in_the_bias_gradient(backend, memory, dtype, activation):
    for value in (np.nan, np.inf):
        dy, db = memory.array([[1.0, value], [2.0, 3.0]], dtype), memory.output((2,), dtype)
        backend.activation_backward(activation, memory.array([[0.5, 0.0], [0.5, 0.5]], dtype), dy, dz=dy, db=db)
        assert np.isfinite(memory.read(db)).tolist() == [True, False]


# ---- losses, however rows are shared out ----------------------------------------------------------


# By formulas other than those of the kernels, in more digits than float64 has.


# One block and several; a thread a row, some, a warp, a block; rows that are kept and such as are read again.
ROWS = [(1, 1), (2500, 1), (2100, 2), (1100, 3), (300, 10), (70, 64), (66, 65), (2, 257), (5, 1100)]


# The other losses of elements are laid out as the squared error is.
LAID_OUT = [name for name, loss in LOSSES.items() if not loss.kind or name == "squared_error"]


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LAID_OUT)
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_a_loss_is_added_up_by_any_number_of_blocks(backend, memory, rng, monkeypatch, dtype, u, loss, weighted, n, k):
    for multiprocessors, offset in ((1, 1), (3, 0)):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z, targets = LOSSES[loss].draw(rng, n, k, dtype)
        w = rng.uniform(0.1, 3, n).astype(dtype) if weighted else np.ones(n)
        totals, dlogits = memory.output((2, 3), np.float64), memory.output(z.shape, dtype, offset=offset)
        state, logits = memory.state(), memory.array(z, offset=offset)
        LOSSES[loss].call(
            backend,
            logits,
            memory.array(targets, offset=offset),
            memory.array(w, offset=offset) if weighted else None,
            state,
            scale=0.7,
            mean=True,
            totals=totals,
            dlogits=dlogits,
        )
        losses, gradient = (np.asarray(a, np.float64) for a in LOSSES[loss].rows(z.astype(np.longdouble), targets))
        w = w.astype(np.float64)
        row = 0.7 * w / w.sum()
        assert_within(memory.read(dlogits), gradient * row[:, None], 32 * u * row[:, None] * (1 + np.abs(gradient)))
        got = memory.read(totals)[1]
        size = 0.7 * (w * (np.abs(losses) + z.shape[1] * np.abs(z).max(axis=1))).sum()
        assert_within(got[LOSS], 0.7 * (w * losses).sum(), 32 * u * size)
        assert_within(got[WEIGHT], w.sum(), 1e-14 * n)
        assert memory.read(state)[HALTED] == RUNNING


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_right_rows_are_counted_by_any_number_of_blocks(backend, memory, rng, monkeypatch, dtype, weighted, n, k):
    for multiprocessors, has_labels in ((1, True), (3, True), (2, False)):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z, w = rng.integers(-3, 4, (n, k)).astype(dtype), rng.uniform(0.1, 3, n).astype(dtype)
        right = rng.integers(0, 2, n).astype(bool)
        if has_labels:
            targets = np.where(right, z.argmax(axis=1), (z.argmax(axis=1) + 1) % k).astype(np.int32)
            right |= k == 1
        else:
            targets = (z > 0).astype(dtype)
            targets[~right, -1] = 1 - targets[~right, -1]
        totals = memory.output((2, 3), np.float64)
        backend.count_correct(
            memory.array(z), memory.array(targets), memory.array(w) if weighted else None, memory.state(), totals=totals
        )
        want = (w if weighted else np.ones(n))[right].sum(dtype=np.float64)
        assert_within(memory.read(totals)[1, CORRECT], want, 1e-12 * n)


@FUSED
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_predictions_however_rows_are_shared(backend, memory, rng, monkeypatch, dtype, u, n, k):
    for multiprocessors in (1, 4):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z = rng.integers(-9, 10, (n, k)).astype(dtype)
        logits, labels, ones = memory.array(z), memory.output((n,), np.int32), memory.output((n, k), np.int32)
        backend.argmax(logits, out=labels)
        np.testing.assert_array_equal(memory.read(labels), z.argmax(axis=1))
        backend.positive(logits, out=ones)
        np.testing.assert_array_equal(memory.read(ones), z > 0)
        backend.softmax(logits, out=logits)
        want = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
        want /= want.sum(axis=1, keepdims=True)
        assert_within(memory.read(logits), want, 32 * u * want)


@FUSED
def test_argmax_takes_the_first_nan_as_numpy_does(backend, memory, rng, dtype):
    for n, k in ((50, 2), (50, 10), (5, 300)):
        x = rng.normal(size=(n, k)).astype(dtype)
        x[rng.uniform(size=x.shape) < 1.5 / k] = np.nan
        x[0], x[1], x[2] = np.nan, -np.inf, np.inf
        labels, totals = memory.output((n,), np.int32), memory.output((2, 3), np.float64)
        backend.argmax(memory.array(x), out=labels)
        np.testing.assert_array_equal(memory.read(labels), x.argmax(axis=1))
        backend.count_correct(memory.array(x), labels, None, memory.state(), totals=totals)
        assert memory.read(totals)[1, CORRECT] == n


@FUSED
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "k"), [(1100, 3), (3, 600)])
def test_one_element_that_is_not_finite_halts_the_run_wherever_it_is(backend, memory, rng, loss, n, k):
    for at, value in itertools.product((0, n * k // 2, n * k - 1), (np.nan, np.inf)):
        z, targets = LOSSES[loss].draw(rng, n, k, np.float32)
        z.flat[at] = value
        state, totals = memory.state(), memory.output((2, 3), np.float64)
        LOSSES[loss].call(
            backend,
            memory.array(z),
            memory.array(targets),
            None,
            state,
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=memory.output(z.shape, np.float32),
        )
        assert memory.read(state).tolist() == [5, 1, 5]


# ---- BF16 storage ---------------------------------------------------------------------------------
# Kernels compute in float32 and round once, at the end: at most half a unit in the last place of BF16, which is U16 of
# the result, beside the few U32 of the arithmetic.


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (130, 64), (33, 20), (2000, 8), (1500, 10)])
def test_the_way_back_in_bf16(narrow_memory, rng, monkeypatch, activation, shape):
    memory, backend, formula = narrow_memory, narrow_memory.backend, FORMULAS[activation]
    monkeypatch.setattr(backend, "multiprocessors", 3)
    for in_place, offset in itertools.product((True, False), (0, 1)):
        y, exact_y = as_bf16(formula.saved(rng.normal(size=shape)))
        given, exact_dy = as_bf16(rng.normal(size=shape))
        dy, db = memory.array(given, offset=offset), memory.output(shape[1:], np.float32)
        dz = dy if in_place else memory.output(shape, BF16, offset=offset)
        # The identity's is the last layer's output, which is float32.
        saved = memory.array(exact_y.astype(np.float32)) if activation == "identity" else memory.array(y, offset=offset)
        backend.activation_backward(activation, saved, dy, dz=dz, db=db)
        want, got = exact_dy * formula.derivative(exact_y), memory.read(dz)
        exact = activation in {"identity", "relu"}
        assert_within(got, want, 0 if exact else U16 * np.abs(want) + formula.roundings * U32 * np.abs(exact_dy))
        # db is the sum of dz as it was rounded, what the product of a column of ones and dz would be.
        assert_within(memory.read(db), got.sum(axis=0), 12 * U32 * np.abs(got).sum(axis=0))


@pytest.mark.parametrize("activation", FORMULAS)
def test_a_nan_and_an_infinity_stay_what_they_are_in_bf16(narrow_memory, activation):
    memory, values = narrow_memory, np.array([[np.nan, np.inf, -np.inf, 3e38, -0.0, 1e-40]], np.float32)
    out = memory.output(values.shape, BF16)
    memory.backend.activate(activation, memory.array(narrow(values)), out=out)
    want = FORMULAS[activation].act(widen(narrow(values)).astype(np.float64))
    want[0, 0] = np.nan
    got = memory.read(out)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    np.testing.assert_allclose(got, want, rtol=U16, atol=1e-38)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shared", [True, False], ids=["z is y", "z apart"])
@pytest.mark.parametrize("in_epilogue", [True, False])
def test_a_hidden_layer_in_bf16(narrow_memory, rng, monkeypatch, activation, shared, in_epilogue):
    memory, backend = narrow_memory, narrow_memory.backend
    if not in_epilogue:
        monkeypatch.setattr(layers, "BIAS_IN_EPILOGUE", frozenset())
    formula = FORMULAS[activation]
    for n, n_in, n_out in [(1, 1, 1), (7, 5, 3), (40, 16, 64), (300, 8, 24)]:
        (x, exact_x), (W, exact_W) = as_bf16(rng.normal(size=(n, n_in))), as_bf16(rng.normal(size=(n_in, n_out)))
        b, exact_b = as_bf16(rng.normal(size=n_out))
        y = memory.output((n, n_out), BF16)
        z = y if shared else memory.output((n, n_out), BF16)
        arrays = [memory.array(a) for a in (x, W, b)]
        backend.dense(*arrays, activation, z=z, y=y)
        want = exact_x @ exact_W + exact_b
        # The sum in float32; then z is rounded, and before it, where a kernel of its own adds the bias, the product.
        bound = 9 * U32 * (np.abs(exact_x) @ np.abs(exact_W) + np.abs(exact_b)) + 1.01 * U16 * np.abs(want)
        if not in_epilogue:
            bound += 1.01 * U16 * np.abs(exact_x @ exact_W)
        got = memory.read(y)
        if not shared:
            assert_within(memory.read(z), want, bound)
            want, bound = memory.read(z), 0  # y is what the activation makes of the z that was written
        bound = formula.steepest * bound + U16 * np.abs(formula.act(want)) + 2 * formula.error(want, U32) + 1e-38
        assert_within(got, formula.act(want), bound)


def test_the_last_layer_of_bf16_factors_is_float32(narrow_memory, rng):
    memory, backend = narrow_memory, narrow_memory.backend
    (x, exact_x), (W, exact_W) = as_bf16(rng.normal(size=(20, 16))), as_bf16(rng.normal(size=(16, 10)))
    b = rng.normal(size=10).astype(np.float32)
    y, dW = memory.output((20, 10), np.float32), memory.output((16, 10), np.float32)
    x, W, b_array = memory.array(x), memory.array(W), memory.array(b)
    assert launched(backend, lambda: backend.dense(x, W, b_array, "identity", z=y, y=y)) == ["product"]
    size = np.abs(exact_x) @ np.abs(exact_W) + np.abs(b)
    assert_within(memory.read(y), exact_x @ exact_W + b, 9 * U32 * size)
    dz, exact_dz = as_bf16(rng.normal(size=(20, 10)))
    backend.matmul(x.T, memory.array(dz), out=dW)
    assert_within(memory.read(dW), exact_x.T @ exact_dz, 9 * U32 * (np.abs(exact_x.T) @ np.abs(exact_dz)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 3), (50, 16), (600, 10), (3, 300)])
def test_a_loss_writes_its_gradient_in_bf16(narrow_memory, rng, loss, weighted, n, k):
    """The logits are float32, and so is all arithmetic: the totals do not change, the gradient is rounded once."""
    memory, backend = narrow_memory, narrow_memory.backend
    z, targets = LOSSES[loss].draw(rng, n, k, np.float32)
    w = rng.uniform(0.1, 3, n).astype(np.float32) if weighted else np.ones(n, np.float32)
    logits, device_targets = memory.array(z), memory.array(targets)
    weights, found = memory.array(w) if weighted else None, {}
    for dtype in (np.dtype(np.float32), BF16):
        totals, dlogits = memory.output((2, 3), np.float64), memory.output(z.shape, dtype)
        LOSSES[loss].call(
            backend,
            logits,
            device_targets,
            weights,
            memory.state(),
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=dlogits,
        )
        found[dtype] = memory.read(totals)[1, [LOSS, WEIGHT]], memory.read(dlogits)
    np.testing.assert_allclose(found[BF16][0], found[np.dtype(np.float32)][0], rtol=4 * U32)
    row, gradient = (w / w.sum(dtype=np.float64))[:, None], LOSSES[loss].rows(z.astype(np.float64), targets)[1]
    bound = U16 * np.abs(gradient * row) + 33 * U32 * row * (1 + np.abs(gradient))
    assert_within(found[BF16][1], gradient * row, bound)


@pytest.mark.parametrize("activation", FORMULAS)
def test_launches_of_layers_in_bf16(narrow_memory, rng, activation):
    memory, backend = narrow_memory, narrow_memory.backend
    x, W, b = (memory.array(as_bf16(rng.normal(size=s))[0]) for s in ((9, 8), (8, 16), (16,)))
    y, db = memory.output((9, 16), BF16), memory.output((8,), np.float32)
    extra = [] if activation in {"identity", "relu"} else ["activate"]
    assert launched(backend, lambda: backend.dense(x, W, b, activation, z=y, y=y)) == ["product", *extra]
    step = lambda: backend.matmul_activation_backward(y, W, activation, x, out=x, db=db)
    assert launched(backend, step) == ["product", "activation_backward"]
