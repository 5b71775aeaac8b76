"""Docstrings as they are written become reStructuredText that shows what they say: docs/plain_docstrings.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "docs/plain_docstrings.py"
if not SOURCE.is_file():
    pytest.skip("the pages are not beside the tests", allow_module_level=True)
specification = importlib.util.spec_from_file_location("plain_docstrings", SOURCE)
plain = importlib.util.module_from_spec(specification)
specification.loader.exec_module(plain)


def rst(text: str) -> str:
    return "\n".join(plain.as_rst(text.strip("\n").split("\n"))).strip()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a * b is not *stressed*", r"a \* b is not *stressed*"),
        ("classes_ and |x|", r"classes\_ and \|x\|"),
        ("``W_`` stays, `explain x` is a literal", "``W_`` stays, ``explain x`` is a literal"),
        ("see :meth:`Trainer.fit`", "see :meth:`Trainer.fit`"),
        ("``over two\nlines_``", "``over two\nlines_``"),
    ],
)
def test_only_what_is_meant_as_markup_is_markup(written, shown):
    assert rst(written) == shown


def test_an_entry_has_its_description_on_its_line():
    assert rst(
        """
Parameters
----------
beta1, beta2 : in [0, 1)
eps : above 0,
    by default 1e-8

Raises
------
OptionError   if there are
    none
"""
    ).split("\n") == [
        ".. rubric:: Parameters",
        "",
        "``beta1``, ``beta2``",
        "    in [0, 1)",
        "",
        "``eps``",
        "    above 0, by default 1e-8",
        "",
        "",
        ".. rubric:: Raises",
        "",
        "``OptionError``",
        "    if there are none",
    ]


def test_errors_of_one_reason_share_an_entry():
    raised = "Raises\n------\nOptionError   for one,\n    or the other.\nShapeError, DataError   if the rows are wrong."
    assert rst(raised).split("\n") == [
        ".. rubric:: Raises",
        "",
        "``OptionError``",
        "    for one, or the other.",
        "",
        "``ShapeError``, ``DataError``",
        "    if the rows are wrong.",
    ]


@pytest.mark.parametrize("line", ["y = act(x @ W + b)", "out[:, j] = x", "W -= lr g,   g = dW", "l(p) = a + b"])
def test_a_formula_keeps_its_spaces(line):
    assert rst(line) == f".. container:: formula\n\n    | {line}"


def test_a_sentence_with_an_equals_sign_is_no_formula():
    assert rst("Minimises f(W) = loss.") == "Minimises f(W) = loss."


def test_what_lines_up_is_a_table():
    assert rst("relu      max(z, 0)\ntanh      tanh(z)").startswith(".. container:: formula table\n")


def test_examples_and_literal_blocks_stay():
    assert rst(">>> f(a_, *b)  # doctest: +SKIP\n1") == ">>> f(a_, *b)\n1"
    assert rst("So::\n\n    f(a_, *b)") == "So::\n\n    f(a_, *b)"
