"""What a fit does not depend on: the scale of weights, units of targets and columns, names of labels, order of rows.

Each function draws a case and says what went wrong, or None. What is left out, and why: targets and columns times a
number below 0, and columns or classes in another order with the same ``random_state``, have other first weights; they
are compared with the first weights changed alike. Rows in another order are other batches, but where all rows are one.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

import chainrule as cr
from campaigns.problems import (
    CLASSES,
    COUNTS,
    LIMIT,
    NUMBERS,
    SINGLE_EPOCHS,
    SINGLE_LIMIT,
    SMOOTH,
    Problem,
    Said,
    difference,
    draw,
    say,
    say_trained,
)

FACTORS = (1e-6, 1e3, 1e-30, 1e30)  # of weights, besides 1 / n
ONE_BATCH = (16, 30)  # rows, of which twice as many are one batch too
# The mean of numbers around 1e9 is known to an ulp, 1.2e-7, and is off by a few; 200 epochs make that larger.
OFFSET_LIMITS = {1e3: LIMIT, 1e6: 1e-5, 1e9: 1e-3}


# ---- weights ---------------------------------------------------------------------------------------


def weights_times_a_constant(rng: np.random.Generator) -> str | None:
    """Of an estimator: only ratios of weights count, also of held-out rows, of every loss."""
    problem, limit = _maybe_single(rng, _watched(rng, draw(rng, rows=(24, 130), calls=True)))
    n = len(problem.y)
    problem = problem.with_options(alpha=float(rng.choice([0.0, 1e-4, 0.1]))) if rng.random() < 0.5 else problem
    is_fit = problem.eval_set is None and not problem.calls
    if is_fit and problem.options.get("solver") != "lbfgs" and rng.random() < 0.2:
        problem = problem.with_options(early_stopping=True, validation_fraction=0.25)
    problem = problem if problem.calls else _balanced(rng, problem)
    weights = _weights(rng, n)
    first, other = problem.but(weights=weights), problem.but(weights=_times(rng, weights, n))
    if problem.eval_set is not None:
        held = _weights(rng, len(problem.eval_set[1]))
        pairs = [() if w is None else (w,) for w in (held, _times(rng, held, len(problem.eval_set[1])))]
        first, other = (p.but(eval_set=(*problem.eval_set, *w)) for p, w in zip((first, other), pairs, strict=True))
    return difference(say(first), say(other), unit=problem.deviation, limit=limit)


def trainer_weights_times_a_constant(rng: np.random.Generator) -> str | None:
    """Of a Trainer, with averages, several batches an update, a norm that is cut, rows on the host, and a penalty."""
    problem = draw(rng, rows=(24, 130), eval_set=1.0)
    weights, held = _weights(rng, len(problem.y)), _weights(rng, len(problem.eval_set[1]))
    settings: dict[str, Any] = {
        "batch_size": int(rng.choice([16, 1000])),
        "shrink": bool(rng.random() < 0.7),
        "ema": [None, 0.9][int(rng.integers(2))],
        "stream": bool(rng.random() < 0.3),
        "optimizer": [cr.AdamW(clip_norm=0.5), cr.Adam(), cr.SGD(0.01), cr.LBFGS(20)][int(rng.integers(4))],
    }
    if isinstance(settings["optimizer"], cr.LBFGS):
        settings |= {"ema": None, "stream": False}
    elif rng.random() < 0.3:
        settings["accumulate"] = 3
    else:
        settings["l2"] = float(rng.choice([0.0, 0.1]))
    if "class_weight" in _balanced(rng, problem).options:
        settings["class_weight"] = "balanced"
    n, held_n = len(problem.y), len(problem.eval_set[1])
    said = [
        say_trained(problem.but(weights=w, eval_set=(*problem.eval_set, *(() if v is None else (v,)))), **settings)
        for w, v in ((weights, held), (_times(rng, weights, n), _times(rng, held, held_n)))
    ]
    return difference(*said, unit=problem.deviation)


def weight_two_is_a_row_twice(rng: np.random.Generator) -> str | None:
    """Where all rows are one batch, of an estimator and of a Trainer, also of held-out rows."""
    problem = _by_epochs(_watched(rng, draw(rng, rows=ONE_BATCH)))
    problem = _framed(rng, problem) if rng.random() < 0.25 else problem
    w = _counts(rng, len(problem.y), 1, 3)
    first, other = problem.but(weights=w), _repeated(problem, w)
    if problem.eval_set is not None:
        X, y = problem.eval_set
        held = _counts(rng, len(y), 1, 3)
        first = first.but(eval_set=(X, y, held))
        rows = np.repeat(np.arange(len(y)), held.astype(int))
        other = other.but(eval_set=(_taken(X, rows), y[rows]))
    return _by_either(rng, problem, first, other)


def weight_zero_is_no_row(rng: np.random.Generator) -> str | None:
    """Where all rows are one batch; a row of weight 0 may be far out, and of any target that the loss allows."""
    problem = _by_epochs(_watched(rng, draw(rng, rows=(24, 60))))
    w = _counts(rng, len(problem.y), 0, 2)
    if problem.is_of_classes and problem.loss != "multilabel":
        w[np.unique(problem.y, return_index=True)[1]] = 1.0  # no class goes
    kept = w > 0
    X, y = problem.X.copy(), problem.y.copy()
    if rng.random() < 0.5:
        X[~kept] *= 1e4
        if not problem.is_of_classes:
            y[~kept] = np.abs(y[~kept]) * 1e4 + 1
    problem = problem.but(X=X, y=y)
    problem = _framed(rng, problem) if rng.random() < 0.25 else problem
    first, other = problem.but(weights=w), problem.but(X=_taken(problem.X, np.flatnonzero(kept)), y=y[kept])
    if problem.eval_set is not None:
        held_X, held_y = problem.eval_set
        held = _counts(rng, len(held_y), 0, 2)
        held[:2] = 1.0
        first = first.but(eval_set=(held_X, held_y, held))
        other = other.but(eval_set=(_taken(held_X, np.flatnonzero(held)), held_y[held > 0]))
    return _by_either(rng, other, first, other)


def no_weights_are_weights_of_one(rng: np.random.Generator) -> str | None:
    """None, ones of any dtype, and a list."""
    problem = draw(rng, rows=(24, 90), calls=True)
    n = len(problem.y)
    ones = [np.ones(n), np.ones(n, np.float32), np.ones(n, np.int64), [1] * n, np.full(n, 7.0)][int(rng.integers(5))]
    return difference(say(problem), say(problem.but(weights=ones)), unit=problem.deviation)


def _weights(rng: np.random.Generator, n: int) -> np.ndarray | None:
    """None (all alike), or drawn, some of them 0."""
    kind = rng.integers(3)
    weights = rng.uniform(0.1, 2, n)
    if kind == 2:
        weights[rng.random(n) < 0.2] = 0.0
        weights[:2] = 1.0
    return weights if kind else None


def _times(rng: np.random.Generator, weights: np.ndarray | None, n: int) -> np.ndarray:
    factor = float(rng.choice([*FACTORS, 1 / n]))
    return np.full(n, factor) if weights is None else weights * factor


def _counts(rng: np.random.Generator, n: int, low: int, high: int) -> np.ndarray:
    return rng.integers(low, high, n).astype(np.float64)


def _repeated(problem: Problem, counts: np.ndarray) -> Problem:
    """Each row so many times."""
    rows = np.repeat(np.arange(len(counts)), counts.astype(int))
    return problem.but(X=_taken(problem.X, rows), y=problem.y[rows])


def _taken(X: Any, rows: np.ndarray) -> Any:
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def _by_epochs(problem: Problem) -> Problem:
    """The rate of "invscaling" goes by rows, whatever they weigh."""
    return problem.with_options(learning_rate="cosine") if "learning_rate" in problem.options else problem


def _balanced(rng: np.random.Generator, problem: Problem) -> Problem:
    """Sometimes with classes of equal weight, if the problem has classes."""
    if not problem.is_of_classes or problem.loss == "multilabel" or rng.random() > 0.3:
        return problem
    return problem.with_options(class_weight="balanced")


def _watched(rng: np.random.Generator, problem: Problem) -> Problem:
    """With another metric of the held-out rows that chooses the epoch, now and then."""
    names = ["loss", "roc_auc", "balanced_accuracy", "log_loss"]
    if not problem.is_of_classes:
        names = ["loss"] if problem.loss in {"quantile", "gaussian_nll"} else ["loss", "rmse", "mae"]
    elif problem.loss == "multilabel":
        names = ["loss", "roc_auc"]
    if problem.eval_set is None or rng.random() < 0.5:
        return problem
    return problem.with_options(monitor=f"valid_{rng.choice(names)}")


def _by_either(rng: np.random.Generator, whole: Problem, first: Problem, other: Problem) -> str | None:
    """The two by an estimator or, prepared by the ``whole``, by a Trainer."""
    if isinstance(whole.X, pd.DataFrame):
        return difference(say(first), say(other), unit=whole.deviation, limit=SINGLE_LIMIT)
    if rng.random() < 0.7:
        balanced = _balanced(rng, first).options
        return difference(*(say(p.with_options(**balanced)) for p in (first, other)), unit=whole.deviation)
    settings: dict[str, Any] = {"shrink": first.eval_set is not None, "optimizer": cr.AdamW()}
    if "class_weight" in _balanced(rng, first).options:
        settings["class_weight"] = "balanced"
    said = (say_trained(problem, like=whole, **settings) for problem in (first, other))
    return difference(*said, unit=whole.deviation)


def _maybe_single(rng: np.random.Generator, problem: Problem) -> tuple[Problem, float]:
    """The same in float32, for a few epochs, one time in six."""
    if rng.random() > 1 / 6:
        return problem, LIMIT
    return _for_single(problem).with_options(dtype="float32"), SINGLE_LIMIT


def _for_single(problem: Problem) -> Problem:
    """For a few epochs, and not by lbfgs, whose line searches make much of a rounding."""
    solver = {"solver": "adam"} if problem.options.get("solver") == "lbfgs" else {}
    return problem.with_options(max_iter=SINGLE_EPOCHS, **solver)


# ---- targets ---------------------------------------------------------------------------------------


def target_times_a_constant(rng: np.random.Generator) -> str | None:
    """Units of the target, one a column, to 1e100 and back."""
    problem = draw(rng, NUMBERS, calls=True)
    scale = _one_a_column(rng, problem.y, (1e-100, 1e-6, 0.01, 1e3, 1e100))
    other = problem.but(y=problem.y * scale, eval_set=_with_target(problem.eval_set, scale, 0.0))
    return difference(say(problem), say(other).in_units(1 / scale), unit=problem.deviation)


def target_plus_a_constant(rng: np.random.Generator) -> str | None:
    """Offsets of up to 1e9 deviations, of arrays and of DataFrames with text and holes."""
    problem = draw(rng, NUMBERS, calls=True)
    offset = float(rng.choice(list(OFFSET_LIMITS)))
    problem, limit = _without_kinks(rng, problem, offset), OFFSET_LIMITS[offset]
    if rng.random() < 0.3:
        problem, limit = _framed(rng, problem), max(limit, SINGLE_LIMIT)
    shift = offset * (-1.0 if rng.random() < 0.3 else 1.0)
    other = problem.but(y=problem.y + shift, eval_set=_with_target(problem.eval_set, 1.0, shift))
    return difference(say(problem), say(other).in_units(1.0, -shift), unit=problem.deviation, limit=limit)


def target_from_float32_rows(rng: np.random.Generator) -> str | None:
    """A net of float32 says its numbers in the target's units in float64: an offset of 1e9 costs it nothing."""
    problem = _for_single(draw(rng, NUMBERS, several=False))
    problem = problem.but(X=problem.X.astype(np.float32), new=problem.new.astype(np.float32))
    shift = float(rng.choice([1e6, 1e9]))
    other = problem.but(y=problem.y + shift, eval_set=_with_target(problem.eval_set, 1.0, shift))
    said = say(problem), say(other).in_units(1.0, -shift)
    return difference(*said, unit=problem.deviation, limit=SINGLE_LIMIT)


