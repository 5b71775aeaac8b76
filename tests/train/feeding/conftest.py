"""Blocks of a few hundred bytes, so that an epoch of few rows has many."""

from __future__ import annotations

import pytest
from tests.train.feeding.streams import BATCH, N_IN

from chainrule.train.feeding import streaming


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Two batches per block, of rows of 6 float32 and a label."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2 * BATCH * (4 * N_IN + 4))
