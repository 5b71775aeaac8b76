"""What the host does between the steps of two epochs, while the device has nothing to do: as little as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.cupy.capture.launcher import UNROLLED, Launcher
from chainrule.train import steps as steps_module
from chainrule.train.epoch_memory import EpochMemory
from emulation import simulated_cupy
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import simulated
from emulation.streams import DEVICE, Device, Event, Graph, Stream

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")

ROWS = 8 * (UNROLLED + 4) + 3  # of an epoch in batches of 8


class HostCalls:
    """Counts what the host asks of the device; looks at a recorded step are also idle looks if nothing is queued."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: dict[str, int] = {}
        self._patch = monkeypatch
        drain = Device.drain

        def waits(device: Device, is_done: Callable[[], bool]) -> None:
            if not is_done():
                self._note("waits")
            drain(device, is_done)

        monkeypatch.setattr(Device, "drain", waits)
        self._count(simulated_cupy.ndarray, "set", "uploads")
        self._count(simulated_cupy.ndarray, "get", "downloads")
        self._count(Graph, "launch", "graphs")
        self._count(Launcher, "record", "looks", if_idle="idle looks")
        self._count(Stream, "synchronize", "synchronize")
        self._count(Event, "synchronize", "synchronize")
        submit = Launcher.submit

        def noted(backend: Launcher, launch: Any) -> None:
            if not backend.is_recording:
                self._note("launches")
            submit(backend, launch)

        monkeypatch.setattr(Launcher, "submit", noted)

    def _note(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _count(self, owner: type, name: str, what: str, *, if_idle: str = "") -> None:
        method = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            self._note(what)
            if if_idle and not any(stream.queue for stream in DEVICE.streams):
                self._note(if_idle)
            return method(*args, **options)

        self._patch.setattr(owner, name, noted)

    def take(self) -> dict[str, int]:
        counts, self.counts = self.counts, {}
        return counts


@pytest.fixture(autouse=True)
def as_many_steps_at_a_time_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "SECONDS_PER_SYNC", 1e9)


@pytest.fixture
def device() -> Iterator[Any]:
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield CuPyBackend()


class Reads(cr.Callback):
    """Takes the counts of each epoch."""

    only_reads = True

    def __init__(self, calls: HostCalls) -> None:
        self._calls, self.epochs = calls, []

    def on_epoch_end(self, record: cr.EpochRecord) -> None:
        self.epochs.append(self._calls.take())


class Writes(Reads):
    only_reads = False


def counts_of_third_epoch(
    device: Any,
    calls: HostCalls,
    *,
    callback: type[Reads] = Reads,
    rows: int = ROWS,
    net: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    **fit: Any,
) -> dict[str, int]:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(rows, 12)).astype(np.float32), rng.integers(0, 3, rows)
    counted = callback(calls)
    made = cr.MLP([12, 16, 3], backend=device, seed=1, **net or {})
    options = {"batch_size": 8, "epochs": 3} | (trainer or {})
    cr.Trainer(made, cr.AdamW(1e-2), callbacks=[counted], **options).fit(X, y, **fit)
    return counted.epochs[2]


def test_an_epoch_is_one_upload_and_one_wait(device, monkeypatch):
    """Before: 3 uploads with a wait each, 2 downloads with a wait each, 2 looks, one of them at an idle device."""
    assert counts_of_third_epoch(device, HostCalls(monkeypatch)) == {
        "launches": 1,  # the permutation
        "uploads": 1,  # rates and counters
        "graphs": 1 + 4 + 1,  # of 16 steps, of 1, the ragged batch
        "looks": 1,  # at the ragged batch's step, behind the others
        "downloads": 2,  # the state and the totals, of which the host waits for the last
        "waits": 1,
        "synchronize": 2,  # the other finds that the last upload but one was done long ago
    }


