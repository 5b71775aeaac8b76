"""Layer normalisation: ``layer_normalization.cu``; its sums over columns are in ``batch_normalization_backward.cu``."""

from __future__ import annotations

from typing import Any, Final

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.batch_normalization import sums_across_blocks
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.members import per_member
from chainrule.backends.cupy.strips import (
    THREADS,
    are_aligned,
    are_alike_matrices,
    launch_strips,
    strips,
    sum_splits,
)

WARP: Final = 32
LONG: Final = 8 * WARP  # accesses per row from which on a whole block works on it


@per_member
@with_fallback
def layer_norm(
    self: Launcher, x: Array, gain: Array, bias: Array, *, eps: float, mean: Array, inverse_std: Array, y: Array
) -> None:
    if not are_alike_matrices(x, y):
        raise NotFusedError(f"layer_norm of {x.dtype} {x.shape}")
    others = {"gain": gain, "bias": bias}
    _launch_rows(self, "layer_norm", {"x": x, "y": y}, others, eps=eps, mean=mean, inverse_std=inverse_std)


@per_member
@with_fallback
def layer_norm_backward(
    self: Launcher,
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
    if not are_alike_matrices(dy, x, *([] if dx is None else [dx])):
        raise NotFusedError(f"the backward pass through layer_norm of {dy.dtype} {dy.shape}")
    statistics = {"mean": mean, "inverse_std": inverse_std}
    over = strips(dy, x)
    splits = sum_splits(len(dy), over, self.multiprocessors)
    launch_strips(  # before dx, which may overwrite dy
        self,
        "layer_norm_parameter_gradients",
        dy,
        over,
        splits,
        dy=dy,
        x=x,
        dgain=dgain,
        dbias=dbias,
        **statistics,
        **sums_across_blocks(self, dgain, over, splits),
    )
    if dx is not None:
        _launch_rows(self, "layer_norm_input_gradient", {"dy": dy, "x": x, "dx": dx}, {"gain": gain}, **statistics)


def _launch_rows(
    self: Launcher, kernel: str, matrices: dict[str, Array], others: dict[str, Array], **arguments: Any
) -> None:
    """Launch a kernel that works on whole rows of ``matrices``, with ``others`` of the length of a row.

    Two accesses per thread until a warp is full; a long row has a block.
    """
    first = next(iter(matrices.values()))
    rows, columns = first.shape
    wide = ACCESS // first.dtype.itemsize
    vector = columns % wide == 0 and are_aligned(*matrices.values(), *others.values())
    pieces = columns // wide if vector else columns
    group = THREADS if pieces > LONG else min(WARP, 1 << ((pieces - 1) // 2).bit_length())
    self.launch(
        kernel,
        VARIANT_OF[first.dtype],
        (min(-(-rows * group // THREADS), 8 * self.multiprocessors),),
        (THREADS,),
        rows=rows,
        columns=columns,
        group=group,
        vector=vector,
        **matrices,
        **others,
        **arguments,
    )
