"""How the threads of a kernel lie over a matrix: in strips of columns, and how many blocks share the rows of one."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from chainrule.backends.capture.memory import address
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF

THREADS: Final = 256  # of a block
LINE: Final = 128  # bytes of the cache that are moved together
CACHED: Final = 32 << 20  # bytes: a matrix larger than this comes from memory beyond the cache
ROUNDS: Final = 4  # of loads, one after the other, that take about as long as a sum across blocks


class Strips(NamedTuple):
    """Each thread has its columns, and every so many rows."""

    vector: bool  # 16 bytes per thread and row, else one element
    lanes: int  # threads side by side
    number: int  # blocks side by side
    height: int  # rows that a block works on at once


def strips(matrix: Array, *others: Array) -> Strips:
    """Strips over a matrix and what is read or written beside it; over that of each member if there are several.

    A strip of one cache line gives a small matrix as many blocks as can be. A matrix that is not in the cache is read
    in longer pieces.
    """
    (rows, columns), size = matrix.shape[-2:], matrix.dtype.itemsize
    vector = columns * size % ACCESS == 0 and are_aligned(matrix, *others)
    piece = ACCESS if vector else size
    pieces = columns * size // piece
    widest = min(32 * ACCESS // piece, THREADS) if rows * columns * size > CACHED else LINE // piece
    number = -(-pieces // widest)
    lanes = -(-pieces // number)
    return Strips(vector, lanes, number, THREADS // lanes)


def sum_splits(rows: int, over: Strips, multiprocessors: int) -> int:
    """Blocks that share the rows of a strip to add them up: so many that the device is busy, one if it is soon done."""
    rounds = -(-rows // (over.height * (4 if over.vector else 8)))  # of as many loads as a thread has under way
    # Two blocks fit on a multiprocessor, and their loads under way keep the memory busy.
    return 1 if rounds <= ROUNDS else min(rounds, max(1, 2 * multiprocessors // over.number))


def element_splits(rows: int, over: Strips, multiprocessors: int) -> int:
    """Blocks that share the rows of a strip if nothing is added up."""
    return min(-(-rows // over.height), max(1, 8 * multiprocessors // over.number))


def launch_strips(self: Launcher, kernel: str, matrix: Array, over: Strips, splits: int, **arguments: Any) -> None:
    """Launch a kernel that works on strips of ``matrix``, or of the matrix of each member."""
    rows, columns = matrix.shape[-2:]
    members = () if matrix.ndim == 2 else (len(matrix),)
    self.launch(
        kernel,
        VARIANT_OF[matrix.dtype],
        (over.number, splits, *members),
        (THREADS,),
        rows=rows,
        columns=columns,
        lanes=over.lanes,
        vector=over.vector,
        **arguments,
    )


def are_alike(*arrays: Array) -> bool:
    """Whether these have one shape and one dtype that the kernels know, and are not empty."""
    first = arrays[0]
    return (
        first.dtype in VARIANT_OF
        and first.size > 0
        and all(array.dtype == first.dtype and array.shape == first.shape for array in arrays)
    )


def are_alike_matrices(*arrays: Array) -> bool:
    """The same, on two axes."""
    return arrays[0].ndim == 2 and are_alike(*arrays)


def are_aligned(*arrays: Array) -> bool:
    """Whether all of these start at a multiple of 16 bytes."""
    return all(address(array) % ACCESS == 0 for array in arrays)
