"""Random numbers from counters: ``random.cu``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chainrule.backends.base import Array
from chainrule.backends.cupy.launcher import Launcher

THREADS: Final = 256
WORDS: Final = 4  # a block of Philox, which one thread computes
BLOCKS_PER_MULTIPROCESSOR: Final = 8

_VARIANTS: Final[dict[np.dtype, str]] = {np.dtype(name): name for name in ("float32", "float64")}


class RandomNumbers(Launcher):
    """The part of the contract that draws random numbers."""

    def _random(
        self, kernel: str, variant: str, size: int, key: tuple[int, int], counter: tuple[int, int, int],
        **arguments: Any,
    ) -> None:  # fmt: skip
        blocks = -(-size // (THREADS * WORDS))
        self._launch(
            kernel, variant, (max(1, min(blocks, BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)),), (THREADS,),
            size=size, key0=key[0], key1=key[1], counter1=counter[0], counter2=counter[1], counter3=counter[2],
            **arguments,
        )  # fmt: skip

    def uniform(
        self, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
    ) -> None:
        variant = _VARIANTS.get(out.dtype)
        if variant is None or not out.flags.c_contiguous:
            self._refuse_in_record(f"uniform of {out.dtype}")
            super().uniform(key, counter, low=low, high=high, out=out)
            return
        self._random("uniform", variant, out.size, key, counter, out=out, low=low, span=high - low)

    def permutation(self, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
        self._refuse_in_record("permutation")  # the sort is the array library's
        tagged = self.empty(out.shape, np.uint64)
        self._random("permutation", "float32", out.size, key, counter, tagged=tagged)
        tagged.sort()
        self.xp.bitwise_and(tagged, self.xp.uint64(0xFFFFFFFF), out=tagged)
        out[...] = tagged
