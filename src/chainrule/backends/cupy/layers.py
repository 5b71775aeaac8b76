"""Layers: products, activations and the way back through them: ``layers.cu``."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import BF16, ActivationName, Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import address
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF

ACTIVATIONS: Final = {  # the numbers in layers.cu
    "identity": 0, "relu": 1, "tanh": 2, "sigmoid": 3, "leaky_relu": 4, "elu": 5, "selu": 6, "softplus": 7, "gelu": 8,
    "gelu_tanh": 9, "silu": 10, "mish": 11,
}  # fmt: skip

THREADS: Final = 256
LINE: Final = 128  # bytes of the cache that are moved together
CACHED: Final = 32 << 20  # bytes: a matrix larger than this comes from memory beyond the cache
ROUNDS: Final = 4  # of loads, one after the other, that take about as long as a sum across blocks


class Strips(NamedTuple):
    """How the threads of ``layers.cu`` lie over a matrix: each has its columns, and every so many rows."""

    vector: bool  # 16 bytes a thread and row, else one element
    lanes: int  # threads side by side
    number: int  # blocks side by side
    height: int  # rows that a block works on at once


def strips(matrix: Array, *others: Array) -> Strips:
    """Strips over a matrix and what is read or written beside it.

    A strip of one cache line gives a small matrix as many blocks as can be. A matrix that is not in the cache is read
    in longer pieces.
    """
    (rows, columns), size = matrix.shape, matrix.dtype.itemsize
    vector = columns * size % ACCESS == 0 and all(address(array) % ACCESS == 0 for array in (matrix, *others))
    piece = ACCESS if vector else size
    pieces = columns * size // piece
    widest = min(32 * ACCESS // piece, THREADS) if rows * columns * size > CACHED else LINE // piece
    number = -(-pieces // widest)
    lanes = -(-pieces // number)
    return Strips(vector, lanes, number, THREADS // lanes)


class Layers(Launcher):
    """The part of the contract that makes up a layer.

    A matrix product may end with a bias and a ReLU of its own, which saves a pass over the result. Which products can,
    is decided by these two alone:
    """

    # dtypes of results. For float64, which is not there for speed, cublasLt's documentation promises no epilogue.
    bias_in_epilogue = frozenset({np.dtype(np.float32), BF16})
    # Nothing says whether cublasLt's ReLU turns a nan into 0. If it does, a net whose weights are no longer finite may
    # go on with a finite loss, unnoticed, and this has to be False: a launch more for each hidden layer.
    # `test_a_nan_goes_through_a_layer` asks the device.
    relu_in_epilogue = True

    # ---- forward --------------------------------------------------------------------------------

    def matmul(self, a: Array, b: Array, *, out: Array) -> None:
        if _are_matrices(a, b, out):
            self._submit(self._product(a, b, out, None, False))
        else:
            self._refuse_in_record(f"a product {a.shape} @ {b.shape} of {a.dtype}")
            super().matmul(a, b, out=out)

    def activate(self, activation: ActivationName, z: Array, *, out: Array) -> None:
        if z.dtype not in VARIANT_OF or z.dtype != out.dtype or not z.size:
            self._refuse_in_record(f"{activation} of {z.dtype} into {out.dtype}")
            super().activate(activation, z, out=out)
            return
        if activation == "identity" and address(z) == address(out):
            return
        wide = ACCESS // z.dtype.itemsize
        packs = 0 if address(z) % ACCESS or address(out) % ACCESS else z.size // wide
        blocks = -(-max(packs, z.size - packs * wide) // THREADS)
        self._launch(
            "activate",
            VARIANT_OF[z.dtype],
            (min(blocks, 8 * self.multiprocessors),),
            (THREADS,),
            activation=ACTIVATIONS[activation],
            z=z,
            out=out,
            packs=packs,
            count=z.size,
        )

    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        if not _are_matrices(x, W, z, y):
            self._refuse_in_record(f"a layer {x.shape} @ {W.shape} of {x.dtype}")
            super().dense(x, W, b, activation, z=z, y=y)
        elif y.dtype in self.bias_in_epilogue:
            apart = address(z) != address(y)
            relu = activation == "relu" and not apart and self.relu_in_epilogue
            self._submit(self._product(x, W, z, b, relu))
            if not relu:
                self.activate(activation, z, out=y)
        else:
            self._submit(self._product(x, W, y, None, False))
            self._bias_activate(activation, y, b, z=z, y=y)

    def _bias_activate(self, activation: ActivationName, product: Array, b: Array, *, z: Array, y: Array) -> None:
        """z = product + b,   y = act(z).   product, z, y (n, n_out), which may be one memory; b (n_out,)."""
        rows, columns = y.shape
        over = strips(y, product, z, b)
        splits = min(-(-rows // over.height), max(1, 8 * self.multiprocessors // over.number))
        self._launch(
            "bias_activate",
            VARIANT_OF[y.dtype],
            (over.number, splits),
            (THREADS,),
            activation=ACTIVATIONS[activation],
            product=product,
            b=b,
            z=None if address(z) == address(y) else z,
            y=y,
            rows=rows,
            columns=columns,
            lanes=over.lanes,
            vector=over.vector,
        )

    # ---- backward -------------------------------------------------------------------------------

    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        if not _are_matrices(dy, dz):
            self._refuse_in_record(f"the way back through {activation} of {dy.dtype} {dy.shape}")
            super().activation_backward(activation, saved, dy, dz=dz, db=db)
            return
        rows, columns = dy.shape
        is_identity = activation == "identity"
        over = strips(dy, dz, *([] if is_identity else [saved]))
        splits = self._splits(rows, over)
        several = splits > 1
        self._launch(
            "activation_backward",
            VARIANT_OF[dy.dtype],
            (over.number, splits),
            (THREADS,),
            activation=ACTIVATIONS[activation],
            saved=None if is_identity else saved,
            dy=dy,
            dz=None if is_identity and address(dz) == address(dy) else dz,
            db=db,
            partials=self._scratch((splits, columns), db.dtype, use="sums of strips") if several else None,
            tickets=self._zeroed_scratch((over.number,), np.uint32, use="tickets of strips") if several else None,
            rows=rows,
            columns=columns,
            lanes=over.lanes,
            vector=over.vector,
        )

    def _splits(self, rows: int, over: Strips) -> int:
        """Blocks that share the rows of a strip: as many as keep the device busy, and one where that is soon done."""
        rounds = -(-rows // (over.height * (4 if over.vector else 8)))  # of as many loads as a thread has under way
        # Two blocks fit on a multiprocessor, and their loads under way keep the memory busy.
        return 1 if rounds <= ROUNDS else min(rounds, max(1, 2 * self.multiprocessors // over.number))


def _are_matrices(*arrays: Array) -> bool:
    """Whether there is something to do, on two axes and in dtypes that the kernels know."""
    return all(array.ndim == 2 and array.dtype in VARIANT_OF and array.size for array in arrays)
