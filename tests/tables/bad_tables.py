"""Tables that lie or are odd, once for all formats: what is in them, and what reading them must come to.

A case is written in every format that can hold it (:mod:`tables.formats`). Its outcome is the same in all of them: the
columns and the target here, or a refusal that names the place as the format counts places.
"""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass, field
from typing import Any

from chainrule.errors import ChainruleError, DataError, OptionError

INF, NAN = float("inf"), float("nan")
DAY, TIME = datetime.date(2026, 11, 22), datetime.datetime(2026, 11, 22, 10, 15)


@dataclass(frozen=True)
class Refused:
    """An error with these words; ``row`` from 0 and ``column`` are the place that it names."""

    words: tuple[str, ...] = ()
    row: int | None = None
    column: str = ""
    kind: type[ChainruleError] = DataError


@dataclass(frozen=True)
class Case:
    """``data`` by column; ``expected`` columns and target, or what is refused.

    ``text``: what else text files make of it, which have no types; ``only``: the families that can hold it, of
    "text", "frames" (DataFrames, Parquet, Arrow), "objects" (DataFrames that hold any Python value) and "arrays".
    """

    data: dict[str, list[Any]]
    expected: dict[str, list[Any]] | Refused
    target: str | None = "y"
    options: dict[str, Any] = field(default_factory=dict)
    text: dict[str, list[Any]] | Refused | None = None
    only: tuple[str, ...] = ("text", "frames", "objects", "arrays")


def same(data: dict[str, list[Any]], **more: Any) -> Case:
    """Read as it is."""
    return Case(data, data, **more)


def cell(row: int, column: str, *words: str) -> Refused:
    """A refusal of one cell."""
    return Refused(words, row, column)


def option(*words: str) -> Refused:
    """A refusal of what was asked for."""
    return Refused(words, kind=OptionError)


Y = [0, 1, 0]
AB = {"a": [1, 2, 3], "b": [0.5, 0.25, 4], "y": Y}
OBJECTS, TYPED, NAMED = ("objects",), ("frames", "objects"), ("text", "frames", "objects")
LONG = "z" * 5000
FINITE, FILLED = "a finite number", "a value in every row"
NOT_AS_MOST = "a number as in most rows"

