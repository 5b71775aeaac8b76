"""Further metrics of the validation rows, by name or the user's own, from the net's predictions, once per epoch."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError
from chainrule.nn import metrics
from chainrule.nn.evaluation import Evaluator
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.names import Loss, SigmoidCrossEntropy, Task
from chainrule.nn.metric_names import HIGHER_IS_BETTER, VALID, short_name
from chainrule.nn.network import Network
from chainrule.nn.scores import point_prediction
from chainrule.options import one_of

ROUNDING = 1e-6  # of a target that was smoothed, in float32
MetricFunction: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Metric:
    """A metric of the validation rows, at the end of each epoch: ``valid_NAME`` in the history.

    Parameters
    ----------
    function : (y, predicted) -> number, both NumPy arrays with one entry per row. If it has a parameter
        ``sample_weight``, as those of scikit-learn have, it is given the rows' weights (divided by their mean) or None.
    name : by default that of the function
    needs : "predictions", from ``predict``, or "probabilities", from ``predict_proba``
    greater_is_better : must be given if the metric is monitored (``monitor``)

    Attributes
    ----------
    takes_weights : bool, whether the function has a parameter ``sample_weight``

    y are class numbers (n,), or zeros and ones (n, k), or numbers in the target's own units (n, k); (n,) for one
    column. Yes-or-no targets between 0 and 1 are passed on as they are.

    >>> import sklearn.metrics                                                       # doctest: +SKIP
    >>> cr.Metric(sklearn.metrics.average_precision_score, needs="probabilities")    # doctest: +SKIP
    """

    function: MetricFunction
    name: str = ""
    _: KW_ONLY
    needs: Literal["predictions", "probabilities"] = "predictions"
    greater_is_better: bool | None = None
    takes_weights: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise OptionError(f"metric: expected a function (y, predicted) -> float, got {self.function!r}")
        one_of("needs", self.needs, ("predictions", "probabilities"))
        if not isinstance(self.greater_is_better, bool | None):
            raise OptionError(f"greater_is_better: expected True, False or None, got {self.greater_is_better!r}")
        # The dataclass is frozen.
        object.__setattr__(self, "name", self.name or getattr(self.function, "__name__", type(self.function).__name__))
        object.__setattr__(self, "takes_weights", _has_weights(self.function))

    def __call__(self, y: np.ndarray, predicted: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Its value; OptionError if the function returns no number."""
        options = {"sample_weight": sample_weight} if self.takes_weights else {}
        value = self.function(y, predicted, **options)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise OptionError(f"metric {self.name}: expected a number, got {value!r}") from None


def _has_weights(function: MetricFunction) -> bool:
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # not every function written in C has a signature
        return False


def _metric(
    function: MetricFunction, *, of: Literal["predictions", "probabilities"] = "predictions", name: str = ""
) -> Metric:
    name = name or function.__name__
    return Metric(function, name, needs=of, greater_is_better=HIGHER_IS_BETTER[name])


_ACCURACY, _BALANCED = _metric(metrics.accuracy), _metric(metrics.balanced_accuracy)
_AUC = _metric(metrics.roc_auc, of="probabilities")
METRICS: dict[Task, dict[str, Metric]] = {
    "classify": {
        "accuracy": _ACCURACY,
        "balanced_accuracy": _BALANCED,
        "log_loss": _metric(metrics.log_loss, of="probabilities"),
        "roc_auc": _AUC,
    },
    "multilabel": {  # with one answer per row, which is two classes, also the balanced accuracy of these
        "accuracy": _ACCURACY,
        "balanced_accuracy": _BALANCED,
        "log_loss": _metric(metrics.binary_log_loss, of="probabilities", name="log_loss"),
        "roc_auc": _AUC,
    },
    "regress": {"r2": _metric(metrics.r2), "rmse": _metric(metrics.rmse), "mae": _metric(metrics.mae)},
}


def built_in() -> tuple[Metric, ...]:
    """The metrics that the library knows by name, of all tasks."""
    return tuple(metric for of_task in METRICS.values() for metric in of_task.values())


def named_metric(name: str, loss: Loss) -> Metric:
    """The metric of that name for a net with this loss; OptionError if it has none."""
    known = dict(METRICS[loss.task])
    if loss.task == "multilabel" and loss.n_out > 1:
        del known["balanced_accuracy"]
        if name == "balanced_accuracy":
            raise OptionError(
                f"balanced_accuracy: expected a net with one class per row, got one with {loss.n_out} answers per row",
                hint=f"one of {', '.join(known)}",
            )
    kinds = {"classify": "a classification", "multilabel": "yes-or-no targets", "regress": "a regression"}
    return known[one_of(f"metric of {kinds[loss.task]}", name, known)]


