"""Runs that leave the finite numbers: stopped within one check, with cause, remedy and a checkpoint from before."""

from __future__ import annotations

from campaigns import divergences


def test_runs_that_diverge(tmp_path):
    counts, findings = divergences.run([0, 2, 3, 4, 5, 8, 9, 10, 13], tmp_path)
    assert findings == {}
    assert counts["diverged"] == 9
