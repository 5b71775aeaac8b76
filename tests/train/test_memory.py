"""The memory of a fit: the formulas, the hint that names what would fit, and a net that is as it was."""

from __future__ import annotations

import gc
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OutOfMemoryError
from chainrule.nn.inputs.rows import Rows
from chainrule.optim.base import Optimizer
from chainrule.train.feeding import batch_plan, streaming
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.fit_layout import FitLayout
from chainrule.train.memory import KERNEL_SHARE, bytes_of_batches, bytes_of_net, bytes_per_row, largest_batch
from chainrule.train.settings import TrainingSettings

N, N_IN = 400, 6
PLENTY = 1 << 40


class Budget:
    """A backend that counts the memory it hands out, and refuses more than a budget. Nothing is ever freed."""

    def __init__(self, budget: int = PLENTY) -> None:
        super().__init__()
        self.budget, self.used = budget, 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if needed > self.free_memory():
            raise OutOfMemoryError("cuda:7", needed=needed, free=self.free_memory())
        self.used += needed
        return super().empty(shape, dtype)

    def free_memory(self) -> int:
        return self.budget - self.used


class Guarded(Budget, cr.GuardedBackend):
    pass


class Plain(Budget, NumPyBackend):
    pass


class HalfWidth(Plain):
    """Activations in bf16, as on a GPU; for laying out memory only."""

    def storage(self, dtype: Any) -> np.dtype:
        return BF16 if np.dtype(dtype) == np.float32 else np.dtype(dtype)


class TwoBuffers(HalfWidth):
    """Batches of any size have two buffers: see the test that sets the size."""

    runs_side_by_side = True


def rows_of(net: cr.Network, kind: str, *, weighted: bool, streamed: bool) -> Rows | HostRows:
    X = np.random.default_rng(0).uniform(0, 9, size=(N, N_IN)).astype(kind)
    y = np.arange(N) % 3 if net.loss.task == "classify" else X[:, :3]
    data = (X, y, np.ones(N)) if weighted else (X, y)
    return HostRows(net, *data) if streamed else net.upload_rows(*data)


LAYOUTS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "float64": {"dtype": "float64"},
    "weights": {"weighted": True},
    "targets as wide as features": {"loss": "squared_error", "weighted": True},
    "no hidden layer": {"widths": [N_IN, 3]},
    "deep": {"widths": [N_IN, 50, 20, 7, 3]},
    "gelu": {"activation": "gelu", "widths": [N_IN, 50, 20, 3]},
    "pixels": {"kind": "uint8"},
    "pixels, standardised": {"kind": "uint8", "standardized": True},
    "streamed": {"streamed": True},
    "streamed pixels, standardised": {"kind": "uint8", "standardized": True, "streamed": True},
    "ema": {"trainer": {"ema": 0.9}},
    "ema, accumulated": {"trainer": {"ema": 0.9, "accumulate": 3}},
    "streamed, accumulated": {"streamed": True, "trainer": {"accumulate": 3}},
    "streamed and converted": {"kind": "float64", "weighted": True, "streamed": True},
}


@pytest.mark.parametrize("make_backend", [Plain, Guarded, HalfWidth, TwoBuffers])
@pytest.mark.parametrize("case", LAYOUTS)
def test_the_formulas_are_the_memory_that_is_laid_out(make_backend, case, monkeypatch):
    """Counted, array by array: batches of any size; the net's own memory once."""
    monkeypatch.setattr(batch_plan, "SECOND_BUFFER_FROM", 0)
    options = {"widths": [N_IN, 16, 3], "kind": "float32", "weighted": False, "streamed": False} | LAYOUTS[case]
    widths, kind, training = options.pop("widths"), options.pop("kind"), options.pop("trainer", {})
    weighted, streamed, standardized = (options.pop(k, False) for k in ("weighted", "streamed", "standardized"))
    for size in (1, 32, 33, 1000):
        net = cr.MLP(widths, backend=make_backend(), **options)
        be = net.backend
        if standardized:
            net.preparation = cr.Preparation(features=cr.Standardization(np.zeros(N_IN), np.ones(N_IN)))
        rows = rows_of(net, kind, weighted=weighted, streamed=streamed)
        before = be.used
        layout = FitLayout(net, TrainingSettings(batch_size=size, monitor="loss", **training), rows, None)
        at_once = PLENTY - layout.free - before
        more = {"ema": "ema" in training, "accumulates": "accumulate" in training}
        assert at_once + net.parameter_arena.flat.nbytes == bytes_of_net(net, cr.Adam(), keeps_best=True, **more)
        laid_out, formula = layout.free - be.free_memory(), bytes_of_batches(net, rows, size, layout.free)
        if streamed:  # whole batches per block: a little less than the formula
            assert laid_out <= formula < laid_out + size * 200 + 2 * bytes_per_row(net, rows) * size
        else:
            assert laid_out == formula


