"""Golden checkpoints of every format version: a fit resumes from them and ends as it did then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

import chainrule as cr
from chainrule.train.checkpoints import checkpoint
from chainrule.train.checkpoints.checkpoint import Checkpoint
from comparisons import assert_within

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
FILES = sorted(GOLDEN.glob("*.safetensors"))
RELATIVE = 1e-8  # of another BLAS and another exp, over the steps of the fit: with AVX2 instead of AVX-512 3e-10

X = (np.arange(120).reshape(40, 3) * 37 % 64 - 32) / 16.0  # exact in every format
Y = (X[:, 0] * X[:, 1] > X[:, 2]).astype(int)


def trainer(**options: object) -> cr.Trainer:
    """With everything that a checkpoint may hold."""
    net = cr.MLP([3, 4, 2], dropout=0.2, normalization="batch", dtype="float64", seed=3, backend=cr.backend("cpu"))
    return cr.Trainer(
        net,
        cr.Adam(cr.Plateau(0.05, patience=1, factor=0.5)),
        batch_size=7,
        epochs=8,
        seed=5,
        ema=0.9,
        accumulate=2,
        early_stopping=cr.EarlyStopping(patience=6),
        **options,
    )


def weights(net: cr.Network) -> dict[str, np.ndarray]:
    return net.parameter_arena.download()


def test_there_is_a_golden_checkpoint_of_every_version():
    found = set()
    for path in FILES:
        with safetensors.safe_open(path, framework="np") as file:
            found.add(json.loads(file.metadata()[checkpoint.FORMAT.key])["version"])
    assert found == set(range(1, checkpoint.FORMAT.version + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_fit_resumes_from_a_golden_checkpoint(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    kept = Checkpoint.read(path)
    assert [kept.epochs, kept.batches, kept.steps] == expected["at"]
    going_on = trainer()
    with pytest.raises(cr.OptionError, match="another machine"):
        going_on.fit(X[:30], Y[:30], validation=(X[30:], Y[30:]), resume=path)
    run = going_on.fit(X[:30], Y[:30], validation=(X[30:], Y[30:]), resume=path, resume_anywhere=True)
    assert [run.history.epochs, run.best_epoch] == expected["end"]
    for name, values in expected["history"].items():
        assert_within(np.array(run.history[name]), np.array(values), RELATIVE, name)
    for name, values in expected["weights"].items():
        assert_within(weights(going_on.net)[name], np.array(values), RELATIVE * np.maximum(np.abs(values), 1), name)