def counts_times_a_constant(rng: np.random.Generator) -> str | None:
    """Of gamma and poisson, whose mean is exp(z): a factor is a constant in z.

    The loss of gamma is moved by it, that of poisson multiplied too. What Adam makes of that is the same where its
    epsilon is nothing beside the gradient; the rate of sgd and a penalty would have to change, and lbfgs ends where the
    loss falls by less than a part of it.
    """
    problem = draw(rng, COUNTS, calls=True)
    problem = problem.with_options(alpha=0.0, epsilon=1e-200, solver="adam", learning_rate="cosine")
    scale = float(rng.choice([1e-6, 0.01, 100.0, 1e6]))
    other = problem.but(y=problem.y * scale, eval_set=_with_target(problem.eval_set, scale, 0.0))
    return difference(say(problem), say(other).in_units(1 / scale), unit=problem.deviation, shifts=True)


def _one_a_column(rng: np.random.Generator, y: np.ndarray, values: tuple[float, ...]) -> Any:
    found = rng.choice(values, size=1 if y.ndim == 1 else y.shape[1])
    return float(found[0]) if y.ndim == 1 else found


def _with_target(eval_set: tuple[Any, ...] | None, scale: Any, shift: float) -> tuple[Any, ...] | None:
    return None if eval_set is None else (eval_set[0], eval_set[1] * scale + shift, *eval_set[2:])


