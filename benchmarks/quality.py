"""How well the defaults do, beside scikit-learn's: errors on held-out rows and seconds of a fit, as JSON and Markdown.

    python benchmarks/quality.py --housing california_housing.csv [--output FILE.json] [--tables digits,diabetes]

Three splits of 75/25 of each table, the same for all (stratified for classes); the error on the quarter is the fraction
that is wrong, or RMSE / standard deviation of the target there. No option of any contender is set but the seed. Seconds
are those of a fit, wall and of the processor, on one core; of the command those of the whole process, from the file to
the model.

chainrule and the command take tables as they are, text and holes too. scikit-learn's nets come behind a StandardScaler;
for text and holes behind a median with an indicator and one-hot columns; its boosting takes text as categories and
leaves holes as they are. chainrule's defaults were not chosen on these splits (docs/decisions/0018).
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_CORETYPE"] = os.environ["OPENBLAS_L2_SIZE"] = ""  # OpenBLAS shall choose

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from environment import facts
from sklearn import datasets, ensemble, neural_network
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import chainrule as cr

SPLITS = range(3)
ROWS = 8000  # of the artificial tables
HOUSING_TARGET = "median_house_value"


class Task(NamedTuple):
    """Two parts of a table."""

    X: pd.DataFrame
    y: np.ndarray
    X_test: pd.DataFrame
    y_test: np.ndarray
    regress: bool
    seed: int


class Outcome(NamedTuple):
    """Of one fit."""

    error: float
    wall: float  # seconds
    processor: float


# ---- tables -----------------------------------------------------------------------------------------


def tables(housing: Path | None) -> dict[str, Callable[[], tuple[pd.DataFrame, np.ndarray]]]:
    """Real tables, and two larger artificial ones."""
    found: dict[str, Callable[[], Any]] = {
        "digits": lambda: datasets.load_digits(return_X_y=True),
        "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    }
    if housing is not None:
        found["California housing"] = lambda: _housing(housing)
    found["friedman1"] = lambda: datasets.make_friedman1(ROWS, noise=0.5, random_state=0)
    found["four classes"] = lambda: datasets.make_classification(
        ROWS, 30, n_informative=12, n_classes=4, flip_y=0.05, random_state=0
    )
    return found


def _housing(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """20,640 rows of 8 numbers, with holes, and a column of text."""
    table = pd.read_csv(path)
    y = table.pop(HOUSING_TARGET).to_numpy(np.float64)
    return table, y


def split(X: Any, y: np.ndarray, seed: int) -> Task:
    """Three quarters to train on."""
    regress = y.dtype.kind == "f"
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    X_train, X_test, y_train, y_test = train_test_split(frame, y, random_state=seed, stratify=None if regress else y)
    return Task(X_train, y_train, X_test, y_test, regress, seed)


# ---- contenders -------------------------------------------------------------------------------------


def scikit_learn_net(task: Task) -> Any:
    """scikit-learn's MLP, scaled."""
    net = (neural_network.MLPRegressor if task.regress else neural_network.MLPClassifier)(random_state=task.seed)
    if not _is_mixed(task.X):
        return make_pipeline(StandardScaler(), net)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepared = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")), (texts, make_column_selector(dtype_exclude="number"))
    )
    return make_pipeline(prepared, net)


def scikit_learn_net_of_scaled_target(task: Task) -> Any:
    """The same behind a standardised target, which its users have to think of; None for classes."""
    return TransformedTargetRegressor(scikit_learn_net(task), transformer=StandardScaler()) if task.regress else None


def boosting(task: Task) -> Any:
    """scikit-learn's histogram gradient boosting."""
    kind = ensemble.HistGradientBoostingRegressor if task.regress else ensemble.HistGradientBoostingClassifier
    return kind(random_state=task.seed, categorical_features="from_dtype")


def ours(task: Task) -> Any:
    """chainrule's estimator."""
    return (cr.MLPRegressor if task.regress else cr.MLPClassifier)(random_state=task.seed, device="cpu")


def _is_mixed(X: pd.DataFrame) -> bool:
    return any(kind.kind not in "biuf" for kind in X.dtypes) or bool(X.isna().any(axis=None))


