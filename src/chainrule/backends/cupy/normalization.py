"""Sums, layer and batch normalisation: ``layer_norm.cu`` and ``batch_norm.cu``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import address
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.layers import ROUNDS, Strips, strips

THREADS: Final = 256
WARP: Final = 32
LONG: Final = 8 * WARP  # accesses a row from which on a whole block works on it


class Normalization(Launcher):
    """The part of the contract that adds and normalises."""

    def add(self, a: Array, b: Array, *, out: Array) -> None:
        arrays = (a, b, out)
        if not (_are_stored(*arrays) and all(array.flags.c_contiguous for array in arrays)):
            self._refuse_in_record(f"a sum of {a.dtype} {a.shape} and {b.dtype} {b.shape}")
            super().add(a, b, out=out)
            return
        wide = ACCESS // out.dtype.itemsize
        packs = out.size // wide if _are_aligned(*arrays) else 0
        blocks = -(-max(packs, out.size - packs * wide) // THREADS)
        self._launch(
            "add",
            VARIANT_OF[out.dtype],
            (min(blocks, 8 * self.multiprocessors),),
            (THREADS,),
            a=a,
            b=b,
            out=out,
            packs=packs,
            count=out.size,
        )

    # ---- layer normalisation: rows --------------------------------------------------------------

    def layer_norm(
        self, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
    ) -> None:
        if not _are_matrices(x, y):
            self._refuse_in_record(f"layer_norm of {x.dtype} {x.shape}")
            super().layer_norm(x, gain, bias, eps=eps, mean=mean, inverse_std=inverse_std, y=y)
            return
        self._by_rows(
            "layer_norm",
            x,
            y,
            others=(gain, bias),
            gain=gain,
            bias=bias,
            x=x,
            eps=eps,
            mean=mean,
            inverse_std=inverse_std,
            y=y,
        )

    def layer_norm_backward(
        self,
        dy: Array,
        x: Array,
        gain: Array,
        mean: Array,
        inverse_std: Array,
        *,
        dx: Array | None,
        dgain: Array,
        dbias: Array,
    ) -> None:
        if not _are_matrices(dy, x, *([] if dx is None else [dx])):
            self._refuse_in_record(f"the way back through layer_norm of {dy.dtype} {dy.shape}")
            super().layer_norm_backward(dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
            return
        over = strips(dy, x)
        splits = self._column_splits(len(dy), over)
        self._by_columns(  # before dx, which may overwrite dy
            "layer_norm_parameter_gradients",
            dy,
            over,
            splits,
            dy=dy,
            x=x,
            mean=mean,
            inverse_std=inverse_std,
            dgain=dgain,
            dbias=dbias,
            **self._partials(dgain, over, splits),
        )
        if dx is not None:
            self._by_rows(
                "layer_norm_input_gradient",
                dy,
                x,
                dx,
                others=(gain,),
                gain=gain,
                dy=dy,
                x=x,
                mean=mean,
                inverse_std=inverse_std,
                dx=dx,
            )

    # ---- batch normalisation: columns -----------------------------------------------------------

    def batch_norm(
        self,
        x: Array,
        gain: Array,
        bias: Array,
        state: Array,
        *,
        eps: float,
        momentum: float,
        mean: Array,
        inverse_std: Array,
        running_mean: Array,
        running_var: Array,
        y: Array,
    ) -> None:
        if not _are_matrices(x, y):
            self._refuse_in_record(f"batch_norm of {x.dtype} {x.shape}")
            super().batch_norm(
                x,
                gain,
                bias,
                state,
                eps=eps,
                momentum=momentum,
                mean=mean,
                inverse_std=inverse_std,
                running_mean=running_mean,
                running_var=running_var,
                y=y,
            )
            return
        over = strips(x, y, gain, bias, mean, inverse_std)
        splits = self._column_splits(len(x), over)
        self._by_columns(
            "batch_norm",
            x,
            over,
            splits,
            x=x,
            gain=gain,
            bias=bias,
            state=state,
            eps=eps,
            momentum=momentum,
            mean=mean,
            inverse_std=inverse_std,
            running_mean=running_mean,
            running_var=running_var,
            y=y,
            **self._partials(mean, over, splits),
        )
        if splits > 1:
            self._normalize_columns(x, gain, bias, mean, inverse_std, y, inverts=False, eps=0.0)

    def batch_norm_inference(
        self, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
    ) -> None:
        if not _are_matrices(x, y):
            self._refuse_in_record(f"batch_norm_inference of {x.dtype} {x.shape}")
            super().batch_norm_inference(x, gain, bias, mean, var, eps=eps, y=y)
            return
        self._normalize_columns(x, gain, bias, mean, var, y, inverts=True, eps=eps)

    def _normalize_columns(
        self, x: Array, gain: Array, bias: Array, mean: Array, spread: Array, y: Array, *, inverts: bool, eps: float
    ) -> None:
        over = strips(x, y, gain, bias, mean, spread)
        self._by_columns(
            "normalize_columns",
            x,
            over,
            self._element_splits(len(x), over),
            x=x,
            mean=mean,
            spread=spread,
            inverts=inverts,
            eps=eps,
            gain=gain,
            bias=bias,
            y=y,
        )

    def batch_norm_backward(
        self,
        dy: Array,
        x: Array,
        gain: Array,
        mean: Array,
        inverse_std: Array,
        *,
        dx: Array | None,
        dgain: Array,
        dbias: Array,
    ) -> None:
        stored = (dy, x) if dx is None else (dy, x, dx)
        if not _are_matrices(*stored):
            self._refuse_in_record(f"the way back through batch_norm of {dy.dtype} {dy.shape}")
            super().batch_norm_backward(dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
            return
        over = strips(*stored, gain, mean, inverse_std, dgain, dbias)
        splits = self._column_splits(len(dy), over)
        given = {"dy": dy, "x": x, "gain": gain, "mean": mean, "inverse_std": inverse_std}
        self._by_columns(
            "batch_norm_backward",
            dy,
            over,
            splits,
            **given,
            dx=dx,
            dgain=dgain,
            dbias=dbias,
            **self._partials(dgain, over, splits),
        )
        if splits > 1 and dx is not None:
            self._by_columns(
                "batch_norm_input_gradient",
                dy,
                over,
                self._element_splits(len(dy), over),
                **given,
                dgain=dgain,
                dbias=dbias,
                dx=dx,
            )

    # ---- how the work is laid out ---------------------------------------------------------------

    def _by_columns(self, kernel: str, matrix: Array, over: Strips, splits: int, **arguments: Any) -> None:
        """Launch a kernel that works on strips of ``matrix``."""
        rows, columns = matrix.shape
        self._launch(
            kernel,
            VARIANT_OF[matrix.dtype],
            (over.number, splits),
            (THREADS,),
            rows=rows,
            columns=columns,
            lanes=over.lanes,
            vector=over.vector,
            **arguments,
        )

    def _column_splits(self, rows: int, over: Strips) -> int:
        """Blocks that share the rows of a strip to add them up; one where that is soon done, as for activations."""
        rounds = -(-rows // (over.height * (4 if over.vector else 8)))
        return 1 if rounds <= ROUNDS else min(rounds, max(1, 2 * self.multiprocessors // over.number))

    def _element_splits(self, rows: int, over: Strips) -> int:
        """The same where nothing is added up."""
        return min(-(-rows // over.height), max(1, 8 * self.multiprocessors // over.number))

    def _partials(self, like: Array, over: Strips, splits: int) -> dict[str, Array | None]:
        """The memory for two sums of a strip by several blocks."""
        if splits == 1:
            return {"partials": None, "tickets": None}
        return {
            "partials": self._scratch((2, splits, *like.shape), like.dtype, use="two sums of strips"),
            "tickets": self._zeroed_scratch((over.number,), np.uint32, use="tickets of normalised strips"),
        }

    def _by_rows(self, kernel: str, *matrices: Array, others: tuple[Array, ...], **arguments: Any) -> None:
        """Launch a kernel that works on whole rows of ``matrices``.

        Two accesses a thread until a warp is full; a long row has a block.
        """
        rows, columns = matrices[0].shape
        wide = ACCESS // matrices[0].dtype.itemsize
        vector = columns % wide == 0 and _are_aligned(*matrices, *others)
        pieces = columns // wide if vector else columns
        group = THREADS if pieces > LONG else min(WARP, 1 << ((pieces - 1) // 2).bit_length())
        blocks = min(-(-rows * group // THREADS), 8 * self.multiprocessors)
        self._launch(
            kernel,
            VARIANT_OF[matrices[0].dtype],
            (blocks,),
            (THREADS,),
            rows=rows,
            columns=columns,
            group=group,
            vector=vector,
            **arguments,
        )


def _are_aligned(*arrays: Array) -> bool:
    return all(address(array) % ACCESS == 0 for array in arrays)


def _are_stored(*arrays: Array) -> bool:
    """Whether these have one shape and one dtype that the kernels know, and are not empty."""
    first = arrays[0]
    return (
        first.dtype in VARIANT_OF
        and first.size > 0
        and all(array.dtype == first.dtype and array.shape == first.shape for array in arrays)
    )


def _are_matrices(*arrays: Array) -> bool:
    return arrays[0].ndim == 2 and _are_stored(*arrays)
