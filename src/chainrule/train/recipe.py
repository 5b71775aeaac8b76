"""Settings that nobody set: the net and the training for a table of so many rows.

The command line and the estimators share them. They were chosen on tables and splits other than those that the
documentation reports; docs/decisions/0018 has the figures.
"""

from __future__ import annotations

from typing import NamedTuple

LEARNING_RATE = 2e-3  # of Adam, falling to 0 along a cosine
DECAY = 5.0  # times the mean of the schedule, 1/2 of a cosine: the logarithm by which a run's decay shrinks weights
MOST_DECAY = 1.0  # for tables of 100 rows, whose few steps would ask for so much that it outweighs the loss
MOST_STEPS = 1 << 63  # that are told apart: a whole number may be larger than every float


class Recipe(NamedTuple):
    """What suits tables from ``rows`` up to the next recipe's."""

    rows: int
    hidden: tuple[int, ...]
    dropout: float
    batch_size: int
    epochs: int
    alpha: float = 1e-4  # of the estimators' penalty in the loss


RECIPES = (
    # Without dropout and a penalty that goes by the number of rows, a row of weight 2 is two rows in a batch of all.
    Recipe(0, (100,), 0.0, 64, 200, alpha=0.0),
    Recipe(1_000, (256,), 0.2, 64, 200),
    Recipe(4_096, (256, 128), 0.2, 128, 200),
    Recipe(16_384, (256, 128), 0.2, 256, 200),
    Recipe(32_768, (256, 128), 0.2, 256, 60),  # an epoch has steps enough
)


def recipe_for(rows: int) -> Recipe:
    """The last of :data:`RECIPES` that so many rows reach."""
    return next(recipe for recipe in reversed(RECIPES) if rows >= recipe.rows)


def weight_decay_for(learning_rate: float, steps: int) -> float:
    """min(1, 5 / (lr steps)), of AdamW.

    A decay of d shrinks weights to exp(-d sum lr) by the end of a run: one number for all tables would hardly hold
    back a net on few rows and flatten one on many. Source: Wang, Aitchison 2024 (arXiv 2405.13698).
    """
    return min(MOST_DECAY, DECAY / (learning_rate * min(steps, MOST_STEPS)))
