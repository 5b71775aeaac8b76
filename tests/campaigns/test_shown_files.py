"""Commands on files made to do harm: no traceback, no control character. shown_files.py tries more of them."""

from __future__ import annotations

from campaigns import shown_files
from chainrule.cli.console import output

CASES = 40


def test_commands_print_nothing_that_a_terminal_obeys(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # loops that load themselves midway are no memory of the file's
    counts, findings = shown_files.run(range(CASES), tmp_path)
    assert findings == {}
    assert min(counts.values()) > CASES // 6, "both happen, or this tries nothing"


def test_the_campaign_sees_an_escape(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "printable", str)
    _, findings = shown_files.run(range(6), tmp_path)
    assert findings
