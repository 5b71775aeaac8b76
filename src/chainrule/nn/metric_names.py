"""The names of all metrics, and which of their values are better: the one place that says so.

A metric is of rows, weighted by their ``sample_weight`` alone: class weights belong to the loss. Of several target
columns it is the mean of what each column has by itself.
"""

from __future__ import annotations

VALID = "valid_"  # before the name, in a history: of the validation rows
RECORDED = ("accuracy", "r2", "d2")  # which of them is recorded beside the loss without being asked for, says the loss

HIGHER_IS_BETTER = {
    "loss": False,
    "accuracy": True,
    "balanced_accuracy": True,
    "log_loss": False,
    "roc_auc": True,
    "r2": True,
    "d2": True,
    "rmse": False,
    "mae": False,
}


def short_name(name: str) -> str:
    """A name of the history without its "valid_"."""
    return name.removeprefix(VALID)
