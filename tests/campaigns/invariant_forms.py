"""What a fit does not depend on: the kind of file, frame or array that rows come in, and the door that they come by.

Each function draws a case and says what went wrong, or None. Of estimator, command and Trainer the settings are such
that they are meant to be the same; what cannot be is left out. An estimator's Adam has its epsilon where scikit-learn
has it, and its squared error is halved: the loss is given, and the solver is sgd or lbfgs where a command is asked. Its
held-out rows are folds, the command's a part of the table: they meet without, or where both are given the rows.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

import chainrule as cr
from campaigns.problems import (
    LIMIT,
    LOSSES,
    NUMBERS,
    SINGLE_LIMIT,
    Problem,
    Said,
    asked,
    difference,
    draw,
    gap,
    on_grid,
    say,
    untimed,
)
from chainrule.cli.main import main
from chainrule.estimators.losses import BinaryLogLoss, HalfSquaredError

BIG = np.iinfo(np.int32).max  # an estimator draws the seed of its net below it
OF_COMMAND = {  # a problem's loss as the command calls it and as an estimator takes the same
    "squared_error": cr.SquaredError(), "log_loss": cr.SoftmaxCrossEntropy(), "multilabel": cr.SigmoidCrossEntropy(),
    "binary_log_loss": cr.SoftmaxCrossEntropy(),
}  # fmt: skip


# ---- arrays ----------------------------------------------------------------------------------------


def layouts_of_arrays(rng: np.random.Generator) -> str | None:
    """C and Fortran order, strides, the other end first, not to be written, other bytes first, in a file."""
    problem = draw(rng)
    weights = rng.uniform(0.1, 2, len(problem.y)) if rng.random() < 0.5 else None
    # SciPy's sparse arrays, as which scikit-learn scores several labels per row, have the byte order of the machine.
    swaps = problem.loss != "multilabel"
    held_out = problem.eval_set and tuple(_laid_out(rng, part, swaps=swaps) for part in problem.eval_set)
    other = problem.but(
        X=_laid_out(rng, problem.X),
        y=_laid_out(rng, problem.y, swaps=swaps),
        new=_laid_out(rng, problem.new),
        weights=None if weights is None else _laid_out(rng, weights),
        eval_set=held_out,
    )
    return difference(say(problem.but(weights=weights)), say(other), unit=problem.deviation)


def float32_and_float64_rows(rng: np.random.Generator) -> str | None:
    """The same values in both, and in whole numbers where they are whole, for a net of one dtype."""
    problem = draw(rng, calls=True).with_options(dtype=str(rng.choice(["float32", "float64"])))
    if problem.options["dtype"] == "float32" and problem.options.get("solver") == "lbfgs":
        problem = problem.with_options(solver="adam")  # lbfgs makes much of a rounding
    kind: Any = np.float32
    if rng.random() < 0.4:
        kind = rng.choice([np.int8, np.int16, np.int64, np.float16])
        held_out = problem.eval_set and (np.round(problem.eval_set[0] * 8), problem.eval_set[1])
        problem = problem.but(X=np.round(problem.X * 8), new=np.round(problem.new * 8), eval_set=held_out)
    other = problem.but(
        X=problem.X.astype(kind),
        new=problem.new.astype(kind),
        y=problem.y if problem.loss in NUMBERS else problem.y.astype(np.int32 if problem.is_of_classes else np.float32),
        eval_set=problem.eval_set and (problem.eval_set[0].astype(kind), problem.eval_set[1]),
    )
    limit = LIMIT if problem.options["dtype"] == "float64" else SINGLE_LIMIT
    return difference(say(problem), say(other), unit=problem.deviation, limit=limit)


def _laid_out(rng: np.random.Generator, values: np.ndarray, *, swaps: bool = True) -> np.ndarray:
    """The same values otherwise in memory; ``swaps`` allows the other order of bytes."""
    match int(rng.integers(6)):
        case 0:
            return np.asfortranarray(values)
        case 1:
            wide = np.zeros((2 * len(values), *(3 * size for size in values.shape[1:])), values.dtype)
            view = wide[1::2][(slice(None), *(slice(1, None, 3) for _ in values.shape[1:]))]
            view[...] = values
            return view
        case 2:
            return values[::-1].copy()[::-1]
        case 3:
            read_only = values.copy()
            read_only.flags.writeable = False
            return read_only
        case 4 if swaps:
            return values.astype(values.dtype.newbyteorder())
    path = f"{rng.integers(1 << 62)}.npy"  # of its own: another array may still lie in the last one's
    np.save(path, values)
    mapped: np.ndarray = np.load(path, mmap_mode="r")
    Path(path).unlink()
    return mapped


# ---- tables ----------------------------------------------------------------------------------------


def kinds_of_tables(rng: np.random.Generator) -> str | None:
    """read_table of one table as text, Parquet, Feather, pandas, Polars, Arrow and array: the same columns."""
    frame = _table(rng, 30, numbers=bool(rng.random() < 0.3))
    first, *others = ((kind, cr.read_table(source, target="y")) for kind, source in _kinds(frame))
    for kind, table in others:
        if problem := _differs(first[1], table):
            return f"{kind} beside {first[0]}: {problem}"
    return None


def estimators_on_kinds_of_tables(rng: np.random.Generator) -> str | None:
    """Fitted on one kind of frame and asked with another: the same numbers, bit for bit."""
    frame, new = _table(rng, 40), _table(rng, 20).drop(columns="y")
    y = frame.pop("y").to_numpy()
    options = {"random_state": int(rng.integers(1 << 31)), "max_iter": 15}
    expected = cr.MLPRegressor(**options).fit(frame, y).predict(new)
    for kind, (fitted, _) in _frames(frame, new).items():
        model = cr.MLPRegressor(**options).fit(fitted, y)
        for asked_kind, (_, rows) in _frames(frame, new).items():
            if not np.array_equal(model.predict(rows), expected):
                off = gap(model.predict(rows), expected, np.std(y))
                return f"fitted on {kind}, asked with {asked_kind}: off by {off:.1e}"
    return None


def arrays_and_frames_of_numbers(rng: np.random.Generator) -> str | None:
    """Numbers without holes are the same as an array and as a frame of any library, and a target as a list."""
    problem = draw(rng, eval_set=0.0)
    names = [f"x{j}" for j in range(problem.X.shape[1])]
    frames = [pd.DataFrame(rows, columns=names) for rows in (problem.X, problem.new)]
    kind, (X, new) = list(_frames(*frames).items())[int(rng.integers(3))]
    y = [problem.y, problem.y.tolist(), pd.Series(problem.y) if problem.y.ndim == 1 else pd.DataFrame(problem.y)]
    said = say(problem)
    said.predictions.pop("variance", None)
    problem_y = y[int(rng.integers(3))]
    second = say(problem.but(X=X, new=new, y=problem_y))
    found = difference(said, second, unit=problem.deviation)
    return found and f"{kind}, y {type(problem_y).__name__}: {found}"


def commands_on_kinds_of_tables(rng: np.random.Generator) -> str | None:
    """``train`` gives the same history, ``predict`` and ``evaluate`` the same text, with columns in any order."""
    frame, new = _table(rng, 60), _table(rng, 20)
    loss = str(rng.choice(["squared_error", "huber", "quantile", "gaussian_nll"]))
    said: dict[str, list[str]] = {}
    for kind in ("csv", "tsv", "parquet", "feather"):
        _write(frame, f"t.{kind}")
        _write(new[list(rng.permutation(new.columns))], f"new.{kind}")
        _run("train", f"t.{kind}", "--target", "y", "--loss", loss, "--epochs", 8, "--run-dir", "r", "--overwrite")
        history = _history("r")
        said[kind] = [
            json.dumps(history),
            _run("predict", "r", f"new.{kind}"),
            _run("predict", "r", "new.csv"),
            _run("evaluate", "r", f"new.{kind}", "--json"),
        ]
    for kind, words in said.items():
        for what, a, b in zip(("history", "predict", "predict of CSV", "evaluate"), words, said["csv"], strict=True):
            if a != b:
                return f"{what} of {kind}, beside csv: {a[:80]} and {b[:80]}"
    return None


def labels_of_commands(rng: np.random.Generator) -> str | None:
    """Classes by the numbers 0, 1, ... and by names in the same order, in text and in Parquet: the same net."""
    problem = draw(rng, ("log_loss", "focal"), eval_set=0.0)
    names: list[Any] = [
        ["ant", "bee", "cat"],
        ["é", "ü", "語"],
        [2**60, 2**60 + 1, 2**60 + 2],
        [-(2**62), 0, 2**62],
        [3, 10, 200],
    ][int(rng.integers(5))]
    loss = {"log_loss": "softmax_cross_entropy"}.get(problem.loss, problem.loss)
    X = pd.DataFrame(problem.X, columns=[f"x{j}" for j in range(problem.X.shape[1])])
    first = None
    for kind, labels in (("csv", [0, 1, 2]), ("csv", names), ("parquet", names)):
        _write(X.assign(y=[labels[code] for code in problem.y]), f"t.{kind}")
        _run("train", f"t.{kind}", "--target", "y", "--loss", loss, "--epochs", 8, "--run-dir", "r", "--overwrite")
        header, *lines = _run("predict", "r", f"t.{kind}").splitlines()
        codes = {str(label): str(code) for code, label in enumerate(labels)}
        said = [header.count(","), _history("r")], [[codes[line.split(",")[0]], line.split(",")[1:]] for line in lines]
        first = said if first is None else first
        if said != first:
            return f"{kind} with {labels}: another history or other predictions"
    return None


def _table(rng: np.random.Generator, n: int, *, numbers: bool = False) -> pd.DataFrame:
    """Numbers, whole ones, ones with holes, booleans and text with holes; or ``numbers`` alone."""
    frame = pd.DataFrame(
        {
            "a": on_grid(rng.normal(size=n)),
            "large": rng.integers(-(2**40), 2**40, n),
            "tiny": 1e-20 * rng.normal(size=n),
        }
    )
    frame["y"] = on_grid(frame.a * 3 + rng.normal(size=n))
    if numbers:
        return frame
    holes = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    text = np.array([*rng.choice(["red", "a, b", 'x"y', "Ü"], size=n)], object)
    text[rng.random(n) < 0.2] = None
    return frame.assign(holes=holes, flag=rng.random(n) < 0.5, text=text)


def _kinds(frame: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    for kind in ("csv", "parquet", "feather", "arrow"):
        _write(frame, f"t.{kind}")
        yield kind, f"t.{kind}"
    yield "pandas", frame
    yield "pandas with its own missing values", frame.convert_dtypes()
    yield "Polars", _polars(frame)
    yield "Arrow", pa.Table.from_pandas(frame, preserve_index=False)


def _frames(frame: pd.DataFrame, new: pd.DataFrame) -> dict[str, tuple[Any, Any]]:
    return {
        "pandas": (frame, new),
        "Polars": (_polars(frame), _polars(new)),
        "pandas of Arrow": tuple(f.convert_dtypes(dtype_backend="pyarrow") for f in (frame, new)),
    }


def _polars(frame: pd.DataFrame) -> pl.DataFrame:
    return pl.from_pandas(frame, nan_to_null=True)


def _write(frame: pd.DataFrame, path: str) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    match Path(path).suffix:
        case ".parquet":
            pyarrow.parquet.write_table(table, path)
        case ".feather" | ".arrow":
            pyarrow.feather.write_feather(table, path, compression="uncompressed")
        case suffix:
            frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")


def _differs(a: cr.Table, b: cr.Table) -> str | None:
    if a.feature_names != b.feature_names or not np.array_equal(a.target, b.target) or a.target_name != b.target_name:
        return f"{a.feature_names}, {b.feature_names} or targets"
    for name, column in a.columns.items():
        other = b.columns[name]
        if isinstance(column, cr.Categorical) != isinstance(other, cr.Categorical):
            return f"{name} is {type(column).__name__} and {type(other).__name__}"
        if isinstance(column, cr.Categorical):
            if _cells(column) != _cells(other):
                return f"{name} has other categories"
        elif not np.array_equal(column, other, equal_nan=True):
            return f"{name} has other numbers"
    return None


def _cells(column: cr.Categorical) -> list[str]:
    return [column.names[code] if code >= 0 else "" for code in column.codes.tolist()]


# ---- doors -----------------------------------------------------------------------------------------


def estimator_and_trainer(rng: np.random.Generator) -> str | None:
    """The same net, seed and settings: the same loss curve and predictions."""
    problem = draw(rng, LOSSES, eval_set=0.0).with_options(shrink=False, dtype="float64", max_iter=30)
    problem = problem.with_options(hidden_layer_sizes=(8,), solver="adam", learning_rate="cosine", normalization=None)
    problem = problem.with_options(alpha=float(rng.choice([0.0, 0.01])), batch_size=int(rng.choice([8, 16])))
    first, o = say(problem), problem.options
    seed = int(np.random.RandomState(o["random_state"]).randint(BIG))
    n = len(problem.y)
    steps = 30 * -(-n // o["batch_size"])
    lr = o.get("learning_rate_init", 0.002)
    net = cr.MLP(
        [problem.X.shape[1], 8, _outputs(problem)],
        activation=o.get("activation", "relu"),
        loss=_loss(problem),
        dtype="float64",
        seed=seed,
        backend=cr.backend("cpu"),
    )
    targets = cr.Standardization.fit(problem.y) if problem.loss in NUMBERS else None
    net.preparation = cr.Preparation(cr.Standardization.fit(problem.X, limit=3.0), targets)
    optimizer = cr.AdamW(cr.Cosine(lr), eps_hat=True, weight_decay=min(1.0, 5 / (lr * steps)))
    run = cr.Trainer(net, optimizer, batch_size=o["batch_size"], epochs=30, seed=seed, l2=o["alpha"]).fit(
        problem.X, problem.y
    )
    return _beside(
        problem, first, Said(_as_estimator(problem, asked(net, problem.new)), untimed(run.history), None, None, ())
    )


def estimator_and_command(rng: np.random.Generator) -> str | None:
    """``train --valid 0`` of the estimator's seed, with its loss and solver: the same loss curve and predictions."""
    losses = tuple(name for name in LOSSES if name != "binary_log_loss")
    problem = draw(rng, losses, several=False, eval_set=0.0)
    if problem.loss == "multilabel":  # a table has one column of targets
        problem = problem.but(loss="log_loss", y=problem.y[:, 0] + problem.y[:, 1])
    solver = str(rng.choice(["sgd", "lbfgs"]))
    problem = problem.with_options(
        shrink=False,
        dtype="float64",
        max_iter=20,
        hidden_layer_sizes=(8,),
        solver=solver,
        learning_rate="cosine",
        learning_rate_init=0.01,
        normalization=None,
        alpha=0.0,
        batch_size=16,
        tol=1e-5,
    )
    o = problem.options
    estimator = problem.estimator().set_params(loss=OF_COMMAND.get(problem.loss, problem.loss))
    first = say(problem, estimator)
    seed = int(np.random.RandomState(o["random_state"]).randint(BIG))
    words = ["--optimizer", solver, *(["--lr", 0.01, "--batch-size", 16] if solver == "sgd" else [])]
    loss = {"log_loss": "softmax_cross_entropy"}.get(problem.loss, problem.loss)
    _write_problem(problem, "t.csv")
    _run(
        "train",
        "t.csv",
        "--target",
        "y",
        "--loss",
        loss,
        "--valid",
        0,
        "--hidden",
        8,
        "--dtype",
        "float64",
        "--seed",
        seed,
        "--epochs",
        20,
        "--activation",
        o.get("activation", "relu"),
        "--run-dir",
        "r",
        "--overwrite",
        *words,
    )
    predictions = asked(cr.load("r/model.safetensors", device="cpu"), problem.new)
    return _beside(problem, first, Said(predictions, _history("r"), None, None, ()))


