"""Copies of rows: a row of weight 2 and a row that occurs twice are to have the same effect."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

import numpy as np

MANY = 16_384  # rows, from which on rows are compared by a hash, and numbered in their own order if all differ
NARROW = 64  # columns, up to which all rows are hashed at once, column by column
MOST_COPIES, FEW_VALUES = 4, 12  # per row, on average; of a column of numbers, in a table of few different rows
BY_CHANCE = 0.25  # of the equal features that would have different targets if these were dealt at random


def number_copies(
    X: np.ndarray | Sequence[np.ndarray], y: np.ndarray, *, names: Collection[int] = ()
) -> tuple[np.ndarray, int]:
    """(n,) a number for each row, the same for copies of one row, and how many different ones there are.

    The numbers follow the order of the values, so that they depend neither on the order of the rows nor on the unit of
    a column; but not from 16,384 rows on. Equal rows do not count as copies if the table consists of them: if few
    different rows occur again and again (some columns of yes or no), or equal features often have different targets, a
    new row will be like one of them, and each of them counts. Not so if a column has more than 12 values, for then a
    new row has others: a table that was repeated five times has copies. Often is a quarter as often as by chance, or
    more: one target that was mended in a table of copies does not make them rows of their own.

    Parameters
    ----------
    X, y : (n, d) numbers, or d columns of them, and (n,) or (n, k)
    names : columns of X whose numbers are names, however many there are
    """
    n, targets = len(y), np.ascontiguousarray(y.reshape(len(y), -1), np.float64)
    columns, is_long = list(X.T) if isinstance(X, np.ndarray) else X, len(y) >= MANY
    if is_long:
        features = _hashed(columns, np.zeros(n, np.uint64))
        number, different = _ranked(_hashed(targets.T, features))
    else:
        features = np.column_stack([*(np.asarray(column, np.float64) for column in columns), np.empty((n, 0))])
        number, different = _ranked(np.column_stack([features, targets]))
    has_copies = different < n and (
        different == 1
        or not (
            (different * MOST_COPIES < n and _has_few_values(columns, names))
            or _differ_by_chance(_ranked(features)[0], _ranked(targets)[0], number)
        )
    )
    if has_copies:
        return number, different
    return np.arange(n) if is_long else np.argsort(np.argsort(number, kind="stable"), kind="stable"), n


def number_rows(values: np.ndarray) -> np.ndarray:
    """(n,) int64: a number for each row of (n, k) numbers, the same for equal ones; from 0 up, as they first occur.

    In one pass, without a copy of all rows: many classes have many columns.
    """
    if values.shape[1] <= NARROW:
        hashes = _hashed(values.T, np.zeros(len(values), np.uint64))
        _, first, number = np.unique(hashes, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[number]
    found, numbers = np.empty(len(values), np.int64), dict[bytes, int]()
    for i, row in enumerate(values):
        digest = hashlib.blake2b((row + 0).tobytes(), digest_size=16).digest()  # -0.0 is 0.0
        found[i] = numbers.setdefault(digest, len(numbers))
    return found


def _hashed(columns: Iterable[np.ndarray], seed: np.ndarray) -> np.ndarray:
    """(n,) uint64 of each row's values behind ``seed``; of 10^6 different rows two are equal once in 10^7 tables."""
    found = seed.copy()
    for column in columns:
        bits = (np.asarray(column, np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
        found = (found ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(32)
        found *= np.uint64(0xD6E8FEB86659FD93)
        found ^= found >> np.uint64(29)
    return found


def _has_few_values(columns: Sequence[np.ndarray], names: Collection[int]) -> bool:
    numbers = (column for j, column in enumerate(columns) if j not in names)
    return all(len(np.unique(column)) <= FEW_VALUES for column in numbers)


def _differ_by_chance(of_features: np.ndarray, of_targets: np.ndarray, number: np.ndarray) -> bool:
    """Whether rows of equal features have targets as if each was drawn for itself.

    Of m rows with shares p_t of the target t in the table, all have the same by chance with probability sum_t(p_t^m).
    """
    sizes = np.bincount(of_features)
    lowest, highest = np.full(len(sizes), len(number)), np.full(len(sizes), -1)
    np.minimum.at(lowest, of_features, number)
    np.maximum.at(highest, of_features, number)
    found = np.count_nonzero(lowest < highest)
    shares = np.bincount(of_targets) / len(of_targets)
    sizes, times = np.unique(sizes, return_counts=True)
    expected = sum(many * (1 - float((shares**m).sum())) for m, many in zip(sizes, times, strict=True))
    return bool(found) and found >= BY_CHANCE * expected


def _ranked(table: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) the rank of each row among the different ones, and how many of these there are."""
    different, number = np.unique(table, axis=0, return_inverse=True)
    return number.reshape(-1), len(different)
