"""Processes that begin to train at once, a few."""

from __future__ import annotations

from campaigns import concurrent_starts


def test_each_start_has_a_run_of_its_own_and_one_folder_one_owner(folder, monkeypatch):
    monkeypatch.setattr(concurrent_starts, "AT_ONCE", 6)
    counts, findings = concurrent_starts.run(range(1), folder)
    assert findings == {}
    assert counts == {"a run of its own": 6, "trained": 1, "refused": 9}
