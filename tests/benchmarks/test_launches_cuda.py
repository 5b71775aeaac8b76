"""Launches of a step, counted without a device."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def count(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script puts its folders there
    import launches_cuda

    return lambda widths, rows, precision, *ways: launches_cuda.count(
        widths, rows, precision, launches_cuda.Ways(*ways)
    )


def test_a_relu_across_a_border_shortens_the_chain_and_the_memory_that_is_touched(count):
    """In bf16 the sum over rows is a launch beside the chain, in float32 it is part of the product."""
    for precision, launches in (("bf16", 0), ("fp32", 4)):
        apart, fused = (count([64, 64, 64, 64, 64, 10], 1024, precision, False, signs) for signs in (False, True))
        assert apart.launches - fused.launches == launches
        assert apart.chain - fused.chain == 4
        assert fused.nbytes < apart.nbytes


def test_parts_of_k_are_a_launch_more_for_each_weight_gradient(count):
    whole, parts = (count([64, 64, 64, 10], 1 << 18, "bf16", divided, False) for divided in (False, True))
    assert parts.launches - whole.launches == 3
    assert parts.nbytes > whole.nbytes
    small = [count([64, 64, 64, 10], 64, "bf16", divided, False) for divided in (False, True)]
    assert small[0] == small[1]


def test_the_cases_of_the_comparison_are_printed(count, capsys):
    import launches_cuda

    launches_cuda.main(["--tiny", "--cases", "a", "--precision", "tf32"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["case", "chosen", "launches", "chain", "MB", "tf32"]
    assert [line.split()[1:-3] for line in lines] == [["nothing"], ["signs"], ["parts"], ["parts", "and", "signs"]]