def _without_kinks(rng: np.random.Generator, problem: Problem, offset: float) -> Problem:
    """With a smooth activation where numbers are off by more than rounding: a relu that is just above 0 here and just
    below there has another gradient."""
    if offset < 1e6:
        return problem
    return problem.with_options(activation=str(rng.choice(SMOOTH)))


# ---- columns ---------------------------------------------------------------------------------------


def columns_plus_a_constant(rng: np.random.Generator) -> str | None:
    """Time stamps and other offsets of up to 1e9 deviations, also beside text and holes."""
    problem = draw(rng, calls=True)
    offset = float(rng.choice(list(OFFSET_LIMITS)))
    problem, limit = _without_kinks(rng, problem, offset), OFFSET_LIMITS[offset]
    shift = offset * rng.choice([-1.0, 0.0, 1.0], size=problem.X.shape[1])
    other = _with_columns(problem, 1.0, shift)
    if rng.random() < 0.4:
        seed, limit = int(rng.integers(1 << 31)), max(limit, SINGLE_LIMIT)
        problem, other = (_framed(np.random.default_rng(seed), p) for p in (problem, other))
    return difference(say(problem), say(other), unit=problem.deviation, limit=limit)


def columns_times_a_constant(rng: np.random.Generator) -> str | None:
    """Units of the columns, from those whose squares underflow up to 1e100, also beside text and holes."""
    problem, limit = draw(rng, calls=True), LIMIT
    scale = rng.choice([1e-170, 1e-100, 1e-30, 0.01, 1e3, 1e100], size=problem.X.shape[1])
    other = _with_columns(problem, scale, 0.0)
    if rng.random() < 0.3:
        seed, limit = int(rng.integers(1 << 31)), SINGLE_LIMIT
        problem, other = (_framed(np.random.default_rng(seed), p) for p in (problem, other))
    return difference(say(problem), say(other), unit=problem.deviation, limit=limit)


