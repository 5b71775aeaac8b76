"""``chainrule train`` and ``chainrule predict`` as an estimator: CSV files in a temporary folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from quality_data import Split, texts

TARGET = "the answer"


class Command:
    """A fit is the whole process, from the file to the model."""

    def __init__(self, split: Split) -> None:
        names = texts(split.X)
        task = "regress" if split.regress else "classify"
        self.options = ["--task", task, "--seed", str(split.seed), "--device", "cpu", "--quiet"]
        if names:
            self.options += ["--categorical", ",".join(names)]

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Command:
        self.folder = tempfile.TemporaryDirectory()  # removed with this object
        self.classes_ = np.unique(y)
        rows, self.model = Path(self.folder.name, "train.csv"), Path(self.folder.name, "model")
        X.assign(**{TARGET: y}).to_csv(rows, index=False)
        _chainrule("train", rows, "--target", TARGET, *self.options, "--run-dir", self.model)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self._answers(X)[TARGET].to_numpy()

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        answers = self._answers(X)
        return answers[[f"p_{label}" for label in self.classes_]].to_numpy()

    def _answers(self, X: pd.DataFrame) -> pd.DataFrame:
        rows, answers = Path(self.folder.name, "test.csv"), Path(self.folder.name, "answers.csv")
        X.to_csv(rows, index=False)
        _chainrule("predict", self.model, rows, "-o", answers, "--device", "cpu")
        return pd.read_csv(answers)


def _chainrule(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "chainrule", *map(str, words)], check=True, capture_output=True)
