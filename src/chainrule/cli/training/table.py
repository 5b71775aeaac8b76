"""The table that is trained on: read, its target coded, and its rows with what says how they are held out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from chainrule.cli.console.column_notes import doubts
from chainrule.cli.options.data import DataOptions
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.category_columns import MAX_CATEGORIES
from chainrule.nn.losses.names import LOSSES
from chainrule.plain_text import show
from chainrule.tables.choose_columns import show_names
from chainrule.tables.readers import read_table
from chainrule.tables.splitting.group_and_time_columns import read_groups, read_times
from chainrule.tables.splitting.splits import Split, hold_out
from chainrule.tables.table import Table
from chainrule.tables.targets import TargetPlan, plan_target
from chainrule.tables.unchanged import unchanged

DEFAULT_LOSS = {"classify": "softmax_cross_entropy", "multilabel": "sigmoid_cross_entropy", "regress": "squared_error"}


class TrainingTable(NamedTuple):
    """A table whose target is coded, and what says which of its rows belong together."""

    table: Table
    plan: TargetPlan
    groups: np.ndarray | None
    times: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def classes(self) -> np.ndarray | None:
        """(n,) the class of each row, if a row has one."""
        return self.plan.y if self.plan.task == "classify" or len(self.plan.classes) == 2 else None

    def missing_classes(self, training: np.ndarray) -> list[str]:
        """A note if no row of some class is trained on, which groups and times cannot rule out."""
        if self.classes is None:
            return []
        present = np.isin(np.unique(self.classes), self.classes[training])
        missing = [name for name, known in zip(self.plan.classes, present, strict=True) if not known]
        if not missing:
            return []
        return [f"no training row of {show_names(missing)}: a column says which rows are held out"]


def read_training_table(options: TrainingOptions) -> TrainingTable:
    """The table of ``options.data``."""
    data = options.data
    if data.data is None:
        raise OptionError(
            "expected a table, DATA, got none", hint="chainrule train FILE.csv --target COLUMN, or digits"
        )
    split_columns = _split_columns(data)
    loss = _loss_of_task(data.task, options.net.loss)
    drop = list(dict.fromkeys([*data.drop, *split_columns]))
    with unchanged(data.data):  # these rows belong to each other
        groups = None if data.group is None else read_groups(data.data, data.group)
        times = None if data.time is None else read_times(data.data, data.time)
        regress = loss in LOSSES and LOSSES[loss].task == "regress"
        kinds = {data.target: "number"} if regress and data.target is not None else {}
        table = read_table(data.data, target=data.target, drop=drop, categorical=data.categorical, kinds=kinds)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    plan = plan_target(table.target, loss=loss, source=table.source)
    notes = [*table.notes, *doubts(table, data.max_categories or MAX_CATEGORIES)]
    about = "says which rows are held out or left out, and is no feature"
    notes += [f"column {name!r:.60} {about}" for name in split_columns]
    return TrainingTable(table, plan, groups, times, tuple(notes))


def _split_columns(data: DataOptions) -> list[str]:
    """The column of groups or that of times, if there is one."""
    columns = [name for name in (data.group, data.time) if name is not None]
    if len(columns) > 1:
        raise OptionError("expected --group or --time, got both")
    if data.target in columns:
        raise OptionError(
            f"{show(data.target)} is the target, so it cannot say which rows are held out",
            hint="another column for --group or --time",
        )
    return columns


def _loss_of_task(task: str, loss: str | None) -> str | None:
    """The loss that decides the task; None if the target's values are to decide."""
    if task == "auto":
        return loss
    if loss is None:
        return DEFAULT_LOSS[task]
    if (LOSSES[loss].task == "regress") != (task == "regress"):
        raise OptionError(f"--loss {loss} is not for --task {task}", hint="leave one of them out")
    return loss


@contextmanager
def naming_split_column(data: DataOptions, table: Table) -> Iterator[None]:
    """A DataError about groups or times names their column."""
    try:
        yield
    except DataError as error:
        column = data.group or data.time
        source = f"{table.source}, column {show(column)}" if column else table.source
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None


def hold_out_rows(
    options: TrainingOptions, read: TrainingTable, fraction: float, rows: np.ndarray | None = None
) -> Split:
    """Hold out a fraction of the table's rows, or of those at positions ``rows``: by group, time, class, or chance."""
    columns = (read.classes, read.groups, read.times)
    classes, groups, times = (column if column is None or rows is None else column[rows] for column in columns)
    count = len(read.table) if rows is None else len(rows)
    with naming_split_column(options.data, read.table):
        split = hold_out(count, fraction, seed=options.device.seed, classes=classes, groups=groups, times=times)
    return split if rows is None else Split(rows[split.training], rows[split.held_out])
