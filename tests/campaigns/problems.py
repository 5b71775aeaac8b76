"""Small problems of every loss, what a fit says of them, and by how much two fits differ: for :mod:`invariances`."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

import chainrule as cr

NUMBERS = ("squared_error", "absolute_error", "huber", "quantile", "gaussian_nll")  # targets are standardised
COUNTS = ("poisson", "gamma")  # targets keep their scale
CLASSES = ("log_loss", "binary_log_loss", "focal", "multilabel")
LOSSES = (*NUMBERS, *COUNTS, *CLASSES)

SMOOTH = ("tanh", "gelu", "silu", "softplus")
GRID = 2.0**-12  # numbers are multiples of it, below 2^11: exact in float32, and in float64 beside an offset of 1e9
# Of the target's deviation, a probability, a metric. Sums in another order are off by 1e-16 and training makes that
# larger, in all that was tried by less than 1e-9.
LIMIT = 1e-6
# One rounding of float32 in a weight or a feature is 6e-8; 20 epochs make it larger than LIMIT.
SINGLE_LIMIT = 1e-3
SINGLE_EPOCHS = 20
ROUNDS = 3  # of partial fits


@dataclass(frozen=True)
class Problem:
    """Rows to train on, rows to ask for, and how an estimator is to be fitted.

    Parameters
    ----------
    loss : one of :data:`LOSSES`
    X, y, weights, eval_set : as ``fit`` takes them
    new : rows like X to predict
    options : of the estimator
    calls : of ``partial_fit``, a part of the rows each, in each of three rounds; 0 for one ``fit``
    """

    loss: str
    X: Any
    y: Any
    new: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Any = None
    eval_set: tuple[Any, ...] | None = None
    calls: int = 0

    @property
    def is_of_classes(self) -> bool:
        """Whether it is for the classifier."""
        return self.loss in CLASSES

    @property
    def deviation(self) -> Any:
        """What a difference of predictions is measured in: of each column of the targets; 1 for classes."""
        return 1.0 if self.is_of_classes else np.std(self.y, axis=0)

    def but(self, **changes: Any) -> Self:
        """The same with other rows or weights."""
        return replace(self, **changes)

    def with_options(self, **options: Any) -> Self:
        """The same with other options of the estimator."""
        return replace(self, options={**self.options, **options})

    def estimator(self) -> Any:
        """Not fitted yet."""
        if not self.is_of_classes:
            return cr.MLPRegressor(loss=self.loss, **self.options)
        return cr.MLPClassifier(loss="focal" if self.loss == "focal" else "log_loss", **self.options)


@dataclass(frozen=True)
class Said:
    """What a fit says of itself and of the problem's new rows."""

    predictions: dict[str, np.ndarray]
    history: dict[str, list[float]]
    factor: float | None
    best: int | None
    messages: tuple[str, ...]

    def in_units(self, scale: Any, shift: Any = 0.0) -> Said:
        """The same with predictions p of a target times ``scale`` plus ``shift`` (a number, or one a column)."""
        found = dict(self.predictions)
        predicted = found["predict"]
        if np.ndim(scale) and predicted.ndim == 3:  # quantiles of several columns
            scale, shift = np.asarray(scale)[:, None], np.broadcast_to(shift, np.shape(scale))[:, None]
        found["predict"] = predicted * scale + shift
        if "variance" in found:
            found["variance"] = found["variance"] * np.square(scale)
        return replace(self, predictions=found)


# ---- problems --------------------------------------------------------------------------------------


