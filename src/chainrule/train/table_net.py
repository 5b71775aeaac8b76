"""The net that the recipe makes for tables, and what it begins with: see docs/decisions/0035.

From prepared columns x (n, n_in), some of them codes of categories, to outputs::

    [codes -> vectors]  y = [x | f(x)]  z = y W + b,   f: fractions of pieces, a factor per column, two hidden layers

So the outputs are a straight line in x, the rows of W that belong to it, plus what the hidden layers add. The line
begins as the ridge regression of the rows that the member is trained on; what the hidden layers add begins at 0. Nets
for classes have no line (``has_line``): y = f(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends import backend
from chainrule.backends.contract.backend import ActivationName
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.quantiles import sample_of_rows
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.base import Layer, walk
from chainrule.nn.layers.concatenate import Concatenate
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.initializers import Start
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.layers.scale import Scale
from chainrule.nn.network import Network
from chainrule.optim.parameter_groups import ParameterGroup

ENOUGH_BINS, ENOUGH_FRACTIONS = 16, 512  # no column needs fewer bins as long as the table has no more fractions
FEWEST_BINS, MOST_FRACTIONS = 4, 2048
MOST_ROWS = 1 << 40  # more than a W has
SAMPLE = 20_000  # rows that say how large numbers are
COLUMNS = 64  # of them at a time
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

    def encoding(
        self, X: np.ndarray, features: Standardization, encoder: TableEncoder | None, weights: np.ndarray | None
    ) -> PiecewiseLinear | None:
        """The encoding of the columns of numbers, with edges from these rows; None if there is nothing to encode.

        Of many columns each has fewer fractions, so that their weights stay few; of very many, none has any.
        """
        numbers = X.shape[1] if encoder is None else len(encoder.number_columns)
        bins = bins_per_column(self.bins, numbers)
        if not bins:
            return None
        if encoder is not None:
            return encoder.piecewise_linear(X, features, bins=bins, sample_weight=weights)
        found = PiecewiseLinear.fit(X, bins=bins, standardization=features, sample_weight=weights)
        return found if found.fractions else None

    def groups_of(self, net: Network) -> tuple[ParameterGroup, ...]:
        """:meth:`groups` of a net that was made of these layers."""
        start = next(n.layer.start for n in walk(net.nodes) if isinstance(n.layer, Dense))
        assert start.rows is not None
        assert start.fan_in is not None
        return self.groups(start.rows, fan_in=start.fan_in, members=net.members)

    def groups(self, n_in: int, *, fan_in: float, members: int = 1) -> tuple[ParameterGroup, ...]:
        """Factors of the learning rate: a weight's is 1 / sqrt(inputs), so that one rate suits all layers.

        The weights of the fractions of the second half of the members stay 0: these read numbers as they are, and the
        mean of both kinds is better than either.
        """
        fractions = (n_in, MOST_ROWS)
        plain = [ParameterGroup("dense0.W", 0.0, rows=fractions, members=(members // 2, members))] * (members > 1)
        rate, last = 1 / np.sqrt(fan_in), len(self.hidden)
        line = [ParameterGroup(f"dense{last}.W", LINE_RATE * rate, rows=(0, n_in))] if self.has_line else []
        top = ParameterGroup(f"dense{last}.W", 1 / np.sqrt(self.hidden[-1]))
        return (
            *plain,
            *line,
            top,
            ParameterGroup("dense0.W", rate),
            ParameterGroup("*.W", by_fan_in=True),
            ParameterGroup("*.s", SCALE_RATE, 0.0),
            ParameterGroup("*.b", BIAS_RATE, 0.0),
        )


def bins_per_column(bins: int, numbers: int) -> int:
    """How many of ``bins`` a column gets if there are so many columns of numbers; 0 for no encoding."""
    wanted = min(bins, max(ENOUGH_BINS, ENOUGH_FRACTIONS // max(1, numbers)))
    possible = MOST_FRACTIONS // max(1, numbers)
    return min(wanted, possible) if possible >= min(FEWEST_BINS, wanted) else 0


def fan_in_of(
    features: Standardization, X: np.ndarray, codes: Sequence[int] = (), weights: np.ndarray | None = None
) -> float:
    """The sum over columns of mean(z^2), at least 1, z the rows as the net reads them, by their ``weights``.

    Hundreds of columns of rare categories count for what they are. Of many rows a sample decides; vectors of ``codes``
    are small at first and do not count.
    """
    rows = sample_of_rows(len(X), SAMPLE)
    numbers = [j for j in range(X.shape[1]) if j not in set(codes)]
    share = None if weights is None else weights if rows is None else weights[rows]
    if share is not None and not share.any():  # those of the sample alone
        share = None
    total = 0.0
    for start in range(0, len(numbers), COLUMNS):
        part = numbers[start : start + COLUMNS]
        x = np.ascontiguousarray(X[:, part] if rows is None else X[rows][:, part], np.float64)
        z = np.empty(x.shape)
        backend("cpu").standardize(x, features.mean[part], features.scale[part], limit=features.limit, out=z)
        total += float(np.average(z**2, axis=0, weights=share).sum())
    return max(1.0, total)
