"""Which rows each member of an ensemble leaves out: blocks of rows, each left out by a few members.

Of B blocks of equal weight (16; below 1,000 rows 8 of a regression, 4 of classes) member i of k leaves out block
i mod g, g = k / 2, rounded down: every block that is left out has two members or more that never see it, so that the
mean of these *pairs* can be judged, and how much they differ says what a larger ensemble would gain. Of two or three
members each leaves out a block of its own (g = k), one member leaves out none. With k of 2 B and more every block is
left out.

**With statistics of the target** of training rows, which are to be by rows that no member leaves out, half of the
blocks are left out at most. Below 1,000 rows there are 16 then, of classes 8.

What must not be separated is one *unit* and lies in one block: copies of a row, and the rows of a group. Classes are
dealt evenly over the blocks. If all rows of a class lie in one block, their units are left out by no member.

**Time.** A net must not be judged on rows earlier than those that it was trained on. So with ``times`` all members
leave out the same block, the latest rows. Blocks further back would cost their members all that is later too: with
g = 4 a quarter of the rows, the newest ones, for one net in four.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.random import Purpose, stream

BLOCKS, FEW_BLOCKS, FEW_BLOCKS_OF_CLASSES = 16, 8, 4
FEW_ROWS = 1000  # below which there are few blocks
MOST_LATEST = 0.25  # of the rows: if more have the latest time, nothing is left out
FEWEST_UNITS = 3  # below which nothing is left out: of two rows, each member would see one


class RowBlocks(NamedTuple):
    """Blocks of rows, and who leaves out which.

    Parameters
    ----------
    block : (n,) int64, the block of each row, from 0
    mask : (k, n) bool, whether member j never sees row i
    """

    block: np.ndarray
    mask: np.ndarray


def leave_out_blocks(
    n: int,
    members: int,
    *,
    seed: int = 0,
    classes: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    copies: np.ndarray | None = None,
    times: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    has_statistics: bool = False,
) -> RowBlocks:
    """Blocks of ``n`` rows for an ensemble; the same for the same seed, in any order of the calls.

    Parameters
    ----------
    seed : of the ensemble; ignored with ``times``
    classes : (n,) int codes, for an even share of each class in every block
    groups, copies : (n,) int codes, each the same for rows that belong together: see ``number_copies`` for the latter
    times : (n,) numbers in the order of time; rows of one time lie in one block. Classes, groups, copies and weights
        are then ignored
    weights : (n,), from 0 up; blocks have equal weight as nearly as possible. None for all ones
    has_statistics : whether there are statistics of the target by rows that no member leaves out
    """
    if times is not None:
        return _latest(times, BLOCKS if n >= FEW_ROWS else FEW_BLOCKS, members)
    few = (FEW_BLOCKS, FEW_BLOCKS_OF_CLASSES) if not has_statistics else (BLOCKS, FEW_BLOCKS)
    count = BLOCKS if n >= FEW_ROWS else few[classes is not None]
    unit = np.arange(n) if groups is None and copies is None else together(n, groups, copies)
    units = int(unit.max(initial=-1)) + 1
    count = max(1, min(count, units))
    weights = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    kind = np.zeros(n, np.int64) if classes is None else np.unique(classes, return_inverse=True)[1].reshape(-1)
    deal = _in_turn if groups is None else _evenly
    of_unit = deal(unit, kind, weights, count, _permutation(units, seed, 0))
    block = _permutation(count, seed, 1)[of_unit[unit]]  # else the first blocks would have the heaviest units
    if members == 1 or units < FEWEST_UNITS:
        return RowBlocks(block, np.zeros((members, n), bool))
    left_out = np.arange(members) % members_apart(members, count // 2 if has_statistics else count)
    stays = _alone(block, unit, kind, weights) if classes is not None else np.zeros(n, bool)
    return RowBlocks(block, (block == left_out[:, None]) & ~stays)


def members_apart(members: int, blocks: int) -> int:
    """g: how many blocks are left out by members of their own."""
    return min(members if members < 4 else members // 2, blocks)


def together(n: int, *codes: np.ndarray | None) -> np.ndarray:
    """(n,) a number for each row, from 0, the same for rows that are linked by any of the codes, also by way of
    others."""
    known = [np.unique(code, return_inverse=True)[1].reshape(-1) for code in codes if code is not None]
    if len(known) == 1:
        return known[0]  # in the order of the codes, whatever that of the rows
    unit, before = np.arange(n), None
    while before is None or (unit != before).any():
        before = unit
        for code in known:
            first = np.full(int(code.max(initial=-1)) + 1, n)
            np.minimum.at(first, code, unit)
            unit = first[code]
    return np.unique(unit, return_inverse=True)[1].reshape(-1)


def _in_turn(unit: np.ndarray, kind: np.ndarray, weights: np.ndarray, count: int, order: np.ndarray) -> np.ndarray:
    """The block of each unit, whose rows are of one class: class by class, the heaviest first, there and back if
    weights differ."""
    _, first = np.unique(unit, return_index=True)
    kind, weights = kind[first], np.bincount(unit, weights)
    in_order = order[np.lexsort((-weights[order], kind[order]))]
    turn, place = np.divmod(np.arange(len(order)), count)
    of_unit = np.empty(len(order), np.int64)
    of_unit[in_order] = np.where((turn % 2 == 1) & (np.ptp(weights) > 0), count - 1 - place, place)
    return of_unit


def _evenly(unit: np.ndarray, kind: np.ndarray, weights: np.ndarray, count: int, order: np.ndarray) -> np.ndarray:
    """The block of each unit, whose rows may be of several classes: the heaviest first, each to the block with least of
    its classes, all classes counting alike."""
    kinds = int(kind.max(initial=-1)) + 1
    shares = np.bincount(unit * kinds + kind, weights, len(order) * kinds).reshape(len(order), kinds)
    shares = shares / np.maximum(shares.sum(axis=0), np.finfo(np.float64).tiny)
    held, of_unit = np.zeros((count, shares.shape[1])), np.empty(len(shares), np.int64)
    for one in order[np.argsort(-shares[order].sum(axis=1), kind="stable")]:
        of_unit[one] = int(np.lexsort((held.sum(axis=1), held @ shares[one]))[0])
        held[of_unit[one]] += shares[one]
    return of_unit


def _alone(block: np.ndarray, unit: np.ndarray, kind: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) bool: the rows of units with a class of which all rows of weight above 0 lie in one block."""
    counted = weights > 0
    kinds = int(kind.max(initial=-1)) + 1
    lowest, highest = np.full(kinds, len(unit)), np.full(kinds, -1)
    np.minimum.at(lowest, kind[counted], block[counted])
    np.maximum.at(highest, kind[counted], block[counted])
    return np.isin(unit, unit[(lowest == highest)[kind]])


def _latest(times: np.ndarray, count: int, members: int) -> RowBlocks:
    """All members leave out the latest n / B rows, and whatever has the time of the first of them."""
    n = len(times)
    moment = np.unique(times, return_inverse=True)[1].reshape(-1)
    rows = np.cumsum(np.bincount(moment))
    of_moment = (rows - 1) * count // max(n, 1)
    block = np.unique(of_moment[moment], return_inverse=True)[1].reshape(-1)
    latest = block == block.max(initial=0)
    possible = members > 1 and len(rows) >= FEWEST_UNITS and latest.mean() <= MOST_LATEST
    return RowBlocks(block, np.tile(latest & possible, (members, 1)))


def _permutation(n: int, seed: int, index: int) -> np.ndarray:
    order = np.empty(n, np.int64)
    if n:
        backend("cpu").permutation(*stream(seed, Purpose.BLOCKS, index=index), out=order)
    return order