def fit_estimator(make: Callable[[Task], Any], task: Task) -> Outcome | None:
    """Fit, then the error on the held-out rows."""
    if make is boosting:  # which knows text by this dtype
        as_categories = {name: "category" for name, kind in task.X.dtypes.items() if kind.kind not in "biuf"}
        task = task._replace(X=task.X.astype(as_categories), X_test=task.X_test.astype(as_categories))
    model = make(task)
    if model is None:
        return None
    wall, processor = time.perf_counter(), time.process_time()
    model.fit(task.X, task.y)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Outcome(error_of(task, model.predict(task.X_test)), wall, processor)


def fit_command(task: Task) -> Outcome:
    """``chainrule train FILE --target NAME``, then ``chainrule predict``."""
    with tempfile.TemporaryDirectory() as folder:
        train, test, model, answers = (str(Path(folder) / name) for name in ("train.csv", "test.csv", "model", "p.csv"))
        task.X.assign(answer=task.y).to_csv(train, index=False)
        task.X_test.to_csv(test, index=False)
        said = ["--task", "regress" if task.regress else "classify", "--seed", str(task.seed)]
        wall, processor = time.perf_counter(), _of_children()
        _command("train", train, "--target", "answer", *said, "--device", "cpu", "--quiet", "--run-dir", model)
        wall, processor = time.perf_counter() - wall, _of_children() - processor
        _command("predict", model, test, "-o", answers, "--device", "cpu")
        predicted = pd.read_csv(answers)["answer"].to_numpy()
    return Outcome(error_of(task, predicted), wall, processor)


def _command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "chainrule", *words], check=True, capture_output=True)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def error_of(task: Task, predicted: np.ndarray) -> float:
    """The fraction that is wrong, or RMSE / standard deviation."""
    if not task.regress:
        return float(np.mean(predicted != task.y_test))
    return float(np.sqrt(np.mean((predicted - task.y_test) ** 2)) / task.y_test.std())


CONTENDERS: dict[str, Callable[[Task], Outcome | None]] = {
    "scikit-learn MLP, scaled": lambda task: fit_estimator(scikit_learn_net, task),
    "scikit-learn MLP, target scaled too": lambda task: fit_estimator(scikit_learn_net_of_scaled_target, task),
    "scikit-learn hist. gradient boosting": lambda task: fit_estimator(boosting, task),
    "chainrule, estimator": lambda task: fit_estimator(ours, task),
    "chainrule train": fit_command,
}


# ---- the run ----------------------------------------------------------------------------------------


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--housing", type=Path, help="California housing as a CSV with its text column and holes")
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument("--tables", help="some of them, by name")
    args = parser.parse_args()
    known = tables(args.housing)
    names = args.tables.split(",") if args.tables else list(known)
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in names}
    before = os.getloadavg()
    for name in names:
        X, y = known[name]()
        for contender, fit in CONTENDERS.items():
            outcomes = [fit(split(X, y, seed)) for seed in SPLITS]
            found[name][contender] = [outcome._asdict() for outcome in outcomes if outcome is not None]
            print(f"{name}: {contender}: {_cell(found[name][contender])}", file=sys.stderr, flush=True)
    print(as_markdown(found))
    if args.output is not None:
        about = {"benchmark": "quality", **facts([cr.backend("cpu")]), "scikit-learn": sklearn.__version__}
        load = {"load_before": before, "load_after": os.getloadavg()}
        args.output.write_text(json.dumps({**about, **load, "tables": found}, indent=2) + "\n", encoding="utf-8")


def as_markdown(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """A row a contender: mean error, the lowest and highest, seconds of the processor."""
    lines = [f"| | {' | '.join(found)} |", f"|---{'|---:' * len(found)}|"]
    for contender in CONTENDERS:
        lines.append(f"| {contender} | {' | '.join(_cell(found[name][contender]) for name in found)} |")
    return "\n".join(lines)


def _cell(outcomes: list[dict[str, float]]) -> str:
    if not outcomes:
        return "-"
    errors = [outcome["error"] for outcome in outcomes]
    seconds = np.mean([outcome["processor"] for outcome in outcomes])
    return f"{np.mean(errors):.4f} ({min(errors):.4f} to {max(errors):.4f}; {seconds:.1f} s)"


if __name__ == "__main__":
    main()
