"""A long life in short: memory, open files and threads do not grow with steps and fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaigns import soak


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux's account of a process")
def test_a_life_leaves_nothing_behind(tmp_path):
    words, wrong = soak.soak(steps=400, fits=20, folder=tmp_path, warm=0.75)
    assert wrong == ""
    assert words.startswith("flat")


def test_growth_is_of_the_end_over_the_beginning():
    assert soak.growth([100, 101, 100, 102, 100, 101, 103, 100, 101, 100]) == 0
    assert soak.growth(range(100, 200)) == pytest.approx(0.8)
