"""Models of ``quality.py``: each an estimator of one thread for a table of numbers with nan and text with None.

No option is set but the seed, and what a careful user does before: the linear model and scikit-learn's net see scaled
numbers, medians with an indicator in place of missing values, and one-hot columns of text; the net's target is scaled
too. Boosting, RealMLP and chainrule take text as their own authors mean it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from quality_command import Command
from quality_data import Split, texts
from quality_preparation import AsCategories, Filled, one_hot
from sklearn import dummy, ensemble, linear_model, neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = np.logspace(-2, 3, 11)  # of ridge regression, chosen by five-fold cross-validation


class Model(NamedTuple):
    """A contender."""

    make: Callable[[Split], Any]  # imports included, so that they cost no seconds of the fit
    packages: tuple[str, ...] = ("scikit-learn",)  # whose versions are recorded

    def versions(self) -> dict[str, str]:
        """Of its packages; importlib.metadata.PackageNotFoundError if one is missing."""
        return {name: metadata.version(name) for name in ("numpy", *self.packages)}


def constant(split: Split) -> Any:
    """The mean, or the shares of the classes."""
    return dummy.DummyRegressor() if split.regress else dummy.DummyClassifier(strategy="prior")


def linear(split: Split) -> Any:
    """Ridge regression, logistic regression."""
    if split.regress:
        return make_pipeline(one_hot(), linear_model.RidgeCV(PENALTIES, cv=5))
    return make_pipeline(one_hot(), linear_model.LogisticRegression(max_iter=2000))


def scikit_learn_net(split: Split) -> Any:
    """Its MLP, with scaled inputs and target."""
    if not split.regress:
        return make_pipeline(one_hot(), neural_network.MLPClassifier(random_state=split.seed))
    net = neural_network.MLPRegressor(random_state=split.seed)
    return TransformedTargetRegressor(make_pipeline(one_hot(), net), transformer=StandardScaler())


def hist_gradient_boosting(split: Split) -> Any:
    """scikit-learn's, which takes 255 categories of a column."""
    kind = ensemble.HistGradientBoostingRegressor if split.regress else ensemble.HistGradientBoostingClassifier
    return make_pipeline(AsCategories(254), kind(random_state=split.seed, categorical_features="from_dtype"))


def lightgbm(split: Split) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if split.regress else lightgbm.LGBMClassifier
    return make_pipeline(AsCategories(), kind(random_state=split.seed, n_jobs=1, verbose=-1))


def catboost(split: Split) -> Any:
    import catboost

    kind = catboost.CatBoostRegressor if split.regress else catboost.CatBoostClassifier
    quiet = {"verbose": False, "allow_writing_files": False}
    return make_pipeline(
        Filled(numbers=False), kind(random_seed=split.seed, thread_count=1, cat_features=texts(split.X), **quiet)
    )


def realmlp(split: Split) -> Any:
    """RealMLP-TD-S of pytabkit, which takes no missing numbers."""
    import torch
    from pytabkit import RealMLP_TD_S_Classifier, RealMLP_TD_S_Regressor

    torch.set_num_threads(1)
    kind = RealMLP_TD_S_Regressor if split.regress else RealMLP_TD_S_Classifier
    net = kind(device="cpu", random_state=split.seed, n_threads=1)
    return make_pipeline(Filled(), AsCategories(), net)


def ours(split: Split, preset: str | None) -> Any:
    """chainrule's estimators, on the CPU."""
    import chainrule as cr

    kind = cr.MLPRegressor if split.regress else cr.MLPClassifier
    return kind(preset=preset, random_state=split.seed, device="cpu")


CHAINRULE = {
    "chainrule-plain": Model(partial(ours, preset=None), ()),
    "chainrule-fast": Model(partial(ours, preset="fast"), ()),
    "chainrule-default": Model(partial(ours, preset="default"), ()),
    "chainrule-best": Model(partial(ours, preset="best"), ()),
    "chainrule-train": Model(Command, ()),
}

MODELS = {
    "constant": Model(constant),
    "linear": Model(linear),
    "sklearn-mlp": Model(scikit_learn_net),
    "hist-gradient-boosting": Model(hist_gradient_boosting),
    "lightgbm": Model(lightgbm, ("lightgbm",)),
    "catboost": Model(catboost, ("catboost",)),
    **CHAINRULE,
    "realmlp-td-s": Model(realmlp, ("pytabkit", "torch")),  # the slowest last
}