def test_bytes_per_row_on_paper():
    """6 float32 in, a label; 16 and 3 outputs, each with its gradient."""
    net = cr.MLP([N_IN, 16, 3])
    assert bytes_per_row(net, rows_of(net, "float32", weighted=False, streamed=False)) == 4 * (6 + 1 + 2 * 16 + 2 * 3)
    gelu = cr.MLP([N_IN, 16, 3], activation="gelu")
    rows = rows_of(gelu, "float32", weighted=False, streamed=False)
    assert bytes_per_row(gelu, rows) == 4 * (6 + 1 + 3 * 16 + 2 * 3), "z is kept beside y"
    half = cr.MLP([N_IN, 16, 3], backend=HalfWidth())
    rows = rows_of(half, "float32", weighted=False, streamed=False)
    assert bytes_per_row(half, rows) == 2 * (6 + 2 * 16 + 3) + 4 * (1 + 3), "labels and logits are not stored in bf16"


def attempt(budget: int, size: int, *, optimizer: Optimizer | None = None, n: int = N, **fit: Any) -> cr.Network:
    """Train an epoch within a budget; if there is an error the net is as it was."""
    backend = Guarded(budget)
    net = cr.MLP([N_IN, 16, 3], backend=backend, seed=1)
    before = net.parameter_arena.download()
    X = np.random.default_rng(0).normal(size=(n, N_IN)).astype(np.float32)
    options = {"stream": fit.pop("stream", False), "metrics": fit.pop("metrics", True)}
    trainer = cr.Trainer(net, optimizer or cr.Adam(), batch_size=size, epochs=1, **options)
    try:
        trainer.fit(X, np.arange(n) % 3, **fit)
    except OutOfMemoryError:
        np.testing.assert_equal(net.parameter_arena.download(), before)
        raise
    return net


def refusal(*args: Any, **options: Any) -> OutOfMemoryError:
    with pytest.raises(OutOfMemoryError) as caught:
        attempt(*args, **options)
    return caught.value


@pytest.mark.parametrize("budget", [11_000, 13_000, 20_000, 50_000, 70_000])
@pytest.mark.parametrize(
    ("options", "more"),
    [({}, 0), ({"optimizer": cr.SGD()}, 0), ({"validation": 0.05}, 18_000)],
    ids=["adam", "sgd", "validation"],
)
def test_the_largest_batch_of_the_hint_fits(budget, options, more):
    """Whatever else is on the device: a split leaves the rows there twice, because this backend never frees memory."""
    budget += more
    error = refusal(budget, 10 * N, **options)
    assert (error.device, error.exit_code) == ("cuda:7", 4)
    assert error.needed > error.free > 0
    if "not even one row" in error.hint or "net alone" in error.hint:
        assert budget < 15_000 + more
        refusal(budget, 1, **options)
        return
    largest = int(re.search(r"batches of up to ([\d,]+) rows fit", error.hint)[1].replace(",", ""))
    attempt(budget, largest, **options)
    assert largest < N


@pytest.mark.parametrize("stream", [False, True])
def test_any_allocation_may_fail(stream):
    """The n-th, for every n there is: the net is as it was, and trains as a fresh one once there is memory."""
    X = np.random.default_rng(0).normal(size=(60, N_IN))

    def fit(net: cr.Network) -> dict[str, np.ndarray]:
        trainer = cr.Trainer(net, cr.Adam(), batch_size=13, epochs=2, stream=stream)
        trainer.fit(X, np.arange(60) % 3, validation=0.2)
        return net.parameter_arena.download()

    def new_net() -> cr.Network:
        return cr.MLP([N_IN, 16, 3], backend=FailsAt(), seed=1)

    expected, before, n = fit(new_net()), new_net().parameter_arena.download(), 0
    while True:
        net = new_net()
        net.backend.left = n
        try:
            fit(net)
        except OutOfMemoryError as error:
            hint = error.hint
        else:
            break
        assert re.search("batch|Trainer|smaller net|hold out fewer", hint)
        np.testing.assert_equal(net.parameter_arena.download(), before)
        net.backend.left = PLENTY
        np.testing.assert_equal(fit(net), expected)
        n += 1
    assert n >= 20


