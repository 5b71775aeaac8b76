"""The names of all metrics, and which of their values are better, defined here alone.

A metric weights rows by their ``sample_weight`` alone: class weights belong to the loss. For several target columns it
is the mean of the columns' own.
"""

from __future__ import annotations

VALID = "valid_"  # prefix of a name in a history: of the validation rows
LEFT_OUT = "left_out_loss"  # of the rows that members of an ensemble were not trained on
RECORDED = ("accuracy", "r2", "d2")  # recorded beside the loss by default; the loss decides which

HIGHER_IS_BETTER = {
    "loss": False,
    "left_out_loss": False,
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
