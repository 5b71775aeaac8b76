"""Hostile checkpoints: refused with the net unchanged, or resumed. checkpoint_files.py tries more."""

from __future__ import annotations

from campaigns import checkpoint_files

CASES = 40


def test_hostile_checkpoints_are_refused_or_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # loops that load themselves midway are no one's fault
    counts, findings = checkpoint_files.run(range(CASES), tmp_path)
    assert findings == {}
    assert sum(counts.values()) == CASES
    assert counts["refused"] > CASES // 2
    assert counts["went on"] > CASES // 20, "both happen, or this tries nothing"