class FailsAt(cr.GuardedBackend):
    """Refuses memory after ``left`` allocations."""

    left = PLENTY

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        self.left -= 1
        if self.left < 0:
            raise OutOfMemoryError("cuda:7", needed=8, free=7)
        return super().empty(shape, dtype)


def test_the_largest_batch_of_the_hint_is_the_largest():
    net = cr.MLP([N_IN, 16, 3], backend=Plain())
    for streamed in (False, True):
        rows = rows_of(net, "float32", weighted=True, streamed=streamed)
        for free in [*range(3_000, 60_000, 4_999), 10**6]:
            room = free * (1 - KERNEL_SHARE)
            fitting = [n for n in range(1, N) if bytes_of_batches(net, rows, n, free) <= room]
            assert largest_batch(net, rows, N, free) == max(fitting, default=0), free
            assert largest_batch(net, rows, 50, free) == max((n for n in fitting if n < 50), default=0), free


def test_small_batches_of_many_rows_take_more_memory():
    """A million batches of one row would take 32 MB of totals; the largest that fits is found all the same."""
    net = cr.MLP([1, 2], backend=Plain())
    rows = net.upload_rows(np.ones((1_000_000, 1), np.float32), np.zeros(1_000_000, int))
    needed = [bytes_of_batches(net, rows, n, None) for n in (1, 1000, 500_000)]
    assert needed[0] > needed[1] < needed[2]
    free = int(needed[1] / (1 - KERNEL_SHARE)) + 1
    largest = largest_batch(net, rows, 10**6, free)
    assert bytes_of_batches(net, rows, largest, free) <= free * (1 - KERNEL_SHARE)
    assert bytes_of_batches(net, rows, largest + 1, free) > free * (1 - KERNEL_SHARE)


def test_the_hint_for_a_net_that_is_too_large():
    net_bytes = bytes_of_net(cr.MLP([N_IN, 16, 3]), cr.Adam(), keeps_best=False)
    for budget in (net_bytes // 2, net_bytes - 1):
        assert f"the net alone takes {net_bytes:,} bytes to train" in refusal(budget, 10).hint
    hint = refusal(net_bytes + 24 + 8 * N + 50, 10).hint
    assert hint == f"not even one row fits beside the net, which takes {net_bytes:,} bytes to train: use a smaller net"


def test_the_hint_for_too_many_rows_is_stream(monkeypatch):
    """That is the hint, and streamed they fit beside the batch that the next hint names."""

    def too_many(self: cr.Network, *rows: Any) -> None:
        raise OutOfMemoryError("cuda:7", needed=10**9, free=10**6)

    with monkeypatch.context() as patch:
        patch.setattr(cr.Network, "upload_rows", too_many)
        assert refusal(PLENTY, 10).hint.startswith("Trainer(stream=True) leaves the rows where they are")
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 1000)
    attempt(60_000, 10, n=2000, stream=True)
    error = refusal(60_000, 300, n=2000, stream=True)
    largest = int(re.search(r"batches of up to ([\d,]+) rows fit", error.hint)[1])
    attempt(60_000, largest, n=2000, stream=True)


def test_memory_that_runs_out_in_a_step_gets_a_hint_too(monkeypatch):
    calls = []

    def starved(self: Guarded, *arrays: Array, **options: Any) -> None:
        calls.append(None)
        raise OutOfMemoryError("cuda:7", needed=8, free=7)

    monkeypatch.setattr(Guarded, "dense", starved)
    assert refusal(PLENTY, 10).hint == "use a smaller batch: each row of a batch takes 180 bytes"
    assert len(calls) == 1


def test_the_memory_of_a_fit_is_free_when_the_fit_is_over():
    """No cycle holds moments, activations and batches until the collector comes by."""
    net, rows = cr.MLP([200, 300, 10]), np.zeros((500, 200), np.float32)
    labels = np.arange(500) % 10
    cr.Trainer(net, epochs=1).fit(rows, labels, validation=0.2)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            cr.Trainer(net, epochs=1).fit(rows, labels, validation=0.2)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 400_000, "more was kept than histories, and tuples that Python uses again: a fit has megabytes"
