"""Drawn environments, a few; the causes have tests of their own in tests/backends and tests/cli."""

from __future__ import annotations

from campaigns import environments


def test_environments_make_no_difference_but_where_there_is_no_place_for_a_run(folder):
    counts, findings = environments.run([0, 1, 6], folder)
    assert findings == {}
    assert sum(counts.values()) == 3
    assert any(outcome.startswith("the same bytes") for outcome in counts)
