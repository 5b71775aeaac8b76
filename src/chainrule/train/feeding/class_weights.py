"""Class weights, as weights of rows: rare classes need not be drowned out by common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.inputs.row_checks import check_weights, on_host, relative_weights
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.options import real_number

ClassWeight: TypeAlias = "Literal['balanced'] | Mapping[int, float]"


class ClassWeights:
    """w_i = class weight of row i's label, times the row's own weight; the mean loss divides by their sum.

    Parameters
    ----------
    net : whose loss is of classes: one of k, or a single yes or no
    class_weight : "balanced", which is S / (number of classes * S_c), with S_c the sum of the weights of the class's
        rows and S that of all rows, so that all classes have the same total weight; for rows without weights that is
        n / (number of classes * rows of the class). Only classes that have a row of weight above 0 are counted; the
        weight of the others is 1. Or {label: weight}, with 1 for labels that are missing
    y, sample_weight : labels of the training rows, and their own weights or None, which determine "balanced": held-out
        rows do not count

    Raises
    ------
    OptionError   if the loss has no classes, for an unknown label, or a weight below 0.

    Source: King, Zeng 2001; the formula of scikit-learn's ``class_weight``.
    """

    def __init__(self, net: Network, class_weight: Any, y: Any, sample_weight: Any = None) -> None:
        loss = net.loss
        if not (loss.task == "classify" or (loss.task == "multilabel" and net.n_out == 1)):
            outputs = f" of {net.n_out} outputs" if loss.task == "multilabel" else ""
            raise OptionError(
                f"class_weight: expected a loss of classes, got {net.loss_name}{outputs}",
                hint="use sample_weight, one weight per row",
            )
        self._net = net
        self._classes = max(2, net.n_out)
        labels = self._labels(y)
        if isinstance(class_weight, str) and class_weight == "balanced":
            own = self.own(sample_weight, len(labels))
            counts = np.bincount(labels, own, self._classes)
            occurs = counts > 0
            share = np.where(occurs, counts, 1.0) * max(1, occurs.sum())
            self._of_class = np.where(occurs, counts.sum() / share, 1.0)
        elif isinstance(class_weight, Mapping):
            self._of_class = np.ones(self._classes)
            for label, weight in class_weight.items():
                if isinstance(label, bool) or label not in range(self._classes):
                    raise OptionError(f"class_weight: expected labels from 0 to {self._classes - 1}, got {label!r}")
                self._of_class[int(label)] = real_number(f"class_weight of {label}", weight)
        else:
            raise OptionError(
                f"class_weight: expected 'balanced', a dict or None, got {class_weight!r}",
                hint='"balanced", or {label: weight}',
            )

    def of_rows(self, y: Any, sample_weight: Any) -> np.ndarray:
        """(n,) weights of rows with these labels and weights of their own (None for all ones)."""
        weights: np.ndarray = self._of_class[self._labels(y)]
        own = self.own(sample_weight, len(weights))
        return weights if own is None else weights * own

    def own(self, sample_weight: Any, n: int) -> np.ndarray | None:
        """The rows' own weights on the host, checked and divided by their mean; None if they have none."""
        if sample_weight is None:
            return None
        return relative_weights(check_weights(on_host(self._net.backend, sample_weight, "sample_weight"), n))

    def _labels(self, y: Any) -> np.ndarray:
        values = on_host(self._net.backend, y, "y")
        self._net.loss.check_targets(values)
        labels = values.reshape(-1)
        if not np.isin(labels, range(self._classes)).all():
            row = int(np.argmin(np.isin(labels, range(self._classes))))
            raise DataError(f"a target at row {row}: expected 0 or 1 with class_weight, got {labels[row]}")
        return labels.astype(np.int64)


class SampleWeights:
    """The rows' own weights, for metrics, beside those with the weights of their classes, for the loss."""

    def __init__(self, net: Network, of_class: ClassWeights) -> None:
        self._net, self._of_class = net, of_class
        self.training: np.ndarray | None = None
        self.held_out: np.ndarray | None = None

    def for_loss(self, y: Any, sample_weight: Any = None, *, held_out: bool = False) -> np.ndarray:
        """The weights of rows in the loss; their own are kept, as ``training`` or ``held_out``."""
        weights = self._of_class.of_rows(y, sample_weight)
        own = self._of_class.own(sample_weight, len(weights))
        own = None if own is None else own.astype(self._net.dtype)
        if held_out:
            self.held_out = own
        else:
            self.training = own
        return weights

    def on_device(self, rows: Rows, own: np.ndarray | None) -> Rows:
        """``rows`` with their own weights beside those for the loss."""
        return rows.weighing_classes(None if own is None else self._net.backend.upload(own))