def draw(
    rng: np.random.Generator,
    losses: tuple[str, ...] = LOSSES,
    *,
    rows: tuple[int, int] = (24, 60),
    columns: int | None = None,
    several: bool = True,
    eval_set: float = 0.25,
    calls: bool = False,
) -> Problem:
    """A problem of one of the losses.

    Parameters
    ----------
    rows : the fewest and the most; up to 64 are one batch
    several : whether there may be two columns of targets
    eval_set : the probability that rows are held out
    calls : whether it may be for ``partial_fit``
    """
    loss = str(rng.choice(losses))
    n, d = int(rng.integers(rows[0], rows[1] + 1)), columns or int(rng.integers(2, 6))
    several = several and bool(rng.random() < 0.25)
    noise = float(rng.choice([0.1, 1.0, 4.0]))
    X, y = _rows(rng, loss, n, d, noise, several=several)
    options, new, held_out = options_of(rng), _features(rng, 20, d), None
    if calls and rng.random() < 0.2 and options.get("solver") != "lbfgs":
        return Problem(loss, X, y, new, options, calls=int(rng.integers(1, 4)))
    if rng.random() < eval_set:
        held_out = _rows(rng, loss, max(12, n // 3), d, noise, several=several)
    return Problem(loss, X, y, new, options, None, held_out)


def options_of(rng: np.random.Generator) -> dict[str, Any]:
    """Mostly what users run, the defaults; else a small net with other options."""
    seed = {"random_state": int(rng.integers(1 << 31))}
    if rng.random() < 0.3:
        return seed
    small: dict[str, Any] = {
        "hidden_layer_sizes": [(8,), (6, 5), ()][int(rng.integers(3))],
        "max_iter": int(rng.integers(10, 60)),
        "activation": str(rng.choice(["relu", *SMOOTH])),
        "shrink": bool(rng.random() < 0.7),
    }
    match int(rng.integers(5)):
        case 0:
            small |= {"solver": "lbfgs"}
        case 1:
            rates = ["cosine", "constant", "invscaling", "adaptive"]
            small |= {"solver": "sgd", "learning_rate_init": 0.01, "learning_rate": str(rng.choice(rates))}
        case 2:
            small |= {"normalization": "layer"}
    return seed | small


def _features(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return on_grid(rng.normal(size=(n, d)))


def _rows(
    rng: np.random.Generator, loss: str, n: int, d: int, noise: float, *, several: bool
) -> tuple[np.ndarray, np.ndarray]:
    X = _features(rng, n, d)
    k = 3 if loss == "multilabel" else 2 if several and loss not in CLASSES else 1
    signal = np.stack([X[:, j % d] - X[:, (j + 1) % d] ** 2 / 2 for j in range(k)], axis=1)
    signal += noise * rng.normal(size=(n, k))
    y = signal if k > 1 else signal[:, 0]
    if loss in {"log_loss", "focal", "binary_log_loss"}:
        classes = 2 if loss == "binary_log_loss" else 3
        return X, np.argsort(np.argsort(y)) * classes // n
    if loss == "multilabel":
        return X, (y > np.median(y, axis=0)).astype(np.int64)
    if loss == "poisson":
        return X, rng.poisson(np.exp(1 + np.clip(y, -3, 3) / 2)).astype(np.float64)
    if loss == "gamma":
        return X, on_grid(rng.gamma(2.0, np.exp(np.clip(y, -3, 3) / 2))) + GRID
    return X, on_grid(y)


def on_grid(values: np.ndarray) -> np.ndarray:
    """The nearest multiples of :data:`GRID`."""
    return np.round(values / GRID) * GRID


# ---- fits ------------------------------------------------------------------------------------------


def say(problem: Problem, estimator: Any | None = None) -> Said:
    """Fit an estimator, by default a new one, and ask it."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        estimator = problem.estimator() if estimator is None else estimator
        _fit(estimator, problem)
        predictions = asked_of(estimator, problem, problem.new)
        sure = _sure_labels(asked_of(estimator, problem, problem.X))
        if sure is None or sure.all():  # else a rounding would decide what the score is
            predictions["score"] = np.array(estimator.score(problem.X, problem.y, problem.weights))
    return Said(
        predictions,
        untimed(estimator.history_),
        estimator.shrinkage_,
        estimator.best_iteration_,
        tuple(sorted(str(message.message) for message in messages)),
    )


def asked_of(estimator: Any, problem: Problem, rows: Any) -> dict[str, np.ndarray]:
    """All that an estimator says of rows."""
    found = {"predict": np.asarray(estimator.predict(rows))}
    if problem.is_of_classes:
        found["predict_proba"] = np.asarray(estimator.predict_proba(rows))
    elif problem.loss == "gaussian_nll" and isinstance(rows, np.ndarray):
        found["variance"] = np.asarray(estimator.network_.predict_distribution(rows).variance)
    return found


def _fit(estimator: Any, problem: Problem) -> None:
    X, y, weights = problem.X, problem.y, problem.weights
    if not problem.calls:
        estimator.fit(X, y, weights, **({} if problem.eval_set is None else {"eval_set": problem.eval_set}))
        return
    classes = {"classes": np.unique(np.asarray(y))} if problem.is_of_classes and problem.loss != "multilabel" else {}
    cuts = np.linspace(0, len(y), problem.calls + 1).astype(int).tolist()
    for _ in range(ROUNDS):
        for start, stop in itertools.pairwise(cuts):
            part = slice(start, stop)
            estimator.partial_fit(X[part], y[part], None if weights is None else weights[part], **classes)


def say_trained(
    problem: Problem,
    *,
    change: Callable[[cr.Network], None] | None = None,
    like: Problem | None = None,
    class_weight: str | None = None,
    **settings: Any,
) -> Said:
    """What a Trainer makes of the rows, with a net that is prepared by those of ``like``, by default its own.

    ``change`` is given the net before.
    """
    net = net_of(problem if like is None else like)
    if change is not None:
        change(net)
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        trainer = cr.Trainer(net, **{"batch_size": 1000, "epochs": 30, "seed": 1} | settings)
        run = trainer.fit(
            problem.X,
            problem.y,
            sample_weight=problem.weights,
            class_weight=class_weight,
            validation=problem.eval_set,
        )
    return Said(
        asked(net, problem.new),
        untimed(run.history),
        None if run.shrinkage is None else run.shrinkage.factor,
        run.best_epoch,
        tuple(sorted(str(message.message) for message in messages)),
    )


def asked(net: cr.Network, new: Any) -> dict[str, np.ndarray]:
    """All that a net says of rows."""
    found = {"predict": np.asarray(net.predict(new))}
    if net.loss.task != "regress":
        found["predict_proba"] = np.asarray(net.predict_proba(new))
    elif net.loss.name == "gaussian_nll":
        found["variance"] = np.asarray(net.predict_distribution(new).variance)
    return found


def untimed(history: Mapping[str, Any]) -> dict[str, list[float]]:
    """A history without what the clock says."""
    return {name: [float(value) for value in values] for name, values in history.items() if name != "seconds"}


def loss_of(problem: Problem) -> tuple[Any, int]:
    """The loss of a net for it, and the outputs."""
    if problem.loss == "multilabel":
        return "sigmoid_cross_entropy", problem.y.shape[1]
    if problem.loss == "binary_log_loss":
        return "sigmoid_cross_entropy", 1
    if problem.loss in CLASSES:
        return {"log_loss": "softmax_cross_entropy"}.get(problem.loss, problem.loss), int(problem.y.max()) + 1
    loss = {"quantile": cr.Quantile(), "gaussian_nll": cr.GaussianNLL()}.get(problem.loss, problem.loss)
    columns = 1 if problem.y.ndim == 1 else problem.y.shape[1]
    return loss, columns * (getattr(loss, "outputs_each", 1))


def net_of(problem: Problem, dtype: str = "float64") -> cr.Network:
    """A net for a Trainer, prepared for these rows as an estimator prepares its own; weights have no say in it."""
    loss, n_out = loss_of(problem)
    seed, hidden = problem.options["random_state"], problem.options.get("hidden_layer_sizes", (20,))
    net = cr.MLP(
        [problem.X.shape[1], *hidden, n_out],
        activation=problem.options.get("activation", "relu"),
        loss=loss,
        dtype=dtype,
        seed=seed,
        backend=cr.backend("cpu"),
    )
    targets = cr.Standardization.fit(problem.y) if problem.loss in NUMBERS else None
    net.preparation = cr.Preparation(cr.Standardization.fit(problem.X, limit=3.0), targets)
    return net


# ---- differences -----------------------------------------------------------------------------------


def difference(a: Said, b: Said, *, unit: Any = 1.0, limit: float = LIMIT, shifts: bool = False) -> str | None:
    """In what two fits differ by more than ``limit``; None where they are the same.

    Parameters
    ----------
    unit : in which predictions are measured, a number or one for each column of the targets
    shifts : of the history only the metrics are compared: losses differ by a constant
    """
    found: list[str] = []
    if a.messages != b.messages:
        found.append(f"messages {a.messages} and {b.messages}")
    if (a.factor is None) != (b.factor is None) or abs((a.factor or 0) - (b.factor or 0)) > limit:
        found.append(f"factor {a.factor} and {b.factor}")
    if a.best != b.best:
        found.append(f"best epoch {a.best} and {b.best}")
    found += _of_histories(a.history, b.history, limit, shifts=shifts)
    found += _of_predictions(a.predictions, b.predictions, unit, limit)
    return "; ".join(found) or None


def _of_histories(
    a: Mapping[str, list[float]], b: Mapping[str, list[float]], limit: float, *, shifts: bool
) -> list[str]:
    if a.keys() != b.keys():
        return [f"histories of {sorted(a)} and {sorted(b)}"]
    for name in a:
        if shifts and name.endswith("loss"):
            continue
        if len(a[name]) != len(b[name]):
            return [f"{len(a[name])} and {len(b[name])} epochs"]
        if (off := gap(np.array(a[name]), np.array(b[name]), 1.0)) > limit:
            return [f"{name} off by {off:.1e}"]
    return []


def _of_predictions(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], unit: Any, limit: float) -> list[str]:
    found = []
    sure = _sure_labels(a)
    for name, values in a.items():
        other = b.get(name, values)
        if values.shape != other.shape:
            found.append(f"{name} of {values.shape} and {other.shape}")
        elif name == "predict" and sure is not None:
            if (wrong := int((values != other)[sure].sum())) > 0:
                found.append(f"{wrong} other labels")
        elif (off := gap(values, other, _unit_of(name, values, unit))) > limit:
            found.append(f"{name} off by {off:.1e}")
    return found


def _unit_of(name: str, values: np.ndarray, unit: Any) -> Any:
    if name == "variance":
        return np.square(unit)
    if name != "predict":
        return 1.0
    return np.asarray(unit)[:, None] if np.ndim(unit) and values.ndim == 3 else unit


def _sure_labels(said: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Which labels are no tie, that a rounding would decide; None if a target is no label."""
    if "predict_proba" not in said:
        return None
    p = said["predict_proba"]
    if said["predict"].ndim == 2 or p.ndim == 1:
        sure: np.ndarray = np.abs(p - 0.5) > LIMIT
        return sure
    highest = np.sort(p, axis=1)
    return np.asarray(highest[:, -1] - highest[:, -2] > LIMIT)


def gap(a: np.ndarray, b: np.ndarray, unit: Any) -> float:
    """The largest |a - b| in units; of an element that is larger than the unit, of itself. nan beside nan is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(a - b) / np.maximum(unit, np.minimum(np.abs(a), np.abs(b)))
    return float(np.nan_to_num(off, nan=0.0, posinf=np.inf).max(initial=0.0))