CASES: dict[str, Case] = {
    # ---- numbers
    "whole numbers": same({"a": [1, -2, 3], "y": Y}),
    "real numbers": same({"a": [0.1, -2.5, 1e-7], "y": [0.5, 1.5, 2.25]}),
    "zeros of both signs": same({"a": [0.0, -0.0, 1.0], "y": Y}),
    "the least number": same({"a": [5e-324, 1.0, 2.0], "y": Y}),
    "the largest number": same({"a": [1.7976931348623157e308, 1.0, 2.0], "y": Y}),
    "1e39, beyond float32": same({"a": [1e39, -1e39, 2.0], "y": Y}),
    "whole numbers above 2**53": Case(
        {"a": [2**53 + 1, 2**53, 3], "y": Y}, {"a": [2.0**53, 2.0**53, 3], "y": Y}, only=NAMED
    ),
    "2**63": same({"a": [2**63, 1, 2], "y": Y}, only=NAMED),
    "inf": Case({"a": [1.0, INF, 3.0], "y": Y}, cell(1, "a", FINITE)),
    "-inf": Case({"a": [1.0, 2.0, -INF], "y": Y}, cell(2, "a", FINITE)),
    "inf among holes": Case({"a": [None, INF, 3.0], "y": Y}, cell(1, "a", FINITE)),
    "inf in the second column": Case({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, INF], "y": Y}, cell(2, "b", FINITE)),
    "inf alone": Case({"a": [INF, INF, INF], "y": Y}, cell(0, "a", FINITE)),
    "a constant column": same({"a": [5, 5, 5], "b": [1, 2, 3], "y": Y}),
    "one row": same({"a": [5.5], "b": [1], "y": [2]}),
    "one column": same({"a": [1, 2, 3], "y": Y}),
    "two equal columns": same({"a": [1, 2, 3], "b": [1, 2, 3], "y": Y}),
    "a column that is the target": same({"a": Y, "y": Y}),
    "numbers of decimal": Case(
        {"a": [decimal.Decimal("1.5"), decimal.Decimal("-2"), None], "y": Y}, {"a": [1.5, -2, None], "y": Y}, only=TYPED
    ),
    "complex numbers": Case({"a": [1j, 2j, 3j], "y": Y}, Refused(("column 'a'", "a number or text")), only=OBJECTS),
    # ---- holes
    "a hole": same({"a": [1.0, None, 3.0], "y": Y}),
    "a hole among whole numbers": same({"a": [1, None, 3], "y": Y}),
    "a hole first": same({"a": [None, 2.0, 3.0], "y": Y}),
    "a hole last": same({"a": [1.0, 2.0, None], "y": Y}),
    "holes alone": same({"a": [None, None, None], "b": [1.0, 2.0, 3.0], "y": Y}),
    "a hole in two columns": same({"a": [1.0, None, 3.0], "b": [None, 2.0, 3.0], "y": Y}),
    "nan": Case({"a": [1.0, NAN, 3.0], "y": Y}, {"a": [1.0, None, 3.0], "y": Y}),
    "holes among text": same({"a": ["u", None, "v"], "y": Y}),
    "holes among truths": Case({"a": [True, None, False], "y": Y}, {"a": [1, None, 0], "y": Y}, only=NAMED),
    **{
        f"{word!r} is a hole": Case({"a": ["u", word, "v"], "y": Y}, {"a": ["u", None, "v"], "y": Y})
        for word in ("", "   ")
    },
    **{
        f"{word!r} is a hole in text files, and text in a typed column": Case(
            {"a": ["u", word, "v"], "y": Y},
            {"a": ["u", word.strip(), "v"], "y": Y},
            text={"a": ["u", None, "v"], "y": Y},
        )
        for word in ("NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "NULL", "?", " NA ")
    },
    "a word for a hole beside a real one": Case(
        {"a": ["NA", None, "v"], "y": Y}, {"a": ["NA", None, "v"], "y": Y}, text={"a": [None, None, "v"], "y": Y}
    ),
    "words for holes alone": Case(
        {"a": ["NA", "?", "null"], "b": [1, 2, 3], "y": Y},
        {"a": ["NA", "?", "null"], "b": [1, 2, 3], "y": Y},
        text={"a": [None] * 3, "b": [1, 2, 3], "y": Y},
    ),
    "words for holes where the model has numbers": Case(
        {"a": ["1", "NA", "2"], "y": Y},
        {"a": [1, None, 2], "y": Y},
        options={"feature_names": ["a"], "kinds": {"a": "number"}},
        only=NAMED,
    ),
    # ---- truths
    "truths": Case({"a": [True, False, True], "y": Y}, {"a": [1, 0, 1], "y": Y}),
    "truths as the target": Case(
        {"a": [1, 2, 3], "y": [True, False, True]}, {"a": [1, 2, 3], "y": ["True", "False", "True"]}
    ),
    "all truths": Case({"a": [True, False], "y": [True, False]}, {"a": [1, 0], "y": ["True", "False"]}),
    "a hole among the truths of the target": Case(
        {"a": [1, 2, 3], "y": [True, None, False]}, cell(1, "y", FILLED), only=NAMED
    ),
    "truths written as text": Case(
        {"a": ["true", "FALSE", "true"], "y": Y},
        {"a": ["true", "FALSE", "true"], "y": Y},
        text={"a": [1, 0, 1], "y": Y},
    ),
    # ---- text
    "text": same({"a": ["u", "v", "u"], "y": Y}),
    "text that differs in case": same({"a": ["Red", "red", "RED"], "y": Y}),
    "spaces around": Case({"a": [" u", "v ", "\tu "], "y": Y}, {"a": ["u", "v", "u"], "y": Y}),
    "spaces within": same({"a": ["a b", "a  b", "ab"], "y": Y}),
    "no-break spaces around": Case({"a": ["\xa0u", "v", "u\xa0"], "y": Y}, {"a": ["u", "v", "u"], "y": Y}),
    "letters of other alphabets": same({"a": ["Größe", "日本", "Ω"], "y": Y}),
    "emoji": same({"a": ["👍🏽", "👍", "🏳️‍🌈"], "y": Y}),
    "quotes": same({"a": ['5" pipe', "it's", 'a "b" c'], "y": Y}),
    "a quote alone": same({"a": ['"', "''", '""'], "y": Y}),
    "delimiters": same({"a": ["a,b", "a;b", "a\tb|c"], "y": Y}),
    "line ends": same({"a": ["a\nb", "a\r\nb", "a\n\nb"], "y": Y}),
    "backslashes": same({"a": ["a\\", "\\n", "\\"], "y": Y}),
    "control characters": same({"a": ["\x1b[31m", "\x07", "\x7f"], "y": Y}),
    "long text": same({"a": [LONG, LONG + "x", "u"], "y": Y}),
    "a comment sign": same({"a": ["#u", "u # v", "#"], "y": Y}),
    "formulas": same({"a": ["=A1", "+u", "@SUM"], "y": Y}),
    "names for nothing that are text": same({"a": ["none", "-", "NaN."], "y": Y}),
    "numbers with units": Case({"a": ["5 kg", "6 kg", "7 kg"], "y": Y}, {"a": [5, 6, 7], "y": Y}),
    "percent": Case({"a": ["5%", "6%", "7%"], "y": Y}, {"a": [5, 6, 7], "y": Y}),
    "numbers with an unknown unit": same({"a": ["5 foo", "6 foo", "7 foo"], "y": Y}),
    "digits of other alphabets": same({"a": ["١٢", "٣", "٤"], "y": Y}),
    "hexadecimal": same({"a": ["0x10", "0x20", "0xff"], "y": Y}),
    "bytes": Case({"a": [b"u", b"v", b"u"], "y": Y}, cell(0, "a", "a number or text"), only=TYPED),
    "lists": Case({"a": [[1, 2], [3], []], "y": Y}, cell(0, "a", "a number or text"), only=TYPED),
    "a list among text": Case({"a": ["u", [3], "v"], "y": Y}, cell(1, "a", "a number or text"), only=OBJECTS),
    "dictionaries": Case({"a": [{"k": 1}, {"k": 2}, {"k": 3}], "y": Y}, cell(0, "a", "a number or text"), only=TYPED),
    "sets": Case({"a": [{1}, {2}, {3}], "y": Y}, cell(0, "a", "a number or text"), only=OBJECTS),
    # ---- numbers as text: a typed column keeps its type, a text file has none
    "numbers written as text": Case(
        {"a": ["1", "2.5", "3"], "y": Y}, {"a": ["1", "2.5", "3"], "y": Y}, text={"a": [1, 2.5, 3], "y": Y}
    ),
    "leading zeros": Case(
        {"a": ["01", "02", "10"], "y": Y}, {"a": ["01", "02", "10"], "y": Y}, text={"a": [1, 2, 10], "y": Y}
    ),
    "thousands": Case(
        {"a": ["1 234", "2 345 678", "1"], "y": Y},
        {"a": ["1 234", "2 345 678", "1"], "y": Y},
        text={"a": [1234, 2345678, 1], "y": Y},
    ),
    "apostrophes": Case(
        {"a": ["1'234", "2'345'678", "1"], "y": Y},
        {"a": ["1'234", "2'345'678", "1"], "y": Y},
        text={"a": [1234, 2345678, 1], "y": Y},
    ),
    "underscores": Case(
        {"a": ["1_234", "2_345", "1"], "y": Y}, {"a": ["1_234", "2_345", "1"], "y": Y}, text=cell(0, "a", "a number")
    ),
    "1e999": Case({"a": ["1e999", "2", "1"], "y": Y}, {"a": ["1e999", "2", "1"], "y": Y}, text=cell(0, "a", FINITE)),
    "infinity as text": Case(
        {"a": ["1", "-Infinity", "1"], "y": Y}, {"a": ["1", "-Infinity", "1"], "y": Y}, text=cell(1, "a", FINITE)
    ),
    "what the model takes for numbers": Case(
        {"a": ["01", "2", None], "y": Y},
        {"a": [1, 2, None], "y": Y},
        options={"feature_names": ["a"], "kinds": {"a": "number"}},
        only=NAMED,
    ),
    "what the model takes for categories": Case(
        {"a": [7.0, 8.0, None], "y": Y},
        {"a": ["7", "8", None], "y": Y},
        options={"feature_names": ["a"], "kinds": {"a": "category"}},
        only=NAMED,
    ),
    "categorical": Case(
        {"a": [9000, 9001, 9000], "y": Y},
        {"a": ["9000", "9001", "9000"], "y": Y},
        options={"categorical": ["a"]},
        only=NAMED,
    ),
    "truths that are categories": Case(
        {"a": [True, False, True], "y": Y},
        {"a": ["True", "False", "True"], "y": Y},
        options={"categorical": ["a"]},
        only=NAMED,
    ),
    "text where the model has numbers": Case(
        {"a": ["1", "big", "2"], "y": Y},
        cell(1, "a", "a number as in training"),
        options={"feature_names": ["a"], "kinds": {"a": "number"}},
        only=NAMED,
    ),
    # ---- mixed
    "text among numbers": Case({"a": [1, "four", 3], "y": Y}, cell(1, "a", NOT_AS_MOST), only=("text", "objects")),
    "numbers among text": Case({"a": ["u", 4, "v"], "y": Y}, {"a": ["u", "4", "v"], "y": Y}, only=("text", "objects")),
    "text among numbers, late": Case(
        {"a": [*range(9000), "four"], "y": [0, 1] * 4500 + [0]}, cell(9000, "a", NOT_AS_MOST), only=("text", "objects")
    ),
    "truth among numbers": Case({"a": [1, True, 3], "y": Y}, cell(1, "a", NOT_AS_MOST), only=("text", "objects")),
    "numbers among words for holes": Case(
        {"a": [1, "NA", 3], "y": Y}, {"a": [1, None, 3], "y": Y}, only=("text", "objects")
    ),
    "whole and real numbers": same({"a": [1, 2.5, 3], "y": Y}),
    # ---- dates
    "dates": Case({"a": [DAY, DAY, DAY], "y": Y}, cell(0, "a", "a number or a category")),
    "times": Case({"a": [TIME, TIME, TIME], "y": Y}, cell(0, "a", "a number or a category")),
    "dates as text": Case({"a": ["2026-11-22"] * 3, "y": Y}, cell(0, "a", "a number or a category")),
    "German dates as text": Case({"a": ["22.11.2026", None, "1.2.26"], "y": Y}, cell(0, "a", "a number or a category")),
    "American dates as text": Case(
        {"a": ["11/22/2026 10:15", "1/2/26", None], "y": Y}, cell(0, "a", "a number or a category")
    ),
    "durations": Case({"a": [datetime.timedelta(1)] * 3, "y": Y}, cell(0, "a", "a number or"), only=TYPED),
    "dates dropped": Case(
        {"a": [1, 2, 3], "d": [DAY] * 3, "y": Y}, {"a": [1, 2, 3], "y": Y}, options={"drop": ["d"]}, only=NAMED
    ),
    "dates as categories": Case(
        {"d": ["2026-11-22", "2026-11-23", None], "y": Y},
        {"d": ["2026-11-22", "2026-11-23", None], "y": Y},
        options={"categorical": ["d"]},
        only=NAMED,
    ),
    "dates as the target": Case({"a": [1, 2], "y": [DAY, datetime.date(2026, 11, 23)]}, cell(0, "y", "date")),
    "dates as text as the target": Case(
        {"a": [1, 2], "y": ["2026-11-22", "2026-11-23"]}, cell(0, "y", "date"), only=NAMED
    ),
    # ---- the target
    "classes": same({"a": [1, 2, 3], "y": ["cat", "dog", "cat"]}),
    "classes with spaces around": Case(
        {"a": [1, 2, 3], "y": [" cat", "dog", "cat "]}, {"a": [1, 2, 3], "y": ["cat", "dog", "cat"]}
    ),
    "one class": same({"a": [1, 2, 3], "y": ["cat", "cat", "cat"]}),
    "a long class": Case({"a": [1, 2], "y": ["cat", "z" * 201]}, cell(1, "y", "at most 200 characters")),
    "classes of line ends": same({"a": [1, 2], "y": ["a\nb", "c\nd"]}),
    "whole numbers that are real": Case({"a": [1, 2, 3], "y": [1.0, 2.0, 1.0]}, {"a": [1, 2, 3], "y": [1, 2, 1]}),
    "large whole numbers as the target": same({"a": [1, 2], "y": [2**53 + 1, 2**53]}),
    "2**63 - 1 as the target": same({"a": [1, 2], "y": [2**63 - 1, -(2**63)]}),
    "a hole in the target": Case({"a": [1, 2, 3], "y": [0, None, 1]}, cell(1, "y", FILLED)),
    "a hole in a real target": Case({"a": [1, 2, 3], "y": [0.5, 1.5, None]}, cell(2, "y", FILLED)),
    "a hole among classes": Case({"a": [1, 2, 3], "y": ["u", "v", None]}, cell(2, "y", FILLED), only=NAMED),
    "a word for a hole among classes": Case(
        {"a": [1, 2, 3], "y": ["u", "NA", "v"]},
        {"a": [1, 2, 3], "y": ["u", "NA", "v"]},
        text=cell(1, "y", FILLED),
        only=NAMED,
    ),
    "a word for a hole among classes of an array": Case(
        {"a": [1, 2, 3], "y": ["u", "NA", "v"]}, cell(1, "y", FILLED), only=("arrays",)
    ),
    "empty text among classes": Case({"a": [1, 2, 3], "y": ["u", "", "v"]}, cell(1, "y", FILLED)),
    "whole numbers beyond int64 as the target": same({"a": [1, 2, 3], "y": [2**64 - 1, 2**64 - 2, 2**63]}, only=NAMED),
    "whole numbers beyond 64 bits that float64 would merge, as the target": Case(
        {"a": [1, 2], "y": [2**70, 2**70 + 1]}, cell(1, "y", "at most 64 bits"), only=("text", "objects")
    ),
    "whole numbers beyond 64 bits as the target": same({"a": [1, 2], "y": [2.0**70, 2.0**71]}),
    "large whole numbers, one of them with a decimal point, as the target": Case(
        {"a": [1, 2, 3], "y": [2**60, 2**60 + 1, 1.0]}, {"a": [1, 2, 3], "y": [2**60, 2**60 + 1, 1]}, only=("text",)
    ),
    "labels of text that are numbers": Case(
        {"a": [1, 2, 3], "y": ["1", "1.0", "2"]},
        {"a": [1, 2, 3], "y": ["1", "1.0", "2"]},
        text={"a": [1, 2, 3], "y": [1, 1, 2]},
    ),
    "categories of text that are numbers": Case(
        {"a": ["1", "1.0", "x"], "y": Y},
        {"a": ["1", "1.0", "x"], "y": Y},
        text=cell(2, "a", NOT_AS_MOST),
    ),
    "categories that are numbers among words": Case(
        {"a": ["1", "1.0", "x", "z", "z"], "y": [0, 1, 0, 1, 1]},
        {"a": ["1", "1.0", "x", "z", "z"], "y": [0, 1, 0, 1, 1]},
        text={"a": ["1", "1", "x", "z", "z"], "y": [0, 1, 0, 1, 1]},
    ),
    "large numbers with a hole that are categories": Case(
        {"a": [2**60, 2**60 + 1, None], "y": Y},
        {"a": [str(2**60), str(2**60 + 1), None], "y": Y},
        options={"categorical": ["a"]},
        only=("text", "frames"),
    ),
    "a number and its text as labels": Case(
        {"a": [1, 2, 3], "y": [1, "1", 2]}, cell(1, "y", "either text or a number"), only=OBJECTS
    ),
    "holes alone in the target": Case({"a": [1, 2, 3], "y": [None, None, None]}, cell(0, "y", FILLED)),
    "inf in the target": Case({"a": [1, 2, 3], "y": [0.5, INF, 1.0]}, cell(1, "y", FINITE)),
    "text among numbers in the target": Case(
        {"a": [1, 2, 3], "y": [0, "one", 1]}, cell(1, "y", NOT_AS_MOST), only=("text", "objects")
    ),
    "a number among classes": Case(
        {"a": [1, 2, 3], "y": ["u", 3, "v"]}, cell(1, "y", "text as in most rows"), only=("text", "objects")
    ),
    "the target alone": Case({"y": Y}, Refused(("no column besides the target",)), only=NAMED),
    "no such target": Case(AB, option("no column 'z'", "'a', 'b', 'y'"), target="z", only=NAMED),
    "a misspelt target": Case(
        {"a": [1], "price": [2]}, option("no column 'prize'", "did you mean 'price'?"), target="prize", only=NAMED
    ),
    "a target that was not given": Case(
        AB, option("expected a target, got none", "name the target"), target=None, only=NAMED
    ),
    "the last column": Case(AB, AB, target="-1", only=NAMED),
    "a column beyond the last": Case(AB, option("no column '3'"), target="3", only=NAMED),
    "a name that is a position": Case(
        {"1": [5, 6], "b": [1, 2], "c": [3, 4]}, {"b": [1, 2], "c": [3, 4], "1": [5, 6]}, target="1", only=NAMED
    ),
    "no target": Case({"a": [1, 2]}, {"a": [1, 2]}, target=None, options={"need_target": False}),
    # ---- columns
    "no rows": Case({"a": [], "y": []}, Refused(("row",))),
    "names with spaces around": Case(
        {" a ": [1, 2], "b ": [3, 4], "y": [0, 1]}, {"a": [1, 2], "b": [3, 4], "y": [0, 1]}, only=NAMED
    ),
    "names that are the same": Case({"a": [1, 2], " a": [3, 4], "y": [0, 1]}, Refused(("'a'",)), only=NAMED),
    "a name that is empty": Case({"": [1, 2], "b": [3, 4], "y": [0, 1]}, Refused(("name",)), only=NAMED),
    "names of other alphabets": same({"größe": [1, 2], "日本": [3, 4], "y": [0, 1]}, only=NAMED),
    "names with delimiters and quotes": same({"a,b;c": [1, 2], 'd "e"\tf': [3, 4], "y": [0, 1]}, only=NAMED),
    "names with line ends": same({"a\nb": [1, 2], "c\r\nd": [3, 4], "y": [0, 1]}, only=NAMED),
    "names with points": Case(
        {"a": [1, 2], "a.b": [3, 4], "y": [0, 1]}, {"a": [1, 2], "y": [0, 1]}, options={"drop": ["a.b"]}, only=NAMED
    ),
    "real categories": Case(
        {"a": [7.5, 8.0, 7.5], "y": Y}, {"a": ["7.5", "8", "7.5"], "y": Y}, options={"categorical": ["a"]}, only=NAMED
    ),
    "names of control characters": same({"\x1b[31ma": [1, 2], "y": [0, 1]}, only=NAMED),
    "names that differ in case": same({"a": [1, 2], "A": [3, 4], "y": [0, 1]}, only=NAMED),
    "a long name": same({LONG: [1, 2], "y": [0, 1]}, only=NAMED),
    "many columns": same({f"c{i}": [i, i + 0.5] for i in range(400)} | {"y": [0, 1]}),
    "columns in another order": Case(
        AB, {"b": AB["b"], "a": AB["a"], "y": Y}, options={"feature_names": ["b", "a"]}, only=NAMED
    ),
    "columns besides": Case(
        AB | {"x": [DAY, None, DAY]}, {"b": AB["b"], "y": Y}, options={"feature_names": ["b"]}, only=NAMED
    ),
    "a column that is not there": Case(
        AB, Refused(("lacks 1 of the 2 columns", "'area'")), options={"feature_names": ["a", "area"]}, only=NAMED
    ),
    "columns of which none is there": Case(
        AB, Refused(("lacks 2 of the 2", "'c', 'd'")), options={"feature_names": ["c", "d"]}, only=NAMED
    ),
    "a target that is a feature": Case(
        AB, option("'a' is one of the features"), target="a", options={"feature_names": ["a"]}, only=NAMED
    ),
    "a dropped column that is not there": Case(
        AB, option("no column 'c' for drop"), options={"drop": ["c"]}, only=NAMED
    ),
    "a dropped target": Case(AB, option("'y' is one of the columns to drop"), options={"drop": ["y"]}, only=NAMED),
    "all dropped": Case(AB, Refused(("a feature besides the target",)), options={"drop": ["a", "b"]}, only=NAMED),
    "no such categories": Case(AB, option("no column 'c' for categorical"), options={"categorical": ["c"]}, only=NAMED),
    "too few columns": Case(
        {"a": [1.5, 2], "y": [0, 1]},
        Refused(("expected 2 feature columns, got 1",)),
        options={"feature_names": ["a", "b"]},
        only=("arrays",),
    ),
    "too many columns": Case(
        {"a": [1.5, 2], "b": [None, 2], "y": [0, 1]},
        Refused(("expected 1 feature columns, got 2",)),
        options={"feature_names": ["a"]},
        only=("arrays",),
    ),
    "drop in an array": Case(
        AB, option("drop and categorical name columns"), options={"drop": ["a"]}, only=("arrays",)
    ),
}