def column_of_one_value(rng: np.random.Generator) -> str | None:
    """A column that never changed has taught nothing: neither its value matters nor the one that comes later."""
    problem = draw(rng, calls=True)
    values = rng.choice([0.0, 0.1, 2024.0, -1e9, 1e-100, 1e100], size=4)
    said = []
    for trained, asked in values.reshape(2, 2):
        held_out = problem.eval_set and (_beside(problem.eval_set[0], asked), problem.eval_set[1])
        whole = problem.but(X=_beside(problem.X, trained), new=_beside(problem.new, asked), eval_set=held_out)
        said.append(say(whole))
    return difference(*said, unit=problem.deviation)


def columns_in_another_order(rng: np.random.Generator) -> str | None:
    """The first layer's weights in the same order: the same net, by a Trainer and by an estimator's warm start."""
    problem = draw(rng, columns=int(rng.integers(2, 6)))
    order = rng.permutation(problem.X.shape[1])
    held_out = problem.eval_set and (problem.eval_set[0][:, order], problem.eval_set[1])
    other = problem.but(X=problem.X[:, order], new=problem.new[:, order], eval_set=held_out)

    def reorder(net: cr.Network) -> None:
        net.assign_parameters({"dense0.W": net.parameter_arena.download()["dense0.W"][order]})

    if rng.random() < 0.5:
        return difference(say_trained(problem), say_trained(other, change=reorder), unit=problem.deviation)
    return difference(_warm(problem), _warm(other, reorder, like=problem), unit=problem.deviation)


