"""From the outputs of the members of an ensemble to those of the ensemble: ``ensembles.cu``."""

from __future__ import annotations

from typing import Any

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.losses import REALS, THREADS, loss_blocks, threads_per_row


@with_fallback
def mean_of_members(self: Launcher, logits: Array, kind: MemberMeanName, *, count: int = 1, out: Array) -> None:
    if not (logits.dtype in REALS and out.dtype == logits.dtype and logits.size):
        raise NotFusedError(f"mean_of_members of {logits.dtype} {logits.shape} into {out.dtype}")
    members, rows, columns = logits.shape
    sizes: dict[str, Any] = {"count": out.size}
    if kind == "softmax":
        sizes = {"rows": rows, "columns": columns, "log_sums": _log_sums(self, logits)}
    elif kind == "mean_and_variance":
        sizes = {"rows": rows, "columns": columns // 2}
    elif kind == "quantiles":
        sizes["levels"] = count
    blocks = loss_blocks(self, out.size, THREADS, most=2, sums=False)
    apart = _apart(logits)
    self.launch(
        f"mean_of_{kind}",
        str(logits.dtype),
        (blocks,),
        (THREADS,),
        logits=logits,
        out=out,
        apart=apart,
        members=members,
        **sizes,
    )


def _log_sums(self: Launcher, logits: Array) -> Array:
    """(members, rows, 2): the largest z of each row, and log(sum_j(exp(z_j - largest))); until the next mean."""
    members, rows, columns = logits.shape
    group, blocks = threads_per_row(self, members * rows, columns, sums=False)
    out = self.scratch((members, rows, 2), logits.dtype, use="log sums of members")
    self.launch(
        "log_sums",
        str(logits.dtype),
        (blocks,),
        (THREADS,),
        logits=logits,
        out=out,
        matrices=members,
        rows=rows,
        columns=columns,
        apart=_apart(logits),
        group=group,
    )
    return out


def _apart(logits: Array) -> int:
    """Elements from the logits of one member to those of the next."""
    stride, size = int(logits.strides[0]), int(logits.dtype.itemsize)
    return stride // size
