"""Options of ``read_table`` that are something else: an error, and not the letters of a text."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.errors import DataError, OptionError

pd = pytest.importorskip("pandas", reason="pandas is not installed")

FRAME = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4], "ab": [5.0, 6], "y": [0, 1]})


@pytest.mark.parametrize("option", ["drop", "categorical", "feature_names"])
def test_a_text_for_a_list_of_columns_is_refused(option):
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
def test_other_values_of_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        cr.read_table(FRAME, **{"target": "y"} | options)


def test_a_series_is_no_table():
    with pytest.raises(DataError, match="expected a DataFrame or a table, got the pandas Series"):
        cr.read_table(FRAME["a"], target="y")


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_utf_32_is_named(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("\ufeffa,y\n1,2\n".encode(encoding))
    with pytest.raises(DataError, match="expected text in UTF-8, got UTF-32"):
        cr.read_table(tmp_path / "t.csv", target="y")
