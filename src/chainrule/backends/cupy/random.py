"""Random numbers from counters: ``random.cu``."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.members import ends
from chainrule.backends.cupy.strips import are_aligned
from chainrule.backends.reference.random import counter_of_member, threshold

THREADS: Final = 256
WORDS: Final = 4  # a block of Philox, which one thread computes
BLOCKS_PER_MULTIPROCESSOR: Final = 8

_VARIANTS: Final[dict[np.dtype, str]] = {np.dtype(name): name for name in ("float32", "float64")}


def _launch_random(
    self: Launcher,
    kernel: str,
    variant: str,
    size: int,
    key: tuple[int, int],
    counter: tuple[int, int, int],
    **arguments: Any,
) -> None:
    blocks = -(-size // (THREADS * WORDS))
    self.launch(
        kernel,
        variant,
        (max(1, min(blocks, BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)),),
        (THREADS,),
        size=size,
        key0=key[0],
        key1=key[1],
        counter1=counter[0],
        counter2=counter[1],
        counter3=counter[2],
        **arguments,
    )


@with_fallback
def uniform(
    self: Launcher, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
) -> None:
    variant = _VARIANTS.get(out.dtype)
    if variant is None or not out.flags.c_contiguous:
        raise NotFusedError(f"uniform of {out.dtype}")
    _launch_random(self, "uniform", variant, out.size, key, counter, out=out, low=low, span=high - low)


def permutation(self: Launcher, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
    self.refuse_in_record("permutation")  # the sort is the array library's
    tagged = self.empty(out.shape, np.uint64)
    _launch_random(self, "permutation", "float32", out.size, key, counter, tagged=tagged)
    tagged.sort()
    self.xp.bitwise_and(tagged, self.xp.uint64(0xFFFFFFFF), out=tagged)
    out[...] = tagged


@with_fallback
def dropout(
    self: Launcher, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
) -> None:
    in_order = x.flags.c_contiguous and out.flags.c_contiguous
    if x.ndim == 3 and not in_order:
        for j in range(len(x)):
            dropout(self, x[j], state, key=key, counter=counter_of_member(counter, j), rate=rate, out=out[j])
        return
    if x.dtype not in VARIANT_OF or x.dtype != out.dtype or not (x.size and in_order):
        raise NotFusedError(f"dropout of {x.dtype} {x.shape} into {out.dtype}")
    each = max(WORDS, ACCESS // x.dtype.itemsize)
    size = math.prod(x.shape[-2:])
    packs = size // each if are_aligned(*ends(x, 2), *ends(out, 2)) else 0
    blocks = min(-(-size // (THREADS * each)), BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)
    self.launch(
        "dropout",
        VARIANT_OF[x.dtype],
        (blocks,) if x.ndim < 3 else (blocks, len(x)),
        (THREADS,),
        x=x,
        state=state,
        out=out,
        packs=packs,
        size=size,
        key0=key[0],
        key1=key[1],
        counter0=counter[0],
        counter1=counter[1],
        threshold=threshold(rate),
        factor=1 / (1 - rate),
    )
