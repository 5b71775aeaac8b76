"""Runs that signals end, and runs whose readers go away, one of each kind and more."""

from __future__ import annotations

from campaigns import signals


def test_what_a_signal_ends_goes_on_and_what_nobody_reads_runs_on(folder):
    cases = range(2 * len(signals.KINDS))
    counts, findings = signals.run(cases, folder)
    assert findings == {}
    assert sum(counts.values()) == len(cases)
    assert counts.get("interrupted"), "or this tries nothing"