def command_and_trainer(rng: np.random.Generator) -> str | None:
    """``train --valid FILE`` with what it does by default, and a Trainer told the same: the same bits."""
    problem = draw(rng, (*NUMBERS, "poisson", "gamma", "log_loss", "focal"), several=False, eval_set=1.0)
    _write_problem(problem, "t.csv")
    _write_problem(problem.but(X=problem.eval_set[0], y=problem.eval_set[1]), "v.csv")
    loss = {"log_loss": "softmax_cross_entropy"}.get(problem.loss, problem.loss)
    _run(
        "train",
        "t.csv",
        "--valid",
        "v.csv",
        "--target",
        "y",
        "--loss",
        loss,
        "--hidden",
        8,
        "--epochs",
        20,
        "--seed",
        3,
        "--run-dir",
        "r",
        "--overwrite",
    )
    n_out = (
        int(problem.y.max()) + 1 if problem.is_of_classes else {"quantile": 3, "gaussian_nll": 2}.get(problem.loss, 1)
    )
    net = cr.MLP([problem.X.shape[1], 8, n_out], loss=loss, seed=3, backend=cr.backend("cpu"))
    targets = cr.Standardization.fit(problem.y) if problem.loss in NUMBERS else None
    net.preparation = cr.Preparation(cr.Standardization.fit(problem.X, limit=3.0), targets)
    steps = 20 * -(-len(problem.y) // 64)
    optimizer = cr.AdamW(cr.Cosine(0.002), weight_decay=min(1.0, 5 / (0.002 * steps)))
    trainer = cr.Trainer(net, optimizer, batch_size=64, epochs=20, seed=3, monitor="loss", shrink=True)
    run = trainer.fit(problem.X, problem.y, validation=problem.eval_set)
    first = Said(asked(cr.load("r/model.safetensors", device="cpu"), problem.new), _history("r"), None, None, ())
    return difference(first, Said(asked(net, problem.new), untimed(run.history), None, None, ()), limit=0.0)


def command_on_a_target_in_other_units(rng: np.random.Generator) -> str | None:
    """The command's float32 net: offsets and units of a target cost its predictions nothing."""
    problem = draw(rng, NUMBERS, several=False, eval_set=0.0)
    scale, shift = [(1.0, 1e9), (1.0, -1e6), (1e30, 0.0), (1e-30, 0.0)][int(rng.integers(4))]
    said = []
    for a, b in ((1.0, 0.0), (scale, shift)):
        _write_problem(problem.but(y=problem.y * a + b), "t.csv")
        _write_problem(problem.but(X=problem.new, y=np.zeros(len(problem.new))), "new.csv")
        _run("train", "t.csv", "--target", "y", "--loss", problem.loss, "--epochs", 15, "--run-dir", "r", "--overwrite")
        text = pd.read_csv(io.StringIO(_run("predict", "r", "new.csv")))
        numbers = text.to_numpy(np.float64)
        if problem.loss == "gaussian_nll":
            predicted = np.column_stack([(numbers[:, 0] - b) / a, numbers[:, 1] / a])
        else:
            predicted = (numbers - b) / a
        said.append(Said({"predict": predicted}, _history("r"), None, None, ()))
    return difference(*said, unit=problem.deviation, limit=SINGLE_LIMIT)


def _beside(problem: Problem, first: Said, second: Said) -> str | None:
    """What estimators alone say is left out."""
    known = {name: first.predictions[name] for name in second.predictions}
    history = {name: first.history[name] for name in second.history if name in first.history}
    if "loss" not in history:
        return f"histories of {sorted(first.history)} and {sorted(second.history)}"
    other = {name: list(second.history[name]) for name in history}
    second = Said(second.predictions, other, None, None, first.messages)
    return difference(Said(known, history, None, None, first.messages), second, unit=problem.deviation)


def _loss(problem: Problem) -> Any:
    """As an estimator means it."""
    own = {"squared_error": HalfSquaredError(), "multilabel": BinaryLogLoss(), "binary_log_loss": BinaryLogLoss()}
    return own.get(problem.loss, {"log_loss": "softmax_cross_entropy"}.get(problem.loss, problem.loss))


def _outputs(problem: Problem) -> int:
    if problem.loss == "binary_log_loss":
        return 1
    if problem.loss in {"log_loss", "focal"}:
        return int(problem.y.max()) + 1
    each = {"quantile": 3, "gaussian_nll": 2}.get(problem.loss, 1)
    return each * (1 if problem.y.ndim == 1 else problem.y.shape[1])


def _as_estimator(problem: Problem, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A net of one output says the probability of yes, an estimator of both classes."""
    if problem.loss == "binary_log_loss":
        p = predictions["predict_proba"]
        predictions["predict_proba"] = np.stack([1 - p, p], axis=1)
    return predictions


def _write_problem(problem: Problem, path: str) -> None:
    frame = pd.DataFrame(problem.X, columns=[f"x{j}" for j in range(problem.X.shape[1])])
    frame.assign(y=problem.y).to_csv(path, index=False)


def _run(*words: Any) -> str:
    """What ``chainrule ...`` prints on stdout; RuntimeError if it fails."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    if code:
        raise RuntimeError(f"chainrule {words[0]} ended with {code}: {err.getvalue().strip()[-200:]}")
    return out.getvalue()


def _history(run: str) -> dict[str, list[float]]:
    """The history of a run directory, without its times."""
    with Path(run, "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name not in {"epoch", "seconds"}}