def rows_in_another_order(rng: np.random.Generator) -> str | None:
    """Where all rows are one batch: all that is drawn of rows, and folds, goes by the rows themselves."""
    problem = draw(rng).with_options(shuffle=bool(rng.random() < 0.5))
    order = rng.permutation(len(problem.y))
    weights = rng.uniform(0.1, 2, len(order)) if rng.random() < 0.5 else None
    first = problem.but(weights=weights)
    other = problem.but(X=problem.X[order], y=problem.y[order], weights=None if weights is None else weights[order])
    return difference(say(first), say(other), unit=problem.deviation)


def _with_columns(problem: Problem, scale: Any, shift: Any) -> Problem:
    held_out = problem.eval_set and (problem.eval_set[0] * scale + shift, *problem.eval_set[1:])
    return problem.but(X=problem.X * scale + shift, new=problem.new * scale + shift, eval_set=held_out)


def _beside(X: np.ndarray, value: float) -> np.ndarray:
    return np.column_stack([X, np.full(len(X), value)])


def _framed(rng: np.random.Generator, problem: Problem) -> Problem:
    """With a column of text and one with holes beside the numbers, which makes a net of float32: for a few epochs."""

    def frame(X: np.ndarray) -> pd.DataFrame:
        holes = np.where(rng.random(len(X)) < 0.2, np.nan, rng.normal(size=len(X)))
        text = rng.choice(["red", "green", "blue"], size=len(X))
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]).assign(holes=holes, text=text)

    held_out = problem.eval_set and (frame(problem.eval_set[0]), *problem.eval_set[1:])
    framed = problem.but(X=frame(problem.X), new=frame(problem.new), eval_set=held_out)
    return _for_single(framed)


def _warm(problem: Problem, change: Any = None, like: Problem | None = None) -> Said:
    """An estimator that starts from initial weights of its own: those of ``like`` changed, by default as drawn."""
    estimator, drawn = _begun(problem), _begun(problem if like is None else like)
    estimator.network_.assign_parameters(drawn.network_.parameter_arena.download())
    if change is not None:
        change(estimator.network_)
    return say(problem, estimator.set_params(max_iter=problem.options.get("max_iter", "auto")))


def _begun(problem: Problem) -> Any:
    with warnings.catch_warnings(action="ignore"):  # one epoch is few
        return problem.with_options(max_iter=1, warm_start=True).estimator().fit(problem.X, problem.y)


# ---- labels ----------------------------------------------------------------------------------------


