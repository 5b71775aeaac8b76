"""Gradients of nets that are drawn."""

from __future__ import annotations

from campaigns import gradients


def test_gradients_of_random_nets(tmp_path):
    counts, findings = gradients.run(range(30), tmp_path)
    assert (counts["right"], findings) == (30, {})
