"""A folder with a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.checkpoints.fits import make_net, trainer

from stopping import StopAfter


@pytest.fixture
def folder(classes, tmp_path) -> Path:
    """A folder with the checkpoint of a fit of the default settings, stopped after 8 batches."""
    trainer(make_net(classes), callbacks=[StopAfter(8)], checkpoints=tmp_path).fit(classes.X, classes.y)
    return tmp_path