def find_metrics(asked: bool | Sequence[str | Metric | MetricFunction], loss: Loss) -> tuple[bool, tuple[Metric, ...]]:
    """Whether the loss's metric is recorded, and the further ones; OptionError for a name that does not exist."""
    if isinstance(asked, bool):
        return asked, ()
    if isinstance(asked, str) or not isinstance(asked, Sequence):
        raise OptionError(f"metrics: expected True, False or a list, got {asked!r}", hint='metrics=["roc_auc"]')
    usual = loss.metric
    found: list[Metric] = []
    for one in asked:
        if isinstance(one, str) and one == usual:
            continue  # always recorded, and counted on the device
        if isinstance(one, str):
            found.append(named_metric(one, loss))
        else:
            found.append(one if isinstance(one, Metric) else Metric(one))
    names = ["loss", usual, *(metric.name for metric in found)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise OptionError(f"two metrics are named {twice.pop()!r}", hint='cr.Metric(function, "another_name")')
    return True, tuple(found)


def direction_of(monitor: str, further: Sequence[Metric]) -> bool:
    """Whether higher is better; OptionError for a monitored metric of the user's own that does not say so."""
    metric = next((m for m in further if monitor == f"{VALID}{m.name}"), None)
    if metric is None:
        return HIGHER_IS_BETTER[short_name(monitor)]
    if metric.greater_is_better is None:
        raise OptionError(
            f"{monitor} is monitored, but {metric.name} does not say whether higher is better",
            hint=f"cr.Metric({metric.name}, greater_is_better=True), or False",
        )
    return metric.greater_is_better


def valid_evaluator(
    net: Network, held_out: Rows | None, further: Sequence[Metric]
) -> Evaluator | MetricEvaluator | None:
    """What evaluates loss and metrics of the held-out rows; None without such rows."""
    if held_out is not None:
        return MetricEvaluator(net, held_out, further) if further else Evaluator(net, held_out)
    if further:
        raise OptionError(
            f"the metric {further[0].name} needs validation rows, and there are none", hint="fit(..., validation=0.2)"
        )
    return None


class MetricEvaluator:
    """Loss, usual metric and ``further`` ones of the net's present parameters over ``rows``, as from an Evaluator."""

    def __init__(self, net: Network, rows: Rows, further: Sequence[Metric]) -> None:
        be = net.backend
        self._evaluate = Evaluator(net, rows)
        self._net, self._further, self._x = net, further, rows.x
        self._y = _targets(net, rows)
        self._weights = None if rows.counted is None else be.download(rows.counted).astype(np.float64)
        # The net as one that takes these rows as they are: standardised already, or else still `pending`.
        self._as_prepared = copy.copy(net)
        if rows.pending is None:
            self._as_prepared.preparation = dataclasses.replace(net.preparation, features=None)

    def start(self) -> list[Array]:
        """Evaluate the net; what is to be downloaded."""
        return self._evaluate.start()

    def result(self, totals: Sequence[np.ndarray]) -> dict[str, float]:
        """Loss and metrics, from what has been downloaded. Synchronises for the ``further`` ones."""
        found = self._evaluate.result(totals)
        predictions: dict[str, np.ndarray] = {}
        for metric in self._further:
            if metric.needs not in predictions:
                predictions[metric.needs] = self._predict(metric.needs)
            predicted = predictions[metric.needs]
            if metric in METRICS["regress"].values():
                predicted = point_prediction(self._net, predicted)
            y = self._y > 0.5 if metric is _BALANCED and self._net.loss.task == "multilabel" else self._y
            found[metric.name] = metric(y, predicted, self._weights)
        return found

    def _predict(self, what: str) -> np.ndarray:
        net = self._as_prepared
        answer: Array = (net.predict if what == "predictions" else net.predict_proba)(self._x)
        return net.backend.download(answer)


def _targets(net: Network, rows: Rows) -> np.ndarray:
    """The targets in the form of what :meth:`Network.predict` returns."""
    y: np.ndarray = net.backend.download(rows.targets)
    if net.loss.task == "regress" and (scaled := net.preparation.targets) is not None:
        y = scaled.to_targets(y.astype(np.float64))
    if isinstance(net.loss, SigmoidCrossEntropy) and (
        s := net.loss.label_smoothing
    ):  # they were smoothed when they were uploaded
        y = (y.astype(np.float64) - s / 2) / (1 - s)
        y = np.where(np.abs(y - np.rint(y)) < ROUNDING, np.rint(y), y)
    if net.loss.task == "multilabel" and np.isin(y, (0, 1)).all():  # numbers between them stay as they are
        y = y.astype(np.int32)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
