"""Gradient accumulation: m batches that train as one of m times the rows, in the memory of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.accumulation import UpdateGroups
from chainrule.train.feeding import streaming

N = 53  # 53 rows in batches of 4: groups of 3 leave 2 batches over, one of them ragged
OPTIMIZERS = {
    "momentum": cr.SGD(lr=cr.Cosine(0.05), momentum=0.9),
    "adam": cr.Adam(lr=cr.OneCycle(0.02)),
    "adamw, clipped": cr.AdamW(lr=0.01, clip_norm=0.05),
}


def train(
    task: Any,
    *,
    backend: cr.Backend | None = None,
    weighted: bool = False,
    optimizer: str = "adam",
    lr: float = 1.0,
    dtype: str = "float64",
    **options: Any,
) -> tuple[dict[str, np.ndarray], cr.Run]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, 5))
    y = task.y[rng.integers(0, len(task.y), N)]
    weights = rng.uniform(0, 2, N) * (rng.uniform(size=N) < 0.6) if weighted else None  # whole batches may have none
    net = cr.MLP(task.widths, loss=task.loss, backend=backend, dtype=dtype, seed=2, activation="tanh")
    chosen = cr.SGD(lr=1e-3) if task.loss.endswith("_sum") else OPTIMIZERS[optimizer]
    run = cr.Trainer(net, chosen, **({"epochs": 4} | options)).fit(X, y, sample_weight=weights)
    return net.parameter_arena.download(), run


def assert_equal_training(one: Any, other: Any, rtol: float = 1e-9) -> None:
    (weights, run), (other_weights, other_run) = one, other
    assert run.steps == other_run.steps
    assert run.history["lr"] == other_run.history["lr"]
    np.testing.assert_allclose(run.history["loss"], other_run.history["loss"], rtol=rtol)
    for name, value in weights.items():
        np.testing.assert_allclose(value, other_weights[name], rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulate_is_one_large_batch(backend, task, weighted):
    """Mean and sum, with a ragged last batch and a smaller last group."""
    small = train(task, backend=backend, weighted=weighted, batch_size=4, accumulate=3)
    assert_equal_training(small, train(task, weighted=weighted, batch_size=12))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("size", "group"), [(4, 3), (12, 2), (1, 7), (53, 3), (26, 2), (27, 2), (5, 100)])
def test_accumulate_with_a_smaller_last_group(classes, optimizer, size, group):
    small = train(classes, weighted=True, optimizer=optimizer, batch_size=size, accumulate=group)
    assert_equal_training(small, train(classes, weighted=True, optimizer=optimizer, batch_size=size * group))
    assert small[1].steps == 4 * -(-N // (size * group))


def test_accumulate_one_is_the_default(classes):
    """To the bit."""
    plain, one = train(classes, batch_size=8), train(classes, batch_size=8, accumulate=1)
    np.testing.assert_equal(one[0], plain[0])


def test_accumulate_with_drop_last(classes):
    """13 full batches of 4 in groups of 5: updates of 5, 5 and 3 batches, the ragged one left out."""
    _, run = train(classes, batch_size=4, accumulate=5, drop_last=True)
    assert run.steps == 4 * 3


@pytest.mark.parametrize("block", [1, 100, 500])
def test_accumulate_with_streamed_blocks_that_end_within_a_group(classes, monkeypatch, block):
    """The same bits as with resident rows."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", block)
    options = {"batch_size": 4, "accumulate": 3, "weighted": True}
    streamed, resident = (train(classes, stream=stream, **options) for stream in (True, False))
    np.testing.assert_equal(streamed[0], resident[0])
    assert streamed[1].history["loss"] == resident[1].history["loss"]


@pytest.mark.parametrize("size", [1, 2, 3, 64, 100])
@pytest.mark.parametrize("block", [1, 3, 20])
@pytest.mark.parametrize(("full", "ragged"), [(20, 0), (19, 3), (1, 0), (0, 2), (6, 1)])
def test_accumulate_has_every_batch_once_and_one_update_per_group(size, block, full, ragged):
    count = full + bool(ragged)
    groups, seen, updates = UpdateGroups(SimpleNamespace(full=full, count=count), size), [], []
    for start in range(0, count, block):
        for replay in groups.replays(range(start, min(start + block, count)), lambda _: 4):
            assert 1 <= replay.times <= 4
            numbers = range(replay.start, replay.start + replay.times)
            assert all((number == full) == replay.ragged for number in numbers)
            seen += numbers
            updates += [number for number in numbers if replay.updates]
    assert seen == list(range(count))
    assert updates == sorted({*range(size - 1, count, size), count - 1})
    assert len(updates) == groups.updates
    rates = groups.spread(np.arange(groups.updates, dtype=np.float64))
    assert rates.tolist() == [number // size for number in range(count)]


def test_accumulate_names_the_batch_that_diverged(backend):
    """Row 21 is in batch 5 (from 0) of 4 rows, in the second update of groups of 3; that update is not made."""
    X, y = np.ones((40, 2)), np.zeros((40, 1))
    y[21] = 1e200  # squared, it leaves the finite numbers
    net = cr.MLP([2, 1], loss="squared_error", dtype="float64", backend=backend)
    trainer = cr.Trainer(net, cr.SGD(lr=1e-3), batch_size=4, accumulate=3, epochs=2, shuffle=False)
    with pytest.raises(cr.DivergenceError, match=r"step 1 \(epoch 1, batch 6 of 10\)") as caught:
        trainer.fit(X, y)
    assert caught.value.step == 1
    once = cr.MLP([2, 1], loss="squared_error", dtype="float64")
    cr.Trainer(once, cr.SGD(lr=1e-3), batch_size=12, epochs=1, shuffle=False).fit(X[:12], y[:12])
    np.testing.assert_allclose(net.parameter_arena.download()["dense0.W"], once.parameters()["dense0.W"], rtol=1e-12)


@pytest.mark.parametrize("group", [0, -1, 1.5, True])
def test_wrong_accumulate_is_refused(classes, group):
    with pytest.raises(cr.OptionError, match=f"accumulate: expected .*, got {group}"):
        cr.Trainer(cr.MLP(classes.widths), accumulate=group)


@pytest.mark.parametrize("many", [10**12, 10**30])
def test_accumulate_more_batches_than_an_epoch_has(classes, backend, many):
    """Whatever the number: neither memory for so many, nor a whole number that is too large for the device."""
    epoch = train(classes, backend=backend, batch_size=4, accumulate=14)
    assert_equal_training(train(classes, backend=backend, batch_size=4, accumulate=many), epoch, rtol=0)
