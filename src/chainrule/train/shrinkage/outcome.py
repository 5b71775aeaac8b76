"""What shrinkage did to a net."""

from __future__ import annotations

from typing import NamedTuple

MEANING = "(1: as trained, 0: best constant prediction)"  # of a factor


class Shrinkage(NamedTuple):
    """By how much the predictions of a net were shrunk, and its validation loss afterwards."""

    factor: float  # 1: as it was trained; 0: the best constant prediction
    valid_loss: float  # of the validation rows, afterwards
    spread_factor: float | None = None  # of variances or gaps between quantiles; None for losses without
    widened: float = 1.0  # what standard deviations of gaussian_nll were multiplied by besides

    @property
    def changed(self) -> bool:
        """Whether the net differs from the one that was trained."""
        return self.factor < 1 or (self.spread_factor is not None and self.spread_factor < 1) or self.widened != 1

    @property
    def factors(self) -> str:
        """The factors in words."""
        text = f"factor {self.factor:g}"
        if self.spread_factor is not None:
            text += f", of spreads {self.spread_factor:g}"
        return text if self.widened == 1 else f"{text} (then {self.widened:.3g} times as wide)"

    def __str__(self) -> str:
        return f"{self.factors} {MEANING}"
