"""Digits as float64, many at once: the bits of float(), or left to it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainrule.tables.text.digits import FRONT, LARGEST_POWER, pad, products, quotients, read_decimals

DIGITS = st.text("0123456789", max_size=26)
NUMBERS = st.one_of(
    st.tuples(DIGITS, st.sampled_from(["", "."]), DIGITS).map("".join),
    st.floats(allow_nan=False, allow_infinity=False, min_value=0).map(lambda x: f"{x:.17f}"[:40]),
    st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e9).map(repr),
    st.text("0123456789.,-+e \x80", max_size=20),
)


def read(texts, negative=False):
    """The numbers of these texts without commas, and which are odd."""
    text = ",".join(texts).encode("latin-1") + b","
    characters, words = pad(text)
    ends = np.flatnonzero(characters == ord(","))
    starts = np.concatenate([[FRONT], ends[:-1] + 1])
    points = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        at = text.rfind(b".", start - FRONT, end - FRONT)
        points.append(end if at < 0 else at + FRONT)
    decimals = read_decimals(words, starts, np.array(points), ends)
    return quotients(decimals, np.full(len(texts), negative)), decimals.odd


@given(texts=st.lists(NUMBERS.map(lambda text: text.replace(",", "")), min_size=1, max_size=9), negative=st.booleans())
@example(
    texts=["9007199254740993", "9007199254740992.5", "18000000000000000000", "18446744073709551615"], negative=False
)
@example(texts=["0." + "0" * 21 + "7", "0.0000000000000000000001", "1e5", "", "."], negative=True)
def test_digits_have_the_bits_of_float_or_are_left_to_it(texts, negative):
    values, odd = read(texts, negative)
    for text, value, is_odd in zip(texts, values.tolist(), odd.tolist(), strict=True):
        is_number = re.fullmatch(r"(\d+(\.\d*)?|\.\d+)", text, re.ASCII)
        if not is_odd:
            assert is_number
            assert repr(value) == repr(float("-" * negative + text))
        elif is_number and len(text) <= 15:  # fewer than 2^53
            pytest.fail(f"{text} is left to float")


@pytest.mark.parametrize("form", [repr, "{:.6f}".format, "{:.15f}".format, "{:.17g}".format])
def test_few_ordinary_numbers_are_left_to_float(form):
    numbers = np.random.default_rng(0).random(20_000) + 0.001
    texts = [form(number) for number in numbers.tolist()]
    values, odd = read(texts)
    assert odd.mean() < 1e-3
    assert values[~odd].tolist() == [
        float(text) for text, is_odd in zip(texts, odd.tolist(), strict=True) if not is_odd
    ]


def test_products_with_powers_of_ten_have_the_bits_of_float_or_are_uncertain():
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 18 * 10**18, 20_000, np.uint64) // 10 ** rng.integers(0, 19, 20_000).astype(np.uint64)
    powers = rng.integers(-LARGEST_POWER - 5, LARGEST_POWER + 6, 20_000)
    values, uncertain = products(digits, powers)
    assert uncertain[np.abs(powers) > LARGEST_POWER].all()
    assert uncertain[np.abs(powers) <= LARGEST_POWER].mean() < 1e-3
    exact = [float(f"{digit}e{power}") for digit, power in zip(digits.tolist(), powers.tolist(), strict=True)]
    assert values[~uncertain].tolist() == np.array(exact)[~uncertain].tolist()


def test_a_number_between_two_neighbours_is_uncertain():
    """2^53 + 1 lies in the middle, and so does half of it: which neighbour is even decides."""
    _, uncertain = products(np.array([2**53 + 1, 2**53 + 3, 2**53 + 2], np.uint64), np.zeros(3, np.int64))
    assert uncertain.tolist() == [True, True, False]
