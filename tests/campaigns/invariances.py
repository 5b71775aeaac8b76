"""What must not change a fit: 1/n as weights, another unit, other names of classes, another kind of file, another door.

Each case draws a problem of one of the losses and fits it twice, mostly with the defaults, shrinkage and all. Both must
say the same: predictions, probabilities, quantiles, variances, scores, the factor of the shrinkage, the history, the
best epoch, and warnings. :mod:`campaigns.problems` says how near.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from campaigns import invariant_forms as forms
from campaigns import invariant_values as values
from campaigns.tally import Tally

TITLE = "invariances of fits"

Invariant = Callable[[np.random.Generator], str | None]
INVARIANTS: dict[str, list[Invariant]] = {
    "weights": [
        values.weights_times_a_constant, values.trainer_weights_times_a_constant, values.weight_two_is_a_row_twice,
        values.weight_zero_is_no_row, values.no_weights_are_weights_of_one,
    ],
    "targets": [
        values.target_times_a_constant, values.target_plus_a_constant, values.target_from_float32_rows,
        values.counts_times_a_constant, forms.command_on_a_target_in_other_units,
    ],
    "columns and rows": [
        values.columns_plus_a_constant, values.columns_times_a_constant, values.column_of_one_value,
        values.columns_in_another_order, values.rows_in_another_order,
    ],
    "labels": [values.labels_by_other_names, values.labels_in_another_order, forms.labels_of_commands],
    "arrays and tables": [
        forms.layouts_of_arrays, forms.float32_and_float64_rows, forms.kinds_of_tables,
        forms.estimators_on_kinds_of_tables, forms.arrays_and_frames_of_numbers, forms.commands_on_kinds_of_tables,
    ],
    "doors": [forms.estimator_and_trainer, forms.estimator_and_command, forms.command_and_trainer],
}  # fmt: skip
ALL = [(kind, invariant) for kind, invariants in INVARIANTS.items() for invariant in invariants]
CASES = 36 * len(ALL)


def outcome(number: int) -> tuple[str, str]:
    """The outcome of the case of this number: the kind of invariance, or what went wrong; and a description of it."""
    kind, invariant = ALL[number % len(ALL)]
    # The name too: an invariant that is added leaves the others' cases as they are.
    rng = np.random.default_rng([number // len(ALL), zlib.crc32(invariant.__name__.encode())])
    try:
        said = invariant(rng)
    except Exception as error:  # a fit that is refused, or fails, where the other was not, is a finding like any other
        said = f"{type(error).__name__}: {error!s:.200}"
    return said or kind, invariant.__name__


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many of each kind were the same, and what went wrong, by number."""
    tally = Tally(*INVARIANTS)
    with contextlib.chdir(folder):
        for number in numbers:
            tally.add(number, *outcome(number))
    return tally.result()
