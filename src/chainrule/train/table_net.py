"""The net that the recipe makes for tables, and what it begins with: see docs/decisions/0035.

From prepared columns x (n, n_in), some of them codes of categories, to outputs::

    [codes -> vectors]  y = [x | f(x)]  z = y W + b,   f: fractions of pieces, a factor per column, two hidden layers

So the outputs are a straight line in x, the rows of W that belong to it, plus what the hidden layers add. The line
begins as the ridge regression of the rows that the member is trained on; what the hidden layers add begins at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends.contract.backend import ActivationName
from chainrule.nn.layers.base import Layer
from chainrule.nn.layers.concatenate import Concatenate
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.initializers import Start
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.layers.scale import Scale
from chainrule.optim.base import ParameterGroup

SCALE_RATE, BIAS_RATE, LINE_RATE = 6.0, 0.1, 0.1  # factors of the learning rate


@dataclass(frozen=True, kw_only=True)
class TableNet:
    """What a net for tables is made of.

    Parameters
    ----------
    hidden : units of the hidden layers
    activation : of these
    dropout : after each of them
    bins : fractions per column of numbers, at most; 0 for none
    has_line : whether the outputs have a straight line in x
    """

    hidden: tuple[int, ...]
    activation: ActivationName = "selu"
    dropout: float = 0.0
    bins: int = 16
    has_line: bool = True

    def layers(
        self,
        n_in: int,
        n_out: int,
        *,
        fan_in: float,
        embedding: Embedding | None = None,
        encoding: PiecewiseLinear | None = None,
    ) -> list[Layer]:
        """The layers for x of ``n_in`` columns, those of vectors included; ``fan_in`` as for :class:`Start`."""
        inner: list[Layer] = [] if encoding is None else [encoding]
        inner.append(Scale())
        for i, width in enumerate(self.hidden):
            # The fractions begin without weights: at first the net sees each number as it is.
            start = Start("lecun", bias_std=1.0, rows=n_in, fan_in=fan_in) if i == 0 else Start("lecun", bias_std=1.0)
            inner.append(Dense(width, self.activation, start=start))
            if self.dropout:
                inner.append(Dropout(self.dropout))
        body: list[Layer] = [Concatenate(inner)] if self.has_line else inner
        return [*([] if embedding is None else [embedding]), *body, Dense(n_out, start=Start("zero"))]

    def groups(self, n_in: int, *, fan_in: float) -> tuple[ParameterGroup, ...]:
        """Factors of the learning rate: a weight's is 1 / sqrt(inputs), so that one rate suits all layers."""
        rate, last = 1 / np.sqrt(fan_in), len(self.hidden)
        line = [ParameterGroup(f"dense{last}.W", LINE_RATE * rate, rows=(0, n_in))] if self.has_line else []
        top = ParameterGroup(f"dense{last}.W", 1 / np.sqrt(self.hidden[-1]))
        return (
            *line,
            top,
            ParameterGroup("dense0.W", rate),
            ParameterGroup("*.W", by_fan_in=True),
            ParameterGroup("*.s", SCALE_RATE, 0.0),
            ParameterGroup("*.b", BIAS_RATE, 0.0),
        )


def fan_in_of(z: np.ndarray) -> float:
    """The sum over columns of mean(z^2), at least 1, of rows z (n, n_in) as the net reads them."""
    return max(1.0, float((z.astype(np.float64) ** 2).mean(axis=0).sum()))


def columns_of_numbers(n_in: int, codes: Sequence[int]) -> np.ndarray:
    """The columns of X that are no codes."""
    return np.array([j for j in range(n_in) if j not in set(codes)], np.intp)
