"""Arrays of text: str objects, of which equal ones are one object.

NumPy's own text arrays give each row the width of the longest text: one label of 200 letters among a million short ones
takes 800 MB. A shared object takes 8 bytes per row, however long the text is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TEXT = np.dtype(object)


def take_texts(texts: Sequence[str], codes: np.ndarray) -> np.ndarray:
    """(n,) object: row i holds ``texts[codes[i]]``."""
    found: np.ndarray = np.array(texts, TEXT).take(codes)
    return found


def is_text(labels: np.ndarray) -> bool:
    """Whether all elements of an array are text, in any of NumPy's representations."""
    if labels.dtype != TEXT:
        return labels.dtype.kind in "UT"
    return labels.size > 0 and all(isinstance(label, str) for label in labels.reshape(-1).tolist())


def unique_with_codes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of (n,) labels, sorted, and (n,) int64 codes: the position of each row's label among them.

    As ``np.unique(return_inverse=True)``, which would sort objects row by row.
    """
    if labels.dtype != TEXT:
        different, codes = np.unique(labels, return_inverse=True)
        return different, codes.reshape(-1)
    values = labels.tolist()
    names = sorted(set(values))
    at = {name: i for i, name in enumerate(names)}
    return np.array(names, TEXT), np.fromiter((at[label] for label in values), np.int64, len(values))
