"""The contract of random numbers: counter-based, so that every device draws the same.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
from typing import Final

from chainrule.backends.contract.arrays import Array

MEMBER_SHIFT: Final = 16  # bits of a counter's last word that are the purpose's; the member's number has those above


class RandomContract(abc.ABC):
    """Numbers from a key and a counter; word e is word e % 4 of the block with counter (e // 4, ...)."""

    @abc.abstractmethod
    def uniform(
        self, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
    ) -> None:
        """out.flat[e] = low + (high - low) * u_e,   u_e = (word e of Philox >> 8) / 2^24 in [0, 1).

        Word e is word e % 4 of Philox4x32-10 with counter (e // 4, *counter) and this key. Computed in float64 with
        one rounding per operation (no fused multiply-add), then rounded to ``out``: the same bits on every device.
        """

    @abc.abstractmethod
    def permutation(self, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
        """out = 0 .. n-1 in the order of (word e of Philox, e), words as in ``uniform``.   out (n,) int64, n < 2^32."""

    @abc.abstractmethod
    def dropout(
        self, x: Array, state: Array, *, key: tuple[int, int], counter: tuple[int, int], rate: float, out: Array
    ) -> None:
        """out_e = x_e / (1 - rate) if word_e >= rate 2^32, else 0.   ``out`` may be ``x``.

        word_e is word e % 4 of Philox4x32-10 with this key and the counter (e // 4, state[STEP],
        counter[0] + 2^16 state[BATCH], counter[1]): the same bits on every device. The backward pass is the same
        call with dy in place of x, so no mask is kept. Member j has counter[1] + 2^16 j in place of counter[1], and e
        counts its own elements.

        Source: Srivastava et al. 2014, section 4, with the factor in training rather than in prediction.
        """
