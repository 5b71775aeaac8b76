"""Array files made to do harm: a DataError or a table, in bounded memory and time."""

from __future__ import annotations

from campaigns import array_files

CASES = 400


def test_hostile_array_files_are_read_or_refused(tmp_path):
    counts, findings = array_files.run(range(CASES), tmp_path)
    assert findings == {}
    assert sum(counts.values()) == CASES
    assert min(counts.values()) > CASES // 10, "both happen, or this tries nothing"
