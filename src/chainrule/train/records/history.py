"""The history of a fit, epoch by epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from chainrule.files.regular_file import FilePath
from chainrule.files.writing import write_atomically
from chainrule.nn.metric_names import RECORDED
from chainrule.plain_text import count_of, csv_cell
from chainrule.plots.curves import Curve, draw_curves


class History(Mapping[str, list[float]]):
    """One list per quantity, one number per epoch: ``history["loss"]``, ``history["valid_accuracy"]``, ...

    ``loss`` and the metrics without prefix are means over the epoch's training batches, each taken before its
    update; those with ``valid_`` are of the validation rows at the end of the epoch. Losses include class weights,
    metrics the rows' own weights alone. ``lr`` is the last learning rate of the epoch, ``seconds`` the time since the
    start.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

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

    def plot(self, path: FilePath, *, best_epoch: int | None = None) -> None:
        """Write the curves as an SVG picture: the loss, and a panel for each metric."""
        panels = []
        usual = ("loss", *RECORDED)
        for name in (*usual, *(n for key in self if (n := key.removeprefix("valid_")) != key and n not in usual)):
            labelled = [("train", name), ("left out", f"left_out_{name}"), ("valid", f"valid_{name}")]
            curves = [Curve(label, self[key]) for label, key in labelled if key in self]
            if curves:
                panels.append((name, curves))
        write_atomically(path, draw_curves(panels, best_epoch=best_epoch).encode())
