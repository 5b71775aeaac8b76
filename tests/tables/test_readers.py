"""Options of ``read_table`` that are something else: an error, and not the letters of a text."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.errors import DataError, OptionError

pd = pytest.importorskip("pandas", reason="pandas is not installed")

FRAME = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4], "ab": [5.0, 6], "y": [0, 1]})


@pytest.mark.parametrize("option", ["drop", "categorical", "feature_names"])
def test_text_in_place_of_a_list_of_columns_is_refused(option):
    with pytest.raises(OptionError, match=rf"{option}: expected a list of columns, got 'ab'(?s:.*){option}=\['ab'\]"):
        cr.read_table(FRAME, target="y", **{option: "ab"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1}, "target: expected the name of a column"),
        ({"target": ["a"]}, "target: expected the name"),
        ({"like": "model.safetensors"}, "like: expected a net or a table, got str"),
        ({"kinds": {"a": "numbers"}}, "expected 'number' or 'category', got 'numbers'"),
    ],
)
def test_options_of_read_table_of_other_types_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        cr.read_table(FRAME, **{"target": "y"} | options)


def test_a_pandas_series_is_refused():
    with pytest.raises(DataError, match="expected a DataFrame or a table, got the pandas Series"):
        cr.read_table(FRAME["a"], target="y")
