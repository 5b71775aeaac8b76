"""Decimal numbers in text as float64, many at once: eight digits are one word, and the bits are those of ``float``.

Digits of at most 2^53 over a power of ten of at most 10^22 are a quotient of two numbers that float64 has, which one
division rounds correctly (Clinger 1990, "How to read floating point numbers accurately"). All others are products in
twice the precision of float64 (Dekker 1971, "A floating-point technique for extending the available precision"); where
its error could decide the last bit, the number is left to ``float``.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

WORD, BYTE = 8, np.uint64(8)  # digits, and bytes; bits
FRONT = 4 * WORD  # bytes before a text: three words are read before any of its ends
MOST_BYTES = 3 * WORD  # of a number without its sign
ZEROS = np.uint64(0x3030303030303030)  # eight characters "0"
ABOVE_NINE = np.uint64(0x7676767676767676)  # added to a byte above 9 it sets the highest bit
HIGHEST_BITS = np.uint64(0x8080808080808080)
LAST_BYTES = np.array([(2**64 - 1) ^ (2 ** (64 - 8 * n) - 1) for n in range(WORD + 1)], np.uint64)
PAIRS = [(8, 10, 0x00FF00FF00FF00FF), (16, 100, 0x0000FFFF0000FFFF), (32, 10_000, 0x00000000FFFFFFFF)]
ALL_BYTES = LAST_BYTES[WORD]  # by the distance of the decimal sign: what stands behind it, and before it
BEHIND_POINT = np.array([ALL_BYTES, *LAST_BYTES[:WORD], ALL_BYTES], np.uint64)
BEFORE_POINT = np.array([0, *~LAST_BYTES[1:], 0], np.uint64)
POWERS = 10 ** np.arange(2 * WORD + 1, dtype=np.uint64)
MOST_OF_64_BITS = 1000  # times 10^16
DIVISORS = np.concatenate([10.0 ** np.arange(23), -(10.0 ** np.arange(23))])  # exact, and for numbers below 0
MOST_PLACES = 22
LARGEST_EXACT = np.uint64(2**53)
LARGEST_POWER = 250  # of ten: the parts of a product stay within the range of float64
SPLIT = 2.0**27 + 1
UNCERTAINTY = 2.0**-95  # of a product, relative to it: a hundred times the error of its parts


class Decimals(NamedTuple):
    """The numbers ``digits / 10**places``; what is ``odd`` is none, or has too many digits, and is 0 here."""

    digits: np.ndarray
    places: np.ndarray
    odd: np.ndarray


def pad(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a text behind FRONT bytes of 0, and the same memory as words."""
    padded = np.empty((FRONT + len(text)) // WORD * WORD + 2 * WORD, np.uint8)
    padded[:FRONT] = 0
    padded[FRONT : FRONT + len(text)] = np.frombuffer(text, np.uint8)
    padded[FRONT + len(text) :] = 0
    return padded, padded.view("<u8")


def word_before(words: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The eight bytes before each of these positions, the last of them in the highest bits."""
    at, bits = ends >> 3, (ends & 7).view(np.uint64) << np.uint64(3)
    word: np.ndarray = words[at]
    word <<= np.uint64(64) - bits  # by 64: 0
    at -= 1
    word |= words[at] >> bits
    return word


def read_decimals(words: np.ndarray, starts: np.ndarray, points: np.ndarray, ends: np.ndarray) -> Decimals:
    """The numbers without signs from ``starts`` to ``ends``, with decimal signs at ``points``; at ``ends`` if none."""
    lengths, behind = ends - starts, ends - points  # the decimal sign included in both
    has_points = bool(behind.any())
    digits, wrong = _read_eight(words, ends, lengths, behind if has_points else None)
    longest = lengths.max(initial=0)
    for done in (WORD, 2 * WORD):
        if longest <= done:
            break
        longer = np.flatnonzero(lengths > done)
        which = longer if 2 * len(longer) < len(lengths) else slice(None)  # to choose most of them takes longer
        before = behind[which]
        more, wrong_too = _read_eight(
            words, ends[which] - done, lengths[which] - done, before - done if has_points else None
        )
        if done > WORD:  # more than 19 digits are read if the first ones are zeros
            wrong_too[(more > MOST_OF_64_BITS) | (lengths[which] > MOST_BYTES)] = HIGHEST_BITS
        more *= POWERS.take(done - ((before > 0) & (before <= done)))
        digits[which] += more
        wrong[which] |= wrong_too
    wrong &= HIGHEST_BITS
    odd = wrong != 0
    odd |= lengths == (behind > 0)  # no digit
    if odd.any():
        digits[odd] = 0
    behind -= 1
    return Decimals(digits, np.maximum(behind, 0, out=behind), odd)


def quotients(decimals: Decimals, negative: np.ndarray) -> np.ndarray:
    """The numbers with their signs; further ones become ``odd``, if ``float`` must decide their last bit.

    ``negative`` : (n,) int64, 1 for a number below 0
    """
    digits, places, odd = decimals
    values: np.ndarray = digits.view(np.int64).astype(np.float64)
    values /= DIVISORS.take(places + negative * (MOST_PLACES + 1), mode="clip")
    inexact = digits > LARGEST_EXACT
    inexact |= places > MOST_PLACES
    if inexact.any():
        which = np.flatnonzero(inexact)
        values[which], uncertain = products(digits[which], -places[which])
        values[which] *= 1 - 2 * negative[which]
        odd[which] |= uncertain
    return values


def products(digits: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``digits * 10**powers``, and of which of them this is not certain to be the nearest float64."""
    high_powers, low_powers = _powers_of_ten()
    at = powers + LARGEST_POWER
    tens, rests = high_powers.take(at, mode="clip"), low_powers.take(at, mode="clip")
    high = digits.astype(np.float64)
    low = (digits - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    product = high * tens
    rest = _error_of_product(high, tens, product) + (high * rests + low * tens)
    margin = product * UNCERTAINTY
    upper = product + (rest + margin)
    return upper, (upper != product + (rest - margin)) | (np.abs(powers) > LARGEST_POWER)


def _read_eight(
    words: np.ndarray, ends: np.ndarray, lengths: np.ndarray, behind: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that the last eight bytes before ``ends`` are, or as many as there are, without a decimal sign.

    ``behind`` : bytes from the decimal sign to the end; none if it is 0 or less, or more than eight
    The second result has a highest bit set where a byte is no digit.
    """
    word = word_before(words, ends)
    word ^= ZEROS
    word &= LAST_BYTES.take(lengths, mode="clip")
    if behind is not None:
        whole = word & BEFORE_POINT.take(behind, mode="clip")
        whole <<= BYTE
        word &= BEHIND_POINT.take(behind, mode="clip")
        word |= whole
    wrong = word + ABOVE_NINE
    wrong |= word
    other = np.empty_like(word)
    for bits, power, mask in PAIRS:  # neighbours become one number: of 2, then of 4, then of 8 digits
        np.right_shift(word, np.uint64(bits), out=other)
        word *= np.uint64(power)
        word += other
        word &= np.uint64(mask)
    return word, wrong


def _error_of_product(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> np.ndarray:
    """``a * b - product``, exactly."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error: np.ndarray = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return error


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first 26 bits, and the others."""
    scaled = SPLIT * x
    high = scaled - (scaled - x)
    return high, x - high


@cache
def _powers_of_ten() -> tuple[np.ndarray, np.ndarray]:
    """From 10^-LARGEST_POWER to its inverse: the nearest float64, and the float64 nearest to what is left."""
    exact = [Fraction(10) ** power for power in range(-LARGEST_POWER, LARGEST_POWER + 1)]
    high = [float(power) for power in exact]
    low = [float(power - Fraction(nearest)) for power, nearest in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)
