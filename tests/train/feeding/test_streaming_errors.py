"""Errors in streamed rows: the same as of resident ones, and no weight has changed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.train.feeding.streams import BATCH, N_IN, N, train

import chainrule as cr
from chainrule.train.feeding.host_rows import HostRows

pytestmark = pytest.mark.usefixtures("small_blocks")


# ---- errors ---------------------------------------------------------------------------------------

BAD = {
    "nan": ("float32", np.nan, "X at row 33, column 2: expected a finite number, got nan"),
    "inf": ("float64", -np.inf, "X at row 33, column 2: expected a finite number, got -inf"),
    "half": ("float16", np.inf, "X at row 33, column 2: expected a finite number, got inf"),
    "too large": (
        "float64",
        1e39,
        r"X at row 33, column 2: expected a finite number, got 1e\+39, which does not fit float32",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("validation", [None, 0.3, 0.9])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True, "batch_size": 30, "shuffle": False}])
def test_a_number_that_is_not_finite_is_named_as_of_resident_rows(case, validation, options):
    """In any place: the first block or the last, a batch that is dropped, or validation rows."""
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
    "masked": (np.ma.masked_array(np.ones((3, N_IN))), cr.DataError, "X: expected a plain array"),
    "one axis": (np.ones(N_IN), cr.ShapeError, r"expected X of shape .*, got \(6,\)(?s:.*)X\[None, :\]"),
    "a number": (np.array(1.0), cr.ShapeError, r"expected X of shape .*, got \(\)"),
    "no rows": (np.ones((0, N_IN)), cr.DataError, "X: expected at least one row, got none"),
    "objects": (np.ones((3, N_IN), object), cr.DataError, "X of dtype object"),
    "complex": (np.ones((3, N_IN), complex), cr.DataError, "X of dtype complex128"),
    "other rows than y": (np.ones((4, N_IN)), cr.ShapeError, "same number of rows, got 4 and 3"),
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
