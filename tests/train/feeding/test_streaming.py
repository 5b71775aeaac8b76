"""Rows that stay on the host: the same training as of rows on the device, to the bit; no step sees a half-filled ring.

Blocks are a few hundred bytes here, so that an epoch has many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.transfers import Transfer
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.train.feeding import streaming
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import StreamedBatches, rows_need_streaming
from emulation.backend import EmulatedBackend, compiler_problem

N, N_IN = 53, 6
BATCH = 5  # 11 batches an epoch, the last of 3 rows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """Two batches a block, of rows of 6 float32 and a label."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2 * BATCH * (4 * N_IN + 4))


def features(kind: str, rng: np.random.Generator) -> np.ndarray:
    X = rng.normal(size=(N, N_IN)) * 50 + 100
    return (X > 100) if kind == "bool" else X.clip(0, 255).astype(kind)


def targets(loss: str, X: np.ndarray) -> np.ndarray:
    score = X[:, :3].astype(np.float64) / 100
    if loss == "softmax_cross_entropy":
        return score.argmax(axis=1)
    return score > 1 if loss.startswith("sigmoid") else score**2


def train(
    backend: cr.Backend,
    stream: bool,
    *,
    kind: str = "float64",
    loss: str = "softmax_cross_entropy",
    standardized: Any = False,
    weighted: bool = False,
    validation: Any = None,
    dtype: str = "float32",
    layout: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """All that a fit leaves behind, but for the seconds."""
    rng = np.random.default_rng(6)
    X = features(kind, rng)
    y, weights = targets(loss, X), rng.uniform(0, 2, N) if weighted else None
    net = cr.MLP([N_IN, 7, 3], loss=loss, backend=backend, seed=2, dtype=dtype)
    if standardized:
        net.preparation = cr.Preparation(
            features=cr.Standardization.fit(X.astype(np.float64), limit=standardized),
            targets=cr.Standardization.fit(y) if loss.startswith("squared") else None,
        )
    X = X if layout is None else layout(X)
    before = X.tobytes()
    options = {"batch_size": BATCH, "epochs": 3, "seed": 4} | options
    if validation == "rows":
        validation = (X[:9], y[:9])
    trainer = cr.Trainer(net, cr.Adam(lr=0.01), stream=stream, **options)
    run = trainer.fit(X, y, sample_weight=weights, validation=validation)
    assert X.tobytes() == before
    history = {name: values for name, values in run.history.items() if name != "seconds"}
    arrays = {name: value.tolist() for name, value in net.parameter_arena.download().items()}
    return {"history": history, "stopped": run.stopped, "best": run.best_epoch, "steps": run.steps} | arrays


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
@pytest.mark.parametrize("body", [NumPyBackend, cr.GuardedBackend])
def test_streamed_training_is_resident_training_bit_for_bit(body, case):
    resident, streamed = (train(body(), stream, **CASES[case]) for stream in (False, True))
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


# ---- what may be used when ------------------------------------------------------------------------


class Recorder(cr.GuardedBackend):
    """Writes down when blocks come and how many steps are asked for between."""

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
    """The order that the double buffer stands on; labels travel beside the features, so everything is there twice."""
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
    # A row that must be converted passes through a third one, as it came.
    net = cr.MLP([N_IN, 3], backend=backend)
    raw = StreamedBatches(
        backend, HostRows(net, X.astype(np.float64), np.zeros(1000, int)), BATCH, dtype=net.dtype, shuffle=False, seed=0
    )
    assert (raw._staging.dtype, raw._sources[0].dtype) == (np.float64, np.float32)


class Tiny(cr.GuardedBackend):
    """A device with this much free memory."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def free_memory(self) -> int:
        return self.free


def test_a_block_is_a_small_part_of_what_is_free(monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 1 << 30)
    X = np.zeros((10_000, N_IN), np.float32)
    row = 4 * N_IN + 4
    for free, rows in [(None, 10_000), (16 * 1000 * row, 1000), (16 * 10 * row, 10), (1, BATCH)]:
        batches = streamed_batches(cr.GuardedBackend(), X, free=free)
        assert batches.block * BATCH == rows


# ---- who streams ----------------------------------------------------------------------------------


def is_streamed(backend: cr.Backend, monkeypatch, X: Any, **options: Any) -> bool:
    seen = []
    monkeypatch.setattr(StreamedBatches, "begin_epoch", lambda _, epoch, first: seen.append(epoch))
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


# ---- errors ---------------------------------------------------------------------------------------

BAD = {
    "nan": ("float32", np.nan, "X at row 33, column 2 is nan; finite numbers were expected"),
    "inf": ("float64", -np.inf, "X at row 33, column 2 is -inf; finite"),
    "half": ("float16", np.inf, "X at row 33, column 2 is inf; finite"),
    "too large": ("float64", 1e39, r"X at row 33, column 2 is 1e\+39, which does not fit float32"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("validation", [None, 0.3, 0.9])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True, "batch_size": 30, "shuffle": False}])
def test_a_number_that_is_not_finite_is_named_as_of_resident_rows(case, validation, options):
    """Wherever it is met, in the first block or the last, in a batch that is dropped or in validation rows."""
    kind, value, message = BAD[case]
    X = np.random.default_rng(1).normal(size=(N, N_IN)).astype(kind)
    X[33, 2] = value
    net = cr.MLP([N_IN, 3], backend=cr.GuardedBackend())
    before = net.parameter_arena.download()
    trainer = cr.Trainer(net, stream=True, **{"batch_size": BATCH, "seed": 1} | options)
    with pytest.raises(cr.DataError, match=message):
        trainer.fit(X, np.arange(N) % 3, validation=validation)
    np.testing.assert_equal(net.parameter_arena.download(), before)


def test_a_large_number_that_standardisation_brings_into_range_is_fine():
    X = np.random.default_rng(1).normal(size=(N, N_IN)) * 1e39
    for limit in (np.inf, 3.0):
        net = cr.MLP([N_IN, 3])
        net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=limit))
        cr.Trainer(net, stream=True, epochs=1).fit(X, np.arange(N) % 3)


def test_streamed_rows_are_checked_once(monkeypatch):
    looks = []
    monkeypatch.setattr(HostRows, "refuse_nonfinite", lambda _, *rows: looks.append(rows))
    counts = []
    for epochs in (1, 4):
        looks.clear()
        train(cr.backend("cpu"), True, epochs=epochs)
        counts.append(len(looks))
    assert counts[0] == counts[1] > 2
    looks.clear()
    train(cr.backend("cpu"), True, kind="uint8")
    assert not looks


def test_an_error_of_a_callback_does_not_undo_the_epoch():
    def fail(record: cr.EpochRecord) -> None:
        raise cr.DataError("mine")

    net = cr.MLP([N_IN, 3])
    before = net.parameter_arena.download()["dense0.W"]
    with pytest.raises(cr.DataError, match="mine"):
        cr.Trainer(net, stream=True, callbacks=[fail]).fit(np.ones((N, N_IN)), np.arange(N) % 3)
    assert (net.parameter_arena.download()["dense0.W"] != before).any()


WRONG = {
    "a list": ([[1.0] * N_IN] * 3, cr.OptionError, "expected X to be a NumPy array with stream=True, got list"),
    "masked": (np.ma.masked_array(np.ones((3, N_IN))), cr.DataError, "X is a masked array"),
    "one axis": (np.ones(N_IN), cr.ShapeError, r"expected X of shape .*, got \(6,\)(?s:.*)X\[None, :\]"),
    "a number": (np.array(1.0), cr.ShapeError, r"expected X of shape .*, got \(\)"),
    "no rows": (np.ones((0, N_IN)), cr.DataError, "X has no rows"),
    "objects": (np.ones((3, N_IN), object), cr.DataError, "X of dtype object"),
    "complex": (np.ones((3, N_IN), complex), cr.DataError, "X of dtype complex128"),
    "other rows than y": (np.ones((4, N_IN)), cr.ShapeError, "X has 4 rows and y has 3"),
    "text": (np.full((3, N_IN), "1"), cr.DataError, "X of dtype <U1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_are_refused_as_resident_ones(backend, case):
    X, error, message = WRONG[case]
    net = cr.MLP([N_IN, 3], backend=backend)
    with pytest.raises(error, match=message):
        cr.Trainer(net, stream=True).fit(X, [0, 1, 2])


def test_stream_true_needs_a_numpy_array():
    with pytest.raises(cr.OptionError, match="stream: expected True, False or None, got 'yes'"):
        cr.Trainer(cr.MLP([2, 2]), stream="yes")


def test_a_validation_fraction_without_sample_weight_above_zero_is_refused():
    weights = np.zeros(N)
    weights[0] = 1
    with pytest.raises(cr.DataError, match="rows of the split have weight 0"):
        cr.Trainer(cr.MLP([N_IN, 3]), stream=True).fit(
            np.ones((N, N_IN)), np.arange(N) % 3, sample_weight=weights, validation=0.5
        )


# ---- stopping -------------------------------------------------------------------------------------


def test_divergence_of_a_streamed_fit_names_its_batch(backend, monkeypatch):
    """Its rows have left the ring: the block is fetched once more. Row 31 overflows, in the 7th batch."""
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
    """In the midst of an epoch, with a block on its way; and the trainer can be used again."""
    net = cr.MLP([N_IN, 3], backend=backend)
    trainer = cr.Trainer(net, batch_size=BATCH, epochs=50, stream=True)
    gather, count = HostRows.gather, [0]

    def counted(self: HostRows, *arguments: Any) -> None:
        count[0] += 1
        if count[0] == 20:
            if how == "ctrl-c":
                raise KeyboardInterrupt
            trainer.stop()
        gather(self, *arguments)

    monkeypatch.setattr(HostRows, "gather", counted)
    X = np.random.default_rng(0).normal(size=(N, N_IN))
    run = trainer.fit(X, np.arange(N) % 3)
    assert run.stopped == "interrupted"
    assert 0 < run.history.epochs < 50
    trainer.epochs = 1
    assert trainer.fit(X, np.arange(N) % 3).stopped == "completed"
