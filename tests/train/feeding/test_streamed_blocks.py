"""The blocks of streamed rows: what is sent when, and how much of the device they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.train.feeding.streams import BATCH, N_IN

import chainrule as cr
from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.transfers import Transfer
from chainrule.train.feeding import streaming
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import StreamedBatches

pytestmark = pytest.mark.usefixtures("small_blocks")


class Recorder(cr.GuardedBackend):
    """Records when blocks are sent and how many steps are queued between them."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def send(self, host: np.ndarray, *, out: Array) -> Transfer:
        transfer, log = super().send(host, out=out), self.log
        log.append(f"send {len(host)}")

        class Logged(Transfer):
            def join(self) -> None:
                log.append("join")
                transfer.join()

            def wait(self) -> None:
                log.append("wait")
                transfer.wait()

        return Logged()

    def tick(self, state: Array, *, updates: int = 1) -> None:
        self.log.append("step")
        super().tick(state, updates=updates)


def streamed_batches(backend: cr.Backend, X: np.ndarray, **options: Any) -> StreamedBatches:
    net = cr.MLP([X.shape[1], 3], backend=backend)
    rows = HostRows(net, X, np.arange(len(X)) % 3)
    options = {"dtype": net.dtype, "shuffle": False, "seed": 0} | options
    return StreamedBatches(backend, rows, BATCH, **options)


def test_the_next_block_is_on_its_way_while_a_block_is_trained_on():
    """The order that double buffering relies on; labels are sent beside the features, so everything occurs twice."""
    backend = Recorder()
    batches = streamed_batches(backend, np.ones((23, N_IN), np.float32))
    assert (batches.block, batches.count) == (2, 5)
    for block in batches.blocks():
        backend.log.append(f"steps {block.start} to {block.stop - 1}")
    first, second, third = ["send 10"] * 2, ["send 10"] * 2, ["send 3"] * 2
    assert backend.log == [
        *first, "join", "join", *second, "steps 0 to 1", "wait", "wait",
        "join", "join", *third, "steps 2 to 3", "wait", "wait",
        "join", "join", "steps 4 to 4", "wait", "wait",
    ]  # fmt: skip


def test_an_epoch_left_early_waits_for_what_is_on_its_way():
    backend = Recorder()
    blocks = streamed_batches(backend, np.ones((40, N_IN), np.float32)).blocks()
    next(blocks)
    assert backend.log.count("wait") == 0
    blocks.close()
    assert backend.log.count("wait") == 4


def test_the_device_holds_two_blocks_and_no_more():
    backend, X = cr.GuardedBackend(), np.zeros((1000, N_IN), np.float32)
    batches = streamed_batches(backend, X)
    assert [len(a) for a in batches._sources] == [4 * BATCH] * 2
    # A row that must be converted passes through a third block, unconverted.
    net = cr.MLP([N_IN, 3], backend=backend)
    raw = StreamedBatches(
        backend, HostRows(net, X.astype(np.float64), np.zeros(1000, int)), BATCH, dtype=net.dtype, shuffle=False, seed=0
    )
    assert (raw._staging.dtype, raw._sources[0].dtype) == (np.float64, np.float32)


def test_a_block_is_a_small_part_of_what_is_free(monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 1 << 30)
    X = np.zeros((10_000, N_IN), np.float32)
    row = 4 * N_IN + 4
    for free, rows in [(None, 10_000), (16 * 1000 * row, 1000), (16 * 10 * row, 10), (1, BATCH)]:
        batches = streamed_batches(cr.GuardedBackend(), X, free=free)
        assert batches.block * BATCH == rows
