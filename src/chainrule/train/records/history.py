"""The history of a fit, epoch by epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from chainrule.files.regular_file import FilePath
from chainrule.files.writing import write_atomically
from chainrule.nn.metric_names import RECORDED, VALID
from chainrule.options import suggest
from chainrule.plain_text import count_of, csv_cell, printable, show
from chainrule.plots.curves import Curve, Mark, draw_curves
from chainrule.train.records.kept import Kept

# What other libraries call the columns, by the beginning of a name and by the rest of it.
OTHER_PREFIXES = {"val_": "valid_", "validation_": "valid_", "train_": "", "training_": ""}
OTHER_NAMES = {"acc": "accuracy", "learning_rate": "lr", "time": "seconds"}


class UnknownColumnError(KeyError):
    """A history has no column of this name; unlike that of a KeyError its text is without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


class History(Mapping[str, list[float]]):
    """One list per quantity, one number per epoch: ``history["loss"]``, ``history["valid_accuracy"]``, ...

    ``loss`` and the metrics without prefix are means over the epoch's training batches, each taken before its
    update; those with ``valid_`` are of the validation rows at the end of the epoch. Losses include class weights,
    metrics the rows' own weights alone. ``lr`` is the last learning rate of the epoch, ``seconds`` the time since the
    start. A name that is not there is a KeyError that says which is near.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}

    def __getitem__(self, name: str) -> list[float]:
        try:
            return self._columns[name]
        except KeyError:
            raise UnknownColumnError(_no_column(name, self._columns)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<History of {count_of(self.epochs, 'epoch')}: {', '.join(self)}>"

    @property
    def epochs(self) -> int:
        """How many epochs have ended."""
        return len(next(iter(self._columns.values()), []))

    def append(self, values: Mapping[str, float]) -> None:
        """Add one epoch."""
        for name, value in values.items():
            self._columns.setdefault(name, []).append(float(value))

    def to_csv(self) -> str:
        """A table with a header, one line per epoch, with numbers that read back exactly.

        Names of metrics are written so that no spreadsheet takes one for a formula; see :mod:`chainrule.plain_text`.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["epoch", *map(csv_cell, self)])
        for epoch, row in enumerate(zip(*self.values(), strict=True), start=1):
            writer.writerow([epoch, *(repr(v) for v in row)])
        return out.getvalue()

    def plot(self, path: FilePath, *, best_epoch: int | None = None, kept: Kept | None = None) -> None:
        """Write the curves as an SVG picture: the loss, and a panel for each metric.

        ``best_epoch`` is marked, or that of ``kept``, a Run's; the panel that shows the metric by which it was chosen
        says so.
        """
        panels = []
        kept = Kept(best_epoch or 0, self.epochs) if kept is None else kept
        mark = Mark(kept.epoch, f"kept epoch {kept.epoch} of {kept.epochs}", kept.reason, kept.monitor)
        usual = ("loss", *RECORDED)
        for name in (*usual, *(n for key in self if (n := key.removeprefix("valid_")) != key and n not in usual)):
            labelled = [("train", name), ("left out", f"left_out_{name}"), ("valid", f"valid_{name}")]
            curves = [Curve(label, self[key], key) for label, key in labelled if key in self]
            if curves:
                panels.append((name, curves))
        write_atomically(path, draw_curves(panels, mark=mark).encode())


def _no_column(name: object, columns: Mapping[str, list[float]]) -> str:
    """What is said of a name that a history does not have."""
    if not columns:
        return f"the history has no {show(name)}: no epoch has ended"
    hint, usual = "", _usual_name(name) if isinstance(name, str) else ""
    if usual in columns:
        hint = f"did you mean {show(usual)}?"
    elif usual.startswith(VALID) and not any(column.startswith(VALID) for column in columns):
        hint = "there were no validation rows: fit(X, y, validation=0.2)."
    elif usual:
        hint = suggest(usual, columns)
    there = f"it has {', '.join(map(printable, columns))}"
    return f"the history has no {show(name)}: {f'{hint} I{there[1:]}' if hint else there}"


def _usual_name(name: str) -> str:
    """``valid_accuracy`` for ``val_acc``."""
    for prefix, ours in {**OTHER_PREFIXES, VALID: VALID}.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return ours + OTHER_NAMES.get(rest, rest)
    return OTHER_NAMES.get(name, name)
