"""Stages of scripts/gpu-check, stopped at random moments, a few of them."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from campaigns import gpu_stages

pytestmark = pytest.mark.skipif(
    not (gpu_stages.ROOT / "scripts").is_dir() or sys.platform != "linux", reason="needs the scripts, and /proc"
)


def test_a_stage_that_is_stopped_leaves_a_whole_file_and_no_process(tmp_path):
    outcomes = []
    for number in range(4, 10):
        (tmp_path / str(number)).mkdir()
        outcomes.append(gpu_stages.case(number, tmp_path / str(number), 3.0))
    assert set(outcomes) <= {"stopped", "stopped before the first item", "in full"}, outcomes
    assert "stopped" in outcomes


def test_what_is_not_right_would_be_seen(tmp_path):
    path = tmp_path / "alive.json"
    assert gpu_stages.judge(path, "alive", 0, None) == "no file"
    assert gpu_stages.judge(path, "alive", 1, None) == "exit code 1 after None, expected 0"
    for ended, outcomes, right in (
        ("complete", ["passed"], True),
        ("complete", ["failed"], False),
        ("running", [], False),
    ):
        path.write_text(json.dumps({"ended": ended, "exit_code": 0, "items": [{"outcome": one} for one in outcomes]}))
        assert (gpu_stages.judge(path, "alive", 0, None) == "in full") is right
    assert gpu_stages.judge(path, "alive", 143, signal.SIGTERM) == "running: []"
    assert gpu_stages.judge(path, "alive", -9, signal.SIGKILL) == "stopped"
