"""A progress line with the time left, on stderr, if stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

from chainrule.nn.metric_names import LEFT_OUT, RECORDED
from chainrule.plain_text import printable
from chainrule.train.stop_request import GROUP

SECONDS_PER_REFRESH = 0.1  # an epoch may take a millisecond, and drawing takes as long


class Progress:
    """``with Progress(...) as progress``; shows nothing if ``enabled`` is false, stderr is no terminal, or other fits
    run beside this one, whose lines would overwrite each other."""

    def __init__(self, epochs: int, *, enabled: bool) -> None:
        self.epochs = epochs
        self._bar: Any = None
        self._task: Any = None
        self._shown = 0.0
        if enabled:
            with self._or_no_bar():
                self._begin()

    def _begin(self) -> None:
        if sys.stderr is None or not sys.stderr.isatty() or GROUP.get() is not None:
            return
        # rich takes a tenth of a second to import: only if it shows something.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(20),
            TextColumn("{task.fields[metrics]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = bar.add_task("", total=float(self.epochs), epoch=0, epochs=self.epochs, metrics="")
        self._bar = bar

    def __enter__(self) -> Self:
        if self._bar is not None:
            with self._or_no_bar():
                self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            with self._or_no_bar():
                self._bar.stop()

    @contextlib.contextmanager
    def _or_no_bar(self) -> Iterator[None]:
        """If the terminal has gone, or rich cannot draw on it, there is no bar from now on; training continues."""
        try:
            yield
        except Exception:
            self._bar = None

    def update(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """``done`` epochs so far, with fractions; ``metrics`` are those of the last whole one."""
        if self._bar is not None:
            fields = {} if metrics is None else {"metrics": describe(metrics)}
            with self._or_no_bar():
                self._bar.update(self._task, completed=done, epoch=int(done), **fields)
                if (now := time.monotonic()) - self._shown >= SECONDS_PER_REFRESH:
                    self._shown = now
                    self._bar.refresh()


def describe(metrics: Mapping[str, float]) -> str:
    """``train 0.021  valid 0.078  accuracy 0.981``: losses by the rows they are of, each metric behind its rows' loss:
    of the validation rows, if there are any, else of the training rows."""
    metric = next((name for name in RECORDED if name in metrics), "")
    shown = [("train", "loss"), ("valid", "valid_loss"), (metric, f"valid_{metric}")]
    if "valid_loss" not in metrics:
        shown = [("train", "loss"), (metric, metric), ("left out", LEFT_OUT)]
    known = {"valid_loss", *(f"valid_{name}" for name in RECORDED)}
    shown += [(key.removeprefix("valid_"), key) for key in metrics if key.startswith("valid_") and key not in known]
    return "  ".join(f"{printable(label)} {metrics[key]:.4g}" for label, key in shown if key in metrics)
