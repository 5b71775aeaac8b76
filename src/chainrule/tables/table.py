"""A table: numbers in rows and columns, and what is to be predicted from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Table:
    """What a reader hands over; everything in it has been checked.

    Parameters
    ----------
    features : (n, d) array, n and d at least 1, finite; float64 from text, the array's own real dtype from npy and npz
    feature_names : the d columns in order; empty where they have no names
    target : (n,) or (n, k) finite numbers, or (n,) str; None where none was asked for or there is none
    target_name : empty where the target has no name
    source : the path or the data set's name, for messages
    """

    features: np.ndarray
    feature_names: tuple[str, ...]
    target: np.ndarray | None
    target_name: str
    source: str

    def __len__(self) -> int:
        return len(self.features)
