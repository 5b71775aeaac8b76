"""The sum at the end of a residual connection: ``residual.cu``."""

from __future__ import annotations

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.strips import THREADS, are_aligned, are_alike


@with_fallback
def add(be: Launcher, a: Array, b: Array, *, out: Array) -> None:
    arrays = (a, b, out)
    if not (are_alike(*arrays) and all(array.flags.c_contiguous for array in arrays)):
        raise NotFusedError(f"a sum of {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    wide = ACCESS // out.dtype.itemsize
    packs = out.size // wide if are_aligned(*arrays) else 0
    blocks = -(-max(packs, out.size - packs * wide) // THREADS)
    be.launch(
        "add",
        VARIANT_OF[out.dtype],
        (min(blocks, 8 * be.multiprocessors),),
        (THREADS,),
        a=a,
        b=b,
        out=out,
        packs=packs,
        count=out.size,
    )
