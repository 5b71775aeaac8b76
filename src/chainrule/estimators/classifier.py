"""The classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from chainrule.errors import OptionError
from chainrule.estimators.array_namespaces import NUMBERS, ArrayNamespace, on_host
from chainrule.estimators.base import if_solver_has_epochs
from chainrule.estimators.class_probabilities import ClassProbabilities
from chainrule.estimators.class_targets import ClassTargets, checked_targets, refuse_other_classes
from chainrule.estimators.labels import exact_targets, refuse_no_labels
from chainrule.estimators.losses import loss_of_classes
from chainrule.estimators.parameters import (
    ActivationOption,
    Callbacks,
    ClassLossName,
    DtypeName,
    LayerSizes,
    LearningRate,
    Solver,
)
from chainrule.nn.losses.names import Loss
from chainrule.nn.mlp import NormalizationName
from chainrule.train.feeding.class_weights import ClassWeight
from chainrule.train.monitoring.validation_metrics import Metric
from chainrule.train.recipe import SMOOTHING, Auto, Preset


class MLPClassifier(ClassifierMixin, ClassProbabilities):
    """A multilayer perceptron for classes, with scikit-learn's methods, parameters and attributes.

    The targets are labels (n,) of two or more classes, or an indicator (n, k) of zeros and ones, several labels a row.
    Parameters that scikit-learn has too mean what they mean there; some defaults differ, because they train better
    nets (docs/scikit-learn.md has them all, and what they were measured on).

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer; a number for one layer, () for none; "auto": (96, 64) with a
        preset, else (100,), from 1,000 rows (256,), from 4,096 rows (256, 128)
    activation : "relu", "tanh", "logistic", "identity", "gelu", "silu", "mish", "selu", ...: one for all hidden
        layers, or a list with one per layer; "auto": "selu" with a preset, else "relu"
    solver : "adam", "sgd" or "lbfgs" (all rows at once; needs SciPy)
    alpha : of a penalty in the loss: (alpha / 2) sum(W^2) over the rows of the batch, by their weights, whose mean is
        1; "auto": 0; without a preset from 1,000 rows 1e-4
    batch_size : rows per step; "auto": 64; 128 with a preset from 1,000 rows, without one from 4,096; and more for
        larger tables; all rows if there are fewer
    learning_rate : "cosine" (to 0 over max_iter epochs) or "constant"; for sgd also
        "invscaling" or "adaptive"
    learning_rate_init : the learning rate at the start; "auto": 0.002; with a preset 0.02, from 1,000 rows 0.04,
        divided by the square root of each layer's inputs
    power_t : of "invscaling": learning_rate_init / (rows seen)^power_t
    max_iter : epochs, at most; iterations of lbfgs; "auto": with a preset 60, from 1,000 rows 50, and fewer for larger
        tables; without one 200, from 32,768 rows 60
    shuffle : shuffle the rows before every epoch
    random_state : seed of weights, shuffles, dropout and the split of early_stopping
    tol, n_iter_no_change : the fit has converged once the loss (with held-out rows, their score) has not improved by
        tol for more than n_iter_no_change epochs; with "cosine" only if rows are held out
    early_stopping : hold out a ``validation_fraction`` of the rows and stop by their score
    momentum, nesterovs_momentum, beta_1, beta_2, epsilon : of sgd, and of adam
    max_fun : of lbfgs: evaluations of the loss, at most; it needs about max_iter of them
    warm_start : ``fit`` continues from the weights of the fit before
    verbose : progress, as of a Trainer, on a terminal and in a notebook; elsewhere, as scikit-learn, a line per epoch
        on stdout
    loss : "log_loss", "focal", or a loss of chainrule: ``cr.SoftmaxCrossEntropy(label_smoothing=0.1)``
    weight_decay : of AdamW (times the learning rate, beside the gradient); of sgd and lbfgs in the gradient. "auto" is
        min(1, 5 / (learning_rate_init * steps)) with adam, with the steps of max_iter epochs, and 0 with the others and
        with a preset
    dropout : rate after each hidden layer, in [0, 1); "auto": with a preset 0.2 of classes from 100 rows; without one
        0.2 from 1,000 rows if hidden_layer_sizes is "auto" too; else 0
    n_members : nets that are trained at once, whose mean is the prediction; "auto": the number of the preset, else 1
    preset : "fast", "default" or "best": an ensemble of 2, 8 or 24 nets for tables (docs/scikit-learn.md); what is set
        of ``hidden_layer_sizes``, ``dropout``, ``max_iter``, ... is taken, the rest is the preset's. Members leave out
        some of the rows, and these choose the epoch and how far predictions are shrunk, and give the score
        ``oof_score_``. None: one plain net. "auto": "default", or None if parameters describe a net or a training of
        your own (``hidden_layer_sizes``, ``activation``, ``solver``, ``alpha``, ``learning_rate``,
        ``learning_rate_init``, ``weight_decay``, ...), for ``warm_start`` and for ``partial_fit``
    normalization : None, "layer" or "batch"
    class_weight : None, "balanced" or {label: weight}: of the loss, "balanced" by the weights of the training rows
    standardize : scale features to mean 0 and standard deviation 1 inside the net (with a preset by median and
        quartiles), outliers bent over smoothly
    embed_above : a column of text with more categories than this gets a learned vector for each of them
        (:class:`Embedding`), instead of a column of X for each of the 32 most frequent; None for no column
    shrink : shrink predictions towards the best constant prediction by a factor chosen on rows that members leave out.
        Of a plain net on held-out rows: further nets are fitted to parts of the rows, five to four fifths each below
        1,000 rows, one from there. Not with ``eval_set`` or ``early_stopping``, whose rows choose the epoch, nor with
        ``warm_start`` and ``partial_fit``
    monitor : the metric of held-out rows whose best epoch is kept: "valid_accuracy" by default, "valid_loss",
        "valid_roc_auc", ..., or a ``cr.Metric``
    callbacks : ``cr.Callback`` objects, or functions of an EpochRecord
    device : "auto", "cpu", "cuda", "cuda:N"; None for the variable CHAINRULE_DEVICE, else "auto"
    dtype : "float32", "float64" or "auto": float32 for float32 X, for frames with text or missing values, and with a
        preset from 1,000 rows on; else float64
    threads : of the CPU that a step is divided among, at most; None for one per core that this process may use, or as
        many as ``OMP_NUM_THREADS`` says. Short steps take one

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, n_iter_, t_ : as in scikit-learn
    coefs_, intercepts_ : copies of the weights, of the standardised features; of an ensemble (n_members, ...)
    loss_curve_, loss_, best_loss_ : mean loss of each epoch's batches with the penalty; the last and the lowest
    validation_scores_, best_validation_score_, best_iteration_ : of held-out rows; None without
    shrinkage_ : 1 if the net is as it was trained, 0 if it is the constant; None if ``shrink`` did nothing
    oof_prediction_, oof_score_ : with a preset, the probabilities of rows by the members that did not see them, (n, k),
        nan for rows that all saw; and their metrics with standard errors, ``str(clf.oof_score_)``, None if all members
        saw all rows. Both are None of a plain net, and with ``eval_set`` or ``early_stopping``
    history_ : {name: one number per epoch} of all that was recorded
    network_ : the net itself, to save, export or inspect
    """

    _are_targets_numbers = False
    _score_metric = "accuracy"

    def __init__(
        self,
        hidden_layer_sizes: LayerSizes = "auto",
        activation: ActivationOption | Sequence[ActivationOption] | Auto = "auto",
        *,
        solver: Solver = "adam",
        alpha: float | Auto = "auto",
        batch_size: int | Auto = "auto",
        learning_rate: LearningRate = "cosine",
        learning_rate_init: float | Auto = "auto",
        power_t: float = 0.5,
        max_iter: int | Auto = "auto",
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
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
        loss: ClassLossName | Loss = "log_loss",
        weight_decay: float | Auto = "auto",
        dropout: float | Auto = "auto",
        n_members: int | Auto = "auto",
        preset: Preset | Auto | None = "auto",
        normalization: NormalizationName | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        standardize: bool = True,
        embed_above: int | None = None,
        shrink: bool = True,
        monitor: str | Metric | None = None,
        callbacks: Callbacks | None = None,
        device: str | None = None,
        dtype: DtypeName = "auto",
        threads: int | None = None,
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
        self.n_members = n_members
        self.preset = preset
        self.normalization = normalization
        self.class_weight = class_weight
        self.standardize = standardize
        self.embed_above = embed_above
        self.shrink = shrink
        self.monitor = monitor
        self.callbacks = callbacks
        self.device = device
        self.dtype = dtype
        self.threads = threads

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # ---- targets ------------------------------------------------------------------------------------

    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """Class numbers (n,), or zeros and ones (n, k); ``classes_`` are known from the first fit on."""
        y, is_indicator = checked_targets(y)
        if first:
            self._targets = ClassTargets.learn(y, classes, is_indicator=is_indicator)
        if same:
            self._targets.refuse_others(y, is_indicator=is_indicator)
        return self._targets.encode(y, is_indicator=is_indicator)

    def _loss(self) -> tuple[Loss, int]:
        several, count = self._targets.is_multilabel, len(self._targets)
        smoothing = 0.0 if self._preset is None else SMOOTHING
        loss = loss_of_classes(self.loss, count, several=several, smoothing=smoothing)
        n_out = 1 if loss.task == "multilabel" and not several else count
        if n_out == 1 and count > 2:
            raise OptionError(f"loss: expected one for {count} classes, got {loss!r}", hint="cr.SoftmaxCrossEntropy()")
        self.out_activation_ = "softmax" if loss.task == "classify" else "logistic"
        self.n_outputs_ = n_out
        return loss, n_out

    def _class_weights(self) -> ClassWeight | None:
        """By the net's class numbers instead of labels."""
        weight = self.class_weight
        if weight is None or isinstance(weight, str):
            return weight
        if not isinstance(weight, Mapping):
            raise OptionError(f"class_weight: expected 'balanced' or {{label: weight}}, got {weight!r:.60}")
        return self._targets.weights_by_number(weight)

    def _class_names(self) -> tuple[str, ...]:
        return self._targets.names

    def _publish_weights(self, namespace: ArrayNamespace | None) -> None:
        super()._publish_weights(namespace)
        labels = self._targets.labels
        is_moved = namespace is not None and labels.dtype.kind in NUMBERS
        self.classes_ = namespace.to_device(labels) if namespace is not None and is_moved else labels

    def _is_of_classes(self) -> bool:
        return not self._targets.is_multilabel

    # ---- scikit-learn's methods -----------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Self:
        """Train from new weights, or with ``warm_start`` from those of the last fit.

        Parameters
        ----------
        X : (n, n_features) numbers; or a DataFrame, which may hold text and missing values
        y : (n,) labels, or (n, k) zeros and ones, which may be sparse
        sample_weight : (n,) from 0 up, or None
        eval_set : (X, y) or (X, y, sample_weight): held-out rows, by which the best epoch is kept and the fit stopped
        """
        self._fit(X, y, sample_weight, eval_set)
        return self

    @if_solver_has_epochs
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One epoch over these rows, from the weights of the call before; ``classes`` are all that there will ever be.

        The solver continues with its moments, its number of steps and its learning rate. Features are standardised by
        all rows so far; the columns of a DataFrame are encoded as for the rows of the first call.
        """
        known = self._targets if hasattr(self, "history_") else None  # if a fit was completed
        y, classes = exact_targets(on_host(y)), exact_targets(on_host(classes))
        refuse_other_classes(classes, y, known)
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows at once: use a dict, or sample_weight")
        self._fit(X, y, sample_weight, classes=classes, one_epoch=True)
        return self

    @overload
    def predict(self, X: np.ndarray) -> np.ndarray: ...
    @overload
    def predict(self, X: Any) -> Any: ...
    def predict(self, X: Any) -> Any:
        """(n,) labels, or (n, k) zeros and ones; of the kind and on the device that X is. Names come as NumPy.

        ValueError if X has other columns than in ``fit``, or values that do not fit; NotFittedError before ``fit``."""

        def answer(xp: Any, answered: Any) -> Any:
            labels = self._targets.labels
            if self._targets.is_multilabel:
                return answered.reshape(len(answered), -1).astype(np.int64)
            return xp.take(xp.asarray(labels), answered) if labels.dtype.kind in NUMBERS else labels[on_host(answered)]

        return self._predict_with(X, "predict", lambda net, rows: net.predict(rows), answer)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The fraction of rows whose label (of several: all labels) is right, by weight."""
        predicted = on_host(self.predict(X))
        y = exact_targets(on_host(y))
        refuse_no_labels(y)
        return float(accuracy_score(y, predicted, sample_weight=on_host(sample_weight)))