def test_validation_rows_do_not_make_it_wait_again(device, monkeypatch):
    """Before: 6 waits, and a second look at an idle device."""
    counts = counts_of_third_epoch(device, HostCalls(monkeypatch), rows=ROWS + 50, validation=50 / (ROWS + 50))
    assert (counts["waits"], counts["uploads"], counts["downloads"]) == (1, 1, 3)
    assert "idle looks" not in counts


KINDS: dict[str, dict[str, Any]] = {
    "class weights": {"class_weight": "balanced", "sample_weight": np.linspace(1, 2, ROWS)},
    "class weights, dropped rows": {
        "class_weight": "balanced",
        "sample_weight": np.linspace(1, 2, ROWS),
        "trainer": {"drop_last": True},
    },
    "members": {"net": {"members": 3}},
    "accumulated": {"trainer": {"accumulate": 3, "ema": 0.9}},
    "penalty": {"trainer": {"l2": 0.1}},
    "early stopping": {"validation": 0.2, "trainer": {"early_stopping": cr.EarlyStopping(patience=5)}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_in_fits_of_every_kind(device, monkeypatch, kind):
    """Which rows a ragged batch left out is asked once more: their weights are not counted."""
    counts = counts_of_third_epoch(device, HostCalls(monkeypatch), **KINDS[kind])
    assert (counts["uploads"], counts["waits"]) == (1, 1 + ("dropped" in kind))
    assert "idle looks" not in counts


@pytest.mark.parametrize("batches", [UNROLLED // 2, 100])
def test_no_record_is_compared_while_the_device_is_idle(device, monkeypatch, batches):
    assert "idle looks" not in counts_of_third_epoch(device, HostCalls(monkeypatch), rows=8 * batches)


def test_a_callback_that_may_change_the_net_is_followed_by_a_look(device, monkeypatch):
    counts = counts_of_third_epoch(device, HostCalls(monkeypatch), callback=Writes, rows=8 * UNROLLED)
    assert counts["looks"] == 1
    assert "looks" not in counts_of_third_epoch(device, HostCalls(monkeypatch), rows=8 * UNROLLED)


def test_a_loss_that_a_callback_has_exchanged_is_trained_on(device):
    """The steps of the next epoch are not those that were recorded before, if a callback says that it may write."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(64, 3)), rng.normal(size=(64, 1))

    def trained(backend: Any) -> dict[str, np.ndarray]:
        net = cr.MLP([3, 4, 1], loss="squared_error", backend=backend, seed=1)

        def exchange(record: cr.EpochRecord) -> None:
            net.loss = cr.Huber(0.1).bind(1)

        cr.Trainer(net, cr.SGD(0.1), batch_size=16, epochs=3, callbacks=[exchange]).fit(X, y)
        return net.parameter_arena.download()

    expected = trained(cr.backend("cpu"))
    for name, value in trained(device).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)


# ---- the memory of an epoch ----------------------------------------------------------------------


def test_an_epoch_finds_its_rates_and_counters(backend):
    memory = EpochMemory(backend, 3)
    assert backend.download(memory.state).tolist() == [0, 0, RUNNING]
    for epoch in range(4):
        rates = np.array([0.1, 0.2, 0.3]) * (epoch + 1)
        memory.send(rates, updates=7 * epoch, batch=epoch % 3)
        with backend.running():
            backend.tick(memory.state)
        np.testing.assert_array_equal(backend.download(memory.lr), rates)
        assert backend.download(memory.state).tolist() == [7 * epoch + 1, epoch % 3 + 1, RUNNING]
        assert backend.download(memory.position).tolist() == [epoch % 3]


def test_the_host_does_not_write_to_a_buffer_that_is_on_its_way(device, monkeypatch):
    """Four epochs are sent before the device does anything: each reads what was sent for it."""
    memory, rates = EpochMemory(device, 2), []
    with device.running():
        for epoch in range(4):
            memory.send(np.full(2, float(epoch)), updates=epoch, batch=0)
            copied = device.empty((2,), np.float64)
            device.copy(memory.lr, out=copied)
            rates.append(copied)
    assert [device.download(array).tolist() for array in rates] == [[float(epoch)] * 2 for epoch in range(4)]
