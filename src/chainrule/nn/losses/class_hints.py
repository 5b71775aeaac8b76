"""What to write instead of targets that do not fit a loss of classes: hints of errors, computed for these alone."""

from __future__ import annotations

import numpy as np

NUMBERED = "names, y = np.unique(y, return_inverse=True)"  # numbers labels 0, 1, ...
ONE_OF_K = "loss='softmax_cross_entropy'"
YES_OR_NO = "loss='sigmoid_cross_entropy'"
MOST_OUTPUTS = 2  # outputs per class that is there, at most, that are suggested: label 1000 may be a name


def hint_of_labels(y: np.ndarray, n_out: int) -> str:
    """For whole numbers (n,), some of which are not in [0, n_out): labels from 1, too few outputs, or names."""
    low, high, count = int(y.min()), int(y.max()), len(np.unique(y))
    if low < 0 or high >= max(MOST_OUTPUTS * count, n_out + 1):
        return NUMBERED
    wider = f"MLP([..., {high + 1}])"
    if low == 1 and high == n_out:
        return f"y - 1 if classes are numbered from 1, else {wider}"
    return f"the net has {n_out} outputs; for labels up to {high}: {wider}"


def hint_of_matrix(y: np.ndarray) -> str:
    """For (n, k) in the place of labels (n,): one-hot labels, or several classes per row."""
    if y.ndim != 2 or y.dtype.kind not in "biuf":
        return ""
    if np.isin(y, (0, 1)).all() and (y.sum(axis=1) > 1).any():
        return f"for several classes per row: {YES_OR_NO}, MLP([..., {y.shape[1]}])"
    return "y.argmax(axis=1), if each row has a 1 in the column of its class"


def hint_of_yes_or_no(y: np.ndarray) -> str:
    """For numbers (n, k), some of which are not in [0, 1]: -1 for no, or labels of several classes."""
    if np.isin(y, (-1, 1)).all():
        return "(y + 1) / 2, which is 1 for yes and 0 for no"
    if y.shape[1] == 1 and (y >= 0).all() and (y == np.floor(y)).all():
        return f"for one of k classes per row: {ONE_OF_K}, MLP([..., {len(np.unique(y))}])"
    return ""


def hint_of_one_column(y: np.ndarray, n_out: int) -> str:
    """For (n,) in the place of (n, n_out) of yes and no: labels, or one question."""
    if np.isin(y, (0, 1)).all():
        return f"the net has {n_out} outputs; for these targets: MLP([..., 1])"
    return f"for one of k classes per row: {ONE_OF_K}"
