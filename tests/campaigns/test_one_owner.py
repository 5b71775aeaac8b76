"""Two processes on one run directory, one of each pair."""

from __future__ import annotations

from campaigns import one_owner


def test_one_trains_and_the_other_is_refused(folder):
    counts, findings = one_owner.run(range(len(one_owner.PAIRS)), folder)
    assert findings == {}
    assert counts == dict.fromkeys(one_owner.PAIRS, 1)
