"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from chainrule.errors import DataError, OptionError
from chainrule.estimators.array_namespaces import NUMBERS, ArrayNamespace, on_host
from chainrule.estimators.base import BaseMLP
from chainrule.estimators.labels import as_they_came, is_one_of_kind, numbers_of, refuse_no_labels
from chainrule.estimators.losses import BinaryLogLoss
from chainrule.nn.losses.names import LOSSES, Loss, SoftmaxCrossEntropy
from chainrule.options import one_of
from chainrule.tables.text.parsing import label_name


class Labels(NamedTuple):
    """The labels of the classes 0, 1, ..., on the host wherever ``classes_`` are."""

    values: np.ndarray


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron for classes, with scikit-learn's methods, parameters and attributes.

    ``fit(X, y)``, ``predict``, ``predict_proba``, ``score``, ``partial_fit``; in a Pipeline, in GridSearchCV. The
    targets are labels (n,) of two or more classes, or an indicator (n, k) of zeros and ones: several labels a row.

    Parameters of the names that scikit-learn has mean what they mean there; some defaults are others, as they train
    better nets (docs/scikit-learn.md has them all, and what they were measured on).

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer; a number for one layer, () for none; "auto": (100,), from 1,000
        rows up (256,), from 4,096 up (256, 128)
    activation : "relu", "tanh", "logistic", "identity", "gelu", "silu", "mish", "selu", ...: one, or one a layer
    solver : "adam", "sgd" or "lbfgs" (all rows at once; needs SciPy)
    alpha : of a penalty in the loss: alpha / 2 sum W^2 over the rows of the batch, by their weights, whose mean is 1;
        "auto": 0, from 1,000 rows up 1e-4
    batch_size : rows a step, or "auto": 64, from 4,096 rows up 128, from 16,384 up 256; all rows where there are fewer
    learning_rate : "cosine" (down to 0 over max_iter epochs, all of which are trained), "constant"; for sgd alone
        "invscaling" or "adaptive"
    learning_rate_init : the learning rate at the start
    power_t : of "invscaling": learning_rate_init / rows seen ^ power_t
    max_iter : epochs, at most; iterations of lbfgs; "auto": 200, from 32,768 rows up 60
    shuffle : deal the rows anew every epoch
    random_state : seed of weights, shuffles, dropout and the split of early_stopping
    tol, n_iter_no_change : where the loss (the score, of rows held out) was not better by tol in more than so many
        epochs in a row, the fit has converged; with "cosine" only rows held out are asked
    early_stopping : hold out a ``validation_fraction`` of the rows and stop by their score
    momentum, nesterovs_momentum : of sgd
    beta_1, beta_2, epsilon : of adam
    max_fun : of lbfgs: evaluations of the loss, at most; it needs about max_iter of them
    warm_start : ``fit`` goes on from the weights of the fit before
    verbose : a progress line with the time left, on a terminal; elsewhere, as there, a line an epoch on stdout
    loss : "log_loss", "focal", or a loss of chainrule's own: ``cr.SoftmaxCrossEntropy(label_smoothing=0.1)``
    weight_decay : of AdamW (times the learning rate, beside the gradient), for sgd and lbfgs in the gradient; "auto"
        with adam for min(1, 5 / (learning_rate_init * steps)), steps those of max_iter epochs, and 0 with the others
    dropout : rate behind each hidden layer, in [0, 1); "auto": 0.2 from 1,000 rows up where hidden_layer_sizes is
        "auto" too, else 0
    normalization : None, "layer" or "batch"
    class_weight : None, "balanced" or {label: weight}: of the loss, "balanced" by the weights of the training rows
    standardize : to_device features to mean 0 and deviation 1 inside, bent over smoothly far out
    embed_above : a column of text with more categories than this becomes a vector for each that is learned
        (:class:`Embedding`), instead of a column of X for each of the 32 most frequent; None for no column
    shrink : draw the predictions towards the best constant ones by as much as rows held out ask for: fits further nets
        on parts of the rows to learn that, five on four fifths each below 1,000 rows, one from there up. Not with
        ``eval_set`` or ``early_stopping``, whose rows choose the epoch, nor with ``warm_start`` and ``partial_fit``
    monitor : of rows held out what is watched and whose best epoch is kept: "valid_accuracy" by default, "valid_loss",
        "valid_roc_auc", ..., or a ``cr.Metric``
    callbacks : ``cr.Callback`` objects, or functions of an EpochRecord
    device : "auto", "cpu", "cuda", "cuda:N"; None for the variable CHAINRULE_DEVICE, else "auto"
    dtype : "auto" (float32 where X is float32 or a DataFrame with text or holes, else float64), "float32" or "float64"

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_, n_iter_, t_ : as there
    coefs_, intercepts_ : copies of the weights, of the standardised features
    loss_curve_, loss_, best_loss_ : mean loss of each epoch's batches with the penalty; the last and the lowest
    validation_scores_, best_validation_score_, best_iteration_ : of rows held out; None without
    shrinkage_ : 1 where the net is as it was trained, 0 where it is the constant; None where ``shrink`` did nothing
    history_ : {name: a number an epoch} of all that was recorded
    network_ : the net itself, to save, export or look into
    """

    _are_targets_numbers = False
    _score_metric = "accuracy"

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float | str = "auto",
        batch_size: Any = "auto",
        learning_rate: str = "cosine",
        learning_rate_init: float = 0.002,
        power_t: float = 0.5,
        max_iter: Any = "auto",
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Loss = "log_loss",
        weight_decay: float | str = "auto",
        dropout: float | str = "auto",
        normalization: str | None = None,
        class_weight: Any = None,
        standardize: bool = True,
        embed_above: int | None = None,
        shrink: bool = True,
        monitor: Any = None,
        callbacks: Any = None,
        device: str | None = None,
        dtype: str = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.normalization = normalization
        self.class_weight = class_weight
        self.standardize = standardize
        self.embed_above = embed_above
        self.shrink = shrink
        self.monitor = monitor
        self.callbacks = callbacks
        self.device = device
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # ---- targets ------------------------------------------------------------------------------------

    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """Class numbers (n,), or zeros and ones (n, k); ``classes_`` are known from the first fit on."""
        refuse_no_labels(y)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError("several columns of more than two classes each came: an indicator of 0 and 1 is possible")
        multilabel = kind == "multilabel-indicator"
        if not multilabel:
            y = column_or_1d(y, warn=True)
        if first:
            self._multilabel = multilabel
            if multilabel:
                self._labels = Labels(np.arange(np.shape(y)[1]))
            else:
                self._labels = Labels(unique_labels(y) if classes is None else unique_labels(classes))
                if len(self._labels.values) < 2:
                    raise ValueError(
                        f"y has one class, {self._labels.values[0]!r}: a classifier needs at least two classes"
                    )
        if same and multilabel == self._multilabel:
            self._refuse_other_classes(y)
        if self._multilabel:
            y = np.asarray(y)
            if not multilabel or y.shape[1] != len(self._labels.values):
                raise ValueError(
                    f"expected an indicator of {len(self._labels.values)} classes, got y of shape {np.shape(y)}"
                )
            indicator: np.ndarray = y
            return indicator
        if multilabel:
            raise DataError(f"expected one label per row, got an indicator of shape {np.shape(y)}; {self._known()}")
        numbers = numbers_of(self._labels.values, y)
        if (numbers < 0).any():
            unknown, row = np.unique(y[numbers < 0]), int((numbers < 0).argmax())
            raise DataError(
                f"`y` has classes not in `self.classes_`: {unknown}, the first at row {row}; {self._known()}"
            )
        return numbers

    def _known(self) -> str:
        return f"known are {self._labels.values}"

    def _refuse_other_classes(self, y: Any) -> None:
        """A warm start goes on with the same outputs, so with the same classes: scikit-learn's rule and words."""
        classes = unique_labels(y)
        if set(classes.tolist()) != set(self._labels.values.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self._labels.values}, `y` has {classes}"
            )

    def _loss(self) -> tuple[Loss, int]:
        count, loss = len(self._labels.values), self.loss
        if isinstance(loss, str):
            names = [name for name, known in LOSSES.items() if known.task == "classify"]
            name = one_of("loss", loss, ("log_loss", *names))
            binary = name == "log_loss" and (self._multilabel or count == 2)
            loss = BinaryLogLoss() if binary else SoftmaxCrossEntropy() if name == "log_loss" else LOSSES[name]
        if not isinstance(loss, Loss) or loss.task == "regress" or (loss.task == "classify" and self._multilabel):
            raise OptionError(f"loss {loss!r} came for {'labels, several a row' if self._multilabel else 'classes'}")
        n_out = 1 if loss.task == "multilabel" and not self._multilabel else count
        if n_out == 1 and count > 2:
            raise OptionError(f"loss {loss!r} came for {count} classes", hint="cr.SoftmaxCrossEntropy()")
        self.out_activation_ = "softmax" if loss.task == "classify" else "logistic"
        self.n_outputs_ = n_out
        return loss, n_out

    def _class_weights(self) -> Any:
        """By the net's class numbers instead of labels."""
        weight = self.class_weight
        if weight is None or isinstance(weight, str):
            return weight
        if not isinstance(weight, Mapping):
            raise OptionError(f"expected class_weight 'balanced' or {{label: weight}}, got {weight!r:.60}")
        labels = self._labels.values.tolist()
        numbers = {label: i for i, label in enumerate(labels)}
        for label in weight:
            if not is_one_of_kind(label, labels):
                raise OptionError(f"class_weight for {label!r} came, the classes are {labels}")
        # The rows of a fold may lack a class: its weight is then of no use, and no mistake.
        return {numbers[label]: value for label, value in weight.items() if label in numbers}

    def _class_names(self) -> tuple[str, ...]:
        return () if self._multilabel else tuple(label_name(label) for label in self._labels.values.tolist())

    def _bring(self, namespace: ArrayNamespace | None) -> None:
        super()._bring(namespace)
        values = self._labels.values
        self.classes_ = (
            namespace.to_device(values) if namespace is not None and values.dtype.kind in NUMBERS else values
        )

    def _is_of_classes(self) -> bool:
        return not self._multilabel

    def _labels_of(self, y: np.ndarray) -> np.ndarray | None:
        return None if self._multilabel else self._labels.values[y]

    # ---- scikit-learn's methods -----------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> MLPClassifier:
        """Train, anew unless ``warm_start``.

        Parameters
        ----------
        X : (n, n_features) numbers; or a DataFrame, which may hold text and missing values
        y : (n,) labels, or (n, k) zeros and ones, which may be sparse
        sample_weight : (n,) from 0 up, or None
        eval_set : (X, y) or (X, y, sample_weight): rows held out, by which the best epoch is kept and the fit stopped
        """
        fitted: MLPClassifier = self._fit(X, y, sample_weight, eval_set)
        return fitted

    @available_if(lambda self: self._has_epochs())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch over these rows, from the weights that there are; ``classes`` are all that will ever come.

        The solver goes on from where it was: its moments, its steps, and what the learning rate has come to. Features
        are standardised by all rows so far, the columns of a DataFrame encoded as the first call's rows want it.
        """
        known = self._labels.values if hasattr(self, "history_") else None  # of a fit that came to its end
        y, classes = as_they_came(on_host(y)), as_they_came(on_host(classes))
        refuse_no_labels(classes, "classes")
        if known is None and classes is None and not type_of_target(y).startswith("multilabel"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if known is not None and classes is not None and not np.array_equal(unique_labels(classes), known):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, {self._labels.values!r}"
            )
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows at once: use a dict, or sample_weight")
        fitted: MLPClassifier = self._fit(X, y, sample_weight, classes=classes, one_epoch=True)
        return fitted

    def predict(self, X: Any) -> Any:
        """(n,) labels, or (n, k) zeros and ones; of the kind and on the device that X is. Names come as NumPy."""

        def answer(xp: Any, said: Any) -> Any:
            labels = self._labels.values
            if self._multilabel:
                return said.reshape(len(said), -1).astype(np.int64)
            return xp.take(xp.asarray(labels), said) if labels.dtype.kind in NUMBERS else labels[on_host(said)]

        return self._ask(X, "predict", lambda net, rows: net.predict(rows), answer)

    def predict_proba(self, X: Any) -> Any:
        """(n, k) the probability of each class, in the order of ``classes_``; of several labels a row, of each."""
        return self._probabilities(X, "predict_proba", lambda _, p: p)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of :meth:`predict_proba`."""

        def logarithm(xp: Any, p: Any) -> Any:
            with np.errstate(divide="ignore"):
                return xp.log(p)

        return self._probabilities(X, "predict_log_proba", logarithm)

    def _probabilities(self, X: Any, method: str, last: Callable[[Any, Any], Any]) -> Any:
        def answer(xp: Any, p: Any) -> Any:
            if self._multilabel:
                p = p.reshape(len(p), -1)
            return last(xp, xp.stack([1 - p, p], axis=1) if p.ndim == 1 else p)

        return self._ask(X, method, lambda net, rows: net.predict_proba(rows), answer)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The fraction of rows whose label (of several: all labels) is right, by weight."""
        predicted = on_host(self.predict(X))
        y = as_they_came(on_host(y))
        refuse_no_labels(y)
        return float(accuracy_score(y, predicted, sample_weight=on_host(sample_weight)))
