"""Columns for models of ``quality.py`` that do not take text or missing values; fitted on training rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
from quality_data import texts
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RARER = "(rarer)"
MISSING = "(missing)"


def one_hot() -> Any:
    """Medians with an indicator of missing values, scaled; a column for each category, sparse if they are many."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")), (texts, make_column_selector(dtype_exclude="number"))
    )


class AsCategories(TransformerMixin, BaseEstimator):
    """Text to pandas' categories, those of the training rows; all but the ``most`` frequent share one."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def fit(self, X: pd.DataFrame, y: object = None) -> AsCategories:
        self.categories_ = {name: self._categories(X[name]) for name in texts(X)}
        return self

    def _categories(self, column: pd.Series) -> list[str]:
        by_count = column.value_counts().index
        return sorted(by_count[: self.most]) + ([RARER] if self.most and len(by_count) > self.most else [])

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Categories that are new count as missing, or as rarer if there is such a category."""
        X = X.copy()
        for name, categories in self.categories_.items():
            column = X[name]
            if RARER in categories:
                column = column.where(column.isna() | column.isin(categories), RARER)
            X[name] = pd.Categorical(column, categories)
        return X


class Filled(TransformerMixin, BaseEstimator):
    """Text that is missing to a category of its own; missing numbers, if wanted, to medians."""

    def __init__(self, numbers: bool = True) -> None:
        self.numbers = numbers

    def fit(self, X: pd.DataFrame, y: object = None) -> Filled:
        self.fill_ = dict.fromkeys(texts(X), MISSING)
        if self.numbers:
            self.fill_ |= X.select_dtypes("number").median().fillna(0.0)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.fillna(self.fill_)
