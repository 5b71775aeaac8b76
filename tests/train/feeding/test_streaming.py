"""Rows that stay on the host: the same training as of rows on the device, bit for bit; no step sees a half-filled ring.

Blocks are a few hundred bytes here, so that an epoch has many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.train.feeding.streams import BATCH, N_IN, N, Tiny, train

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.train.feeding import streaming
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import StreamedBatches, rows_need_streaming
from emulation.backend import EmulatedBackend, compiler_problem

pytestmark = pytest.mark.usefixtures("small_blocks")


CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "float32, nothing to convert": {"kind": "float32"},
    "weights": {"kind": "float32", "weighted": True},
    "no shuffle": {"shuffle": False},
    "ragged batch dropped": {"drop_last": True},
    "no ragged batch": {"batch_size": N},
    "batches of one row": {"batch_size": 1, "epochs": 1},
    "pixels": {"kind": "uint8"},
    "pixels, standardised": {"kind": "uint8", "standardized": 3.0},
    "yes or no": {"kind": "bool", "weighted": True},
    "whole numbers": {"kind": "int64"},
    "half precision": {"kind": "float16", "standardized": np.inf},
    "standardised": {"standardized": 3.0},
    "standardised, no limit, weights": {"standardized": np.inf, "weighted": True, "shuffle": False},
    "float64 net": {"kind": "float32", "dtype": "float64", "standardized": 3.0},
    "regression, standardised": {"loss": "squared_error", "standardized": np.inf, "weighted": True},
    "summed": {"loss": "squared_error_sum", "kind": "float32", "validation": 0.3},
    "several questions": {"loss": "sigmoid_cross_entropy", "kind": "float32"},
    "a fraction held out": {"validation": 0.3, "early_stopping": cr.EarlyStopping(patience=1), "epochs": 6},
    "a fraction of pixels held out": {"kind": "uint8", "standardized": 3.0, "weighted": True, "validation": 0.2},
    "a fraction held out, no shuffle": {"loss": "squared_error", "validation": 0.3, "shuffle": False},
    "validation rows": {"standardized": 3.0, "validation": "rows"},
}


FEW = ["a fraction of pixels held out", "standardised, no limit, weights", "float32, nothing to convert"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [NumPyBackend, cr.GuardedBackend])
def test_streamed_training_is_resident_training_bit_for_bit(kind, case):
    resident, streamed = (train(kind(), stream, **CASES[case]) for stream in (False, True))
    assert streamed == resident


@pytest.mark.parametrize("case", FEW)
def test_streamed_training_is_resident_training_on_every_backend(backend, case):
    resident, streamed = (train(backend, stream, **CASES[case] | {"epochs": 2}) for stream in (False, True))
    assert streamed == resident


def test_streamed_training_in_bf16():
    if problem := compiler_problem():
        pytest.skip(problem)
    for kind in ("float32", "uint8"):
        resident, streamed = (train(EmulatedBackend("bf16"), stream, kind=kind, epochs=1) for stream in (False, True))
        assert streamed == resident


@pytest.mark.parametrize("batches", [1, 3, 5, 6, 10, 11, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_streaming_in_blocks_of_any_size(monkeypatch, batches, shuffle):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", batches * BATCH * (8 * N_IN + 4))
    resident, streamed = (train(cr.GuardedBackend(), stream, shuffle=shuffle) for stream in (False, True))
    assert streamed == resident


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "reversed": lambda X: X[::-1],
    "every second row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "a subclass": lambda X: X.view(np.recarray),
    "unaligned": lambda X: np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(X.dtype).reshape(X.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_streaming_of_odd_arrays(layout, kind):
    for backend in (cr.backend("cpu"), cr.GuardedBackend()):
        options: dict[str, Any] = {"kind": kind, "layout": LAYOUTS[layout], "standardized": 3.0}
        resident, streamed = (train(backend, stream, **options) for stream in (False, True))
        assert streamed == resident


def test_a_memory_map_is_streamed(tmp_path):
    def mapped(X: np.ndarray) -> np.ndarray:
        np.save(tmp_path / "X.npy", X)
        return np.load(tmp_path / "X.npy", mmap_mode="r")

    resident, streamed = (train(cr.GuardedBackend(), s, layout=mapped, validation=0.2) for s in (False, True))
    assert streamed == resident


def is_streamed(backend: cr.Backend, monkeypatch, X: Any, **options: Any) -> bool:
    seen = []
    monkeypatch.setattr(StreamedBatches, "deal", lambda _, epoch: seen.append(epoch))
    net = cr.MLP([N_IN, 3], backend=backend)
    cr.Trainer(net, epochs=1, shuffle=False, **options).fit(X, np.arange(len(X)) % 3)
    return bool(seen)


def test_rows_are_streamed_if_they_would_fill_the_device(monkeypatch):
    X = np.ones((1000, N_IN), np.float32)
    row = 4 * N_IN + 4
    roomy, tight = Tiny(2 * 1000 * row), Tiny(1000 * row)
    assert not is_streamed(roomy, monkeypatch, X)
    assert is_streamed(tight, monkeypatch, X)
    assert is_streamed(roomy, monkeypatch, X, stream=True)
    assert not is_streamed(tight, monkeypatch, X, stream=False)
    assert not is_streamed(cr.GuardedBackend(), monkeypatch, X)
    assert not is_streamed(tight, monkeypatch, tight.upload(X)), "rows that are there already need no second place"
    assert not is_streamed(tight, monkeypatch, X.tolist())


def test_a_conversion_and_a_split_need_more_than_the_rows():
    X, y = np.ones((1000, N_IN), np.float32), np.zeros(1000, np.int64)
    targets = 4 * 1000
    net = cr.MLP([N_IN, 3], backend=Tiny(0))

    def room(X: np.ndarray, *, split: bool = False) -> float:
        """The least free memory with which these rows are not streamed."""
        low, high = 0, 1 << 20
        while high - low > 1:
            net.backend.free = (low + high) // 2
            low, high = (
                (net.backend.free, high) if rows_need_streaming(net, X, y, split=split) else (low, net.backend.free)
            )
        return high

    for kind, bytes_a_row in [("float32", 4), ("float64", 4 + 8), ("uint8", 1), ("int64", 4 + 8)]:
        want = (1000 * N_IN * bytes_a_row + targets) / streaming.ROWS_SHARE
        assert room(X.astype(kind)) == pytest.approx(want, abs=2), kind
    assert room(X, split=True) == pytest.approx((2 * X.nbytes + targets) / streaming.ROWS_SHARE, abs=2)


def test_divergence_of_a_streamed_fit_names_its_batch(backend, monkeypatch):
    """Its rows have left the ring, so the block is sent once more. Row 31 overflows, in the 7th batch."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2 * BATCH * 8)
    X = np.ones((60, 1), np.float32)
    X[31] = 3e38
    places = []
    for stream in (False, True):
        net = cr.Network([cr.Dense(1)], 1, loss="squared_error", backend=backend)
        net.parameter_arena.assign({"dense0.W": np.full((1, 1), 2.0), "dense0.b": np.zeros(1)})
        trainer = cr.Trainer(net, cr.SGD(lr=1e-9), batch_size=BATCH, shuffle=False, stream=stream)
        with pytest.raises(cr.DivergenceError, match="batch 7 of 12") as caught:
            trainer.fit(X, np.zeros(60))
        places.append((caught.value.step, caught.value.where, str(caught.value)))
    assert places[0] == places[1]
    assert places[0][1] == "the output of dense0"


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
def test_a_streamed_fit_can_be_interrupted(backend, how, monkeypatch):
    """In the middle of an epoch, while a block is being sent; and the trainer can be used again."""
    net = cr.MLP([N_IN, 3], backend=backend)
    trainer = cr.Trainer(net, batch_size=BATCH, epochs=50, stream=True)
    gather, count = HostRows.gather, [0]

    def counted(self: HostRows, *arguments: Any, **options: Any) -> None:
        count[0] += 1
        if count[0] == 20:
            if how == "ctrl-c":
                raise KeyboardInterrupt
            trainer.stop()
        gather(self, *arguments, **options)

    monkeypatch.setattr(HostRows, "gather", counted)
    X = np.random.default_rng(0).normal(size=(N, N_IN))
    run = trainer.fit(X, np.arange(N) % 3)
    assert run.stopped == "interrupted"
    assert 0 < run.history.epochs < 50
    trainer.epochs = 1
    assert trainer.fit(X, np.arange(N) % 3).stopped == "completed"
