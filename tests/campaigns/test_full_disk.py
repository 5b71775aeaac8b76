"""Runs for which there is no room, a few."""

from __future__ import annotations

from campaigns import full_disk


def test_a_run_without_room_says_so_and_goes_on_once_there_is(folder):
    counts, findings = full_disk.run(range(4, 7), folder)
    assert findings == {}
    assert sum(counts.values()) == 3
    assert any(not outcome.endswith("enough") for outcome in counts), "or this tries nothing"
