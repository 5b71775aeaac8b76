"""Nasty text files in blocks and cell by cell, a few of them."""

from __future__ import annotations

from campaigns import text_files


def test_a_text_file_read_in_blocks_is_that_read_cell_by_cell(folder):
    counts, findings = text_files.run(range(200), folder)
    assert findings == {}
    assert counts["the same table"] > 40
    assert counts["the same refusal"] > 40
