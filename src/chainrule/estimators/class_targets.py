"""The targets of a classifier: labels, or an indicator of several labels per row, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from chainrule.errors import DataError, OptionError
from chainrule.estimators.labels import is_one_of_kind, numbers_of, refuse_no_labels
from chainrule.tables.text.parsing import label_name


class ClassTargets:
    """The classes that a classifier knows.

    Parameters
    ----------
    labels : of the classes 0, 1, ..., on the host wherever ``classes_`` is
    is_multilabel : whether a row may have several of them
    """

    def __init__(self, labels: np.ndarray, *, is_multilabel: bool) -> None:
        self.labels, self.is_multilabel = labels, is_multilabel

    @classmethod
    def learn(cls, y: Any, classes: Any, *, is_indicator: bool) -> ClassTargets:
        """The classes of the first targets, or ``classes`` if those are given."""
        if is_indicator:
            return cls(np.arange(np.shape(y)[1]), is_multilabel=True)
        labels = unique_labels(y if classes is None else classes)
        if len(labels) < 2:
            raise ValueError(f"y has one class, {labels.tolist()[0]!r}: a classifier needs at least two classes")
        return cls(labels, is_multilabel=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """For the model file; none of several labels per row."""
        return () if self.is_multilabel else tuple(label_name(label) for label in self.labels.tolist())

    def encode(self, y: Any, *, is_indicator: bool) -> np.ndarray:
        """Class numbers (n,), or zeros and ones (n, k)."""
        if self.is_multilabel:
            return self._encode_indicator(np.asarray(y), is_indicator=is_indicator)
        if is_indicator:
            raise DataError(f"expected one label per row, got an indicator of shape {np.shape(y)}; {self._known()}")
        numbers = numbers_of(self.labels, y)
        if (numbers < 0).any():
            unknown, row = np.unique(y[numbers < 0]), int((numbers < 0).argmax())
            raise DataError(
                f"`y` has classes not in `self.classes_`: {unknown}, the first at row {row}; {self._known()}"
            )
        return numbers

    def _encode_indicator(self, y: np.ndarray, *, is_indicator: bool) -> np.ndarray:
        if not is_indicator or y.shape[1] != len(self):
            raise ValueError(f"expected an indicator of {len(self)} classes, got y of shape {np.shape(y)}")
        return y

    def _known(self) -> str:
        return f"known are {self.labels}"

    def refuse_others(self, y: Any, *, is_indicator: bool) -> None:
        """A warm start has the same outputs, so needs the same classes: scikit-learn's rule and words."""
        if is_indicator != self.is_multilabel:
            return  # `encode` refuses it
        classes = unique_labels(y)
        if set(classes.tolist()) != set(self.labels.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.labels}, `y` has {classes}"
            )

    def weights_by_number(self, weights: Mapping[Any, float]) -> dict[int, float]:
        """``class_weight`` by the net's class numbers instead of labels."""
        labels = self.labels.tolist()
        numbers = {label: i for i, label in enumerate(labels)}
        for label in weights:
            if not is_one_of_kind(label, labels):
                raise OptionError(f"class_weight: expected a label of {labels}, got {label!r}")
        # The rows of a fold may lack a class: its weight is then of no use, and no mistake.
        return {numbers[label]: value for label, value in weights.items() if label in numbers}


def checked_targets(y: Any) -> tuple[Any, bool]:
    """Labels (n,) or an indicator of them, and whether it is that; scikit-learn's ValueError or a DataError if not."""
    refuse_no_labels(y)
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multiclass-multioutput":
        raise ValueError("y: expected labels (n,) or an indicator of 0 and 1, got columns of more than two classes")
    if kind == "multilabel-indicator":
        return y, True
    return column_or_1d(y, warn=True), False


def refuse_other_classes(classes: Any, y: Any, known: ClassTargets | None) -> None:
    """ValueError if the first ``partial_fit`` was given no ``classes``, or a later one others than those ``known``."""
    refuse_no_labels(classes, "classes")
    if known is None and classes is None and not type_of_target(y).startswith("multilabel"):
        raise ValueError("classes must be passed on the first call to partial_fit.")
    if known is not None and classes is not None and not np.array_equal(unique_labels(classes), known.labels):
        raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, {known.labels!r}")