def labels_by_other_names(rng: np.random.Generator) -> str | None:
    """Names in the same order are the same classes: text, numbers beyond 2^53, booleans, of every kind of array."""
    problem = draw(rng, ("log_loss", "binary_log_loss", "focal"), calls=True)
    k = int(problem.y.max()) + 1
    names = _names(rng, k)
    if rng.random() < 0.3:
        shares = rng.uniform(0.5, 2, k)
        problem = problem.with_options(class_weight=dict(enumerate(shares.tolist())))
    held_out = problem.eval_set and (problem.eval_set[0], _labels(rng, names, problem.eval_set[1]))
    other = problem.but(y=_labels(rng, names, problem.y), eval_set=held_out)
    if "class_weight" in problem.options:
        other = other.with_options(class_weight=dict(zip(names, shares.tolist(), strict=True)))
    first, second = say(problem), say(other)
    by_code = {name: code for code, name in enumerate(names)}
    try:
        second.predictions["predict"] = np.array([by_code[label] for label in second.predictions["predict"].tolist()])
    except KeyError as error:
        return f"the label {error} for one of {names}"
    return difference(first, second, limit=0.0)


def labels_in_another_order(rng: np.random.Generator) -> str | None:
    """The output layer in the same order: the same net. Of two classes with one output its sign is the other."""
    problem = draw(rng, CLASSES)
    k = 1 if problem.loss == "binary_log_loss" else 3
    order = rng.permutation(k)  # class order[c] becomes class c
    is_binary = problem.loss == "binary_log_loss"

    def renamed(y: np.ndarray) -> np.ndarray:
        if is_binary:
            return 1 - y
        return y[:, order] if problem.loss == "multilabel" else np.argsort(order)[y]

    def reorder(net: cr.Network) -> None:
        name = net.nodes[-1].name
        W = net.parameter_arena.download()[f"{name}.W"]
        net.assign_parameters({f"{name}.W": -W if is_binary else W[:, order]})

    held_out = problem.eval_set and (problem.eval_set[0], renamed(problem.eval_set[1]))
    settings = {"shrink": held_out is not None}
    first = say_trained(problem, **settings)
    second = say_trained(problem.but(y=renamed(problem.y), eval_set=held_out), change=reorder, **settings)
    p = second.predictions
    if is_binary:
        p["predict_proba"], p["predict"] = 1 - p["predict_proba"], 1 - p["predict"]
    else:
        back = np.argsort(order)
        p["predict_proba"] = p["predict_proba"][:, back]
        p["predict"] = p["predict"][:, back] if problem.loss == "multilabel" else order[p["predict"]]
    return difference(first, second)


def _names(rng: np.random.Generator, k: int) -> list[Any]:
    """k names in their order."""
    kinds: list[list[Any]] = [
        ["ant", "bee", "cat"],
        ["1", "1.0", "2"],
        ["", " ", "a"],
        ["é", "ü", "語"],
        [2**60, 2**60 + 1, 2**60 + 2],
        [-(2**62), 0, 2**62],
        [2**63, 2**63 + 1, 2**64 - 1],
        [-1.0, 0.0, 1e15],
        [-1, 1, 2],
        ["NA", "None", "nan"],
        [10, 9_007_199_254_740_993, 9_007_199_254_740_994],
    ]
    if k == 2 and rng.random() < 0.2:
        return [False, True]
    return kinds[int(rng.integers(len(kinds)))][:k]


def _labels(rng: np.random.Generator, names: list[Any], y: np.ndarray) -> Any:
    values = [names[code] for code in y]
    if isinstance(names[0], int) and not isinstance(names[0], bool):
        array = np.array(values, np.uint64 if max(names) >= 2**63 else np.int64)
    else:
        array = np.array(values)
    kinds = [array, pd.Series(array), array[:, None][:, 0]]
    if isinstance(names[0], str):
        kinds += [values, np.array(values, object), pd.Series(values).astype("category")]
    return kinds[int(rng.integers(len(kinds)))]
