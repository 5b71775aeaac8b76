"""The rows of one fit, once they are numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array


class FitRows(NamedTuple):
    """What a net is trained or validated on.

    Parameters
    ----------
    X : (n, n_in) before standardisation, on the host or on the net's device
    y : (n,) or (n, k) as the loss takes it
    weights : (n,) from 0 up, or None
    """

    X: Array
    y: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray | None) -> FitRows:
        """The rows at these positions; None for all."""
        if rows is None:
            return self
        return FitRows(self.X[rows], self.y[rows], None if self.weights is None else self.weights[rows])
