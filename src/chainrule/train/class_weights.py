"""Weights of classes, as weights of rows: rare classes need not be drowned by common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.network import Network
from chainrule.nn.row_checks import check_weights, on_host
from chainrule.options import real_number

ClassWeight: TypeAlias = "Literal['balanced'] | Mapping[int, float]"


class ClassWeights:
    """w_i = class weight of row i's label, times the row's own weight; the mean loss divides by their sum.

    Parameters
    ----------
    net : whose loss is of classes: one of k, or a single yes or no
    class_weight : "balanced", which is n / (classes that occur * rows of the class), so that all classes weigh the
        same; or {label: weight}, 1 for a label that it does not have
    y : the training rows' labels, which "balanced" counts

    Raises
    ------
    OptionError   where the loss has no classes, for a label that is none, or a weight below 0.

    Source: King, Zeng 2001; the formula of scikit-learn's ``class_weight``.
    """

    def __init__(self, net: Network, class_weight: Any, y: Any) -> None:
        loss = net.loss
        if not (loss.task == "classify" or (loss.task == "multilabel" and net.n_out == 1)):
            raise OptionError(
                f"class_weight came with {net.loss_name} of {net.n_out} outputs, which has no classes",
                hint="use sample_weight, one weight a row",
            )
        self._net = net
        self._classes = max(2, net.n_out)
        labels = self._labels(y)
        if isinstance(class_weight, str) and class_weight == "balanced":
            counts = np.bincount(labels, minlength=self._classes)
            self._of_class = len(labels) / (np.maximum(counts, 1) * (counts > 0).sum())
        elif isinstance(class_weight, Mapping):
            self._of_class = np.ones(self._classes)
            for label, weight in class_weight.items():
                if isinstance(label, bool) or label not in range(self._classes):
                    raise OptionError(f"class_weight for {label!r} came, labels are 0 to {self._classes - 1}")
                self._of_class[int(label)] = real_number(f"class_weight of {label}", weight)
        else:
            raise OptionError(f"class_weight {class_weight!r} came", hint='"balanced", {label: weight} or None')

    def of_rows(self, y: Any, sample_weight: Any) -> np.ndarray:
        """(n,) weights of rows with these labels and weights of their own (None for all ones)."""
        weights: np.ndarray = self._of_class[self._labels(y)]
        if sample_weight is not None:
            weights = weights * check_weights(on_host(self._net.backend, sample_weight, "sample_weight"), len(weights))
        return weights

    def _labels(self, y: Any) -> np.ndarray:
        values = on_host(self._net.backend, y, "y")
        self._net.loss.check_targets(values)
        labels = values.reshape(-1)
        if not np.isin(labels, range(self._classes)).all():
            row = int(np.argmin(np.isin(labels, range(self._classes))))
            raise DataError(f"a target at row {row} is {labels[row]}, with class_weight 0 or 1 was expected")
        return labels.astype(np.int64)
