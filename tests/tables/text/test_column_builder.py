"""One column while it is read: its room, and numbers beside words for holes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.nn.columns.notation import PLAIN
from chainrule.tables.text import column_builder
from chainrule.tables.text.column_builder import ColumnBuilder, to_numbers


@pytest.mark.parametrize("expected", [0, 1, 40, 10**6, 2**58], ids=["unknown", "too few", "as many", "more", "beyond"])
def test_rows_that_are_expected_change_nothing_but_the_room(monkeypatch, expected):
    monkeypatch.setattr(column_builder, "MOST_GROWTH", 2**59)
    builder = ColumnBuilder()
    builder.expected = expected
    builder.extend(["0", "1"])
    for start in range(2, 40, 2):
        builder.extend_numbers(np.arange(start, start + 2.0))
    assert builder.result().tolist() == list(range(40))
    assert builder.result().flags.owndata


def test_a_first_part_that_is_short_takes_little_room():
    builder = ColumnBuilder()
    builder.expected = 10**12
    builder.extend(["1"] * 10)
    assert builder.result().tolist() == [1.0] * 10


def test_words_for_holes_among_numbers_are_read_as_quickly():
    """Whatever the strict reading would say of a cell, it need not look at the others."""
    cells = ["1", "", "NA", "2.5", "nan", "?", "-3e1"]
    found = to_numbers(cells, PLAIN, "".join(cells))
    assert [None if math.isnan(number) else number for number in found] == [1, None, None, 2.5, None, None, -30]
    for odd in ("1_0", "inf", "1e999", "\u0661", "infinity", "x"):
        with pytest.raises(ValueError, match="number"):
            to_numbers([*cells, odd], PLAIN, "".join([*cells, odd]))
    assert to_numbers([" 7 ", " NA"], PLAIN, " 7  NA")[0] == 7
