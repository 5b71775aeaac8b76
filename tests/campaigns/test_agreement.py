"""Bodies of the contract agree, and commands give the same bytes."""

from __future__ import annotations

import pytest

from campaigns import agreement, same_bits


def test_products_and_trainings_of_every_body(tmp_path):
    counts, findings = agreement.run(range(0, 2 * agreement.SHAPES, 25), tmp_path)
    assert (counts["products"], findings) == (40, {})


@pytest.mark.parametrize("number", [0, 1])
def test_trainings_of_every_body(tmp_path, number):
    first = 2 * agreement.SHAPES + number
    assert agreement.run(range(first, first + 1), tmp_path)[1] == {}


def test_the_same_command_gives_the_same_bytes(tmp_path):
    counts, findings = same_bits.run(range(1), tmp_path)
    assert (counts["the same"], findings) == (1, {})
