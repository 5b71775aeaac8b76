"""Progress of a fit: lines of some of its epochs, which stay, and where there is room for one a bar meanwhile."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final, Self

from chainrule.train.records.progress_displays import Display, find_display
from chainrule.train.records.progress_text import describe, progress_line

MOST_LINES = 10  # of epochs, in all, and the last one
_bar_alone: Final[ContextVar[bool]] = ContextVar("chainrule_bar_alone", default=False)


@contextlib.contextmanager
def bar_alone() -> Iterator[None]:
    """Fits within it leave no lines: they are parts of something that has lines of its own."""
    token = _bar_alone.set(True)
    try:
        yield
    finally:
        _bar_alone.reset(token)


class Progress:
    """``with Progress(...) as progress``; shows nothing if ``enabled`` is false or there is no display for it.

    On a terminal and in a notebook there is a bar with the time left until the fit ends; there and in a log file
    lines of at most ten epochs, spread over the fit, and of the last one.

    Parameters
    ----------
    epochs : of the fit, at most
    enabled : whether anything is shown
    begun : epochs that were done before, of a fit that resumes
    """

    def __init__(self, epochs: int, *, enabled: bool, begun: int = 0) -> None:
        self.epochs, self._begun = epochs, begun
        self._display: Display | None = None
        self._drawn, self._start = -math.inf, time.monotonic()
        self._done: float = begun
        self._epoch, self._kept, self._metrics = begun, begun, ""
        self._leaves_lines = not _bar_alone.get()
        if enabled:
            with self._or_no_display():
                self._display = find_display()

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if (display := self._display) is not None:
            with self._or_no_display():
                display.start()
                self._draw(display)
        return self

    def __exit__(self, *_: object) -> None:
        with self._or_no_display():
            if self._display is not None and self._epoch != self._kept:
                self._keep(self._display)
        self._close()

    def _close(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            with contextlib.suppress(Exception):
                display.stop()

    @contextlib.contextmanager
    def _or_no_display(self) -> Iterator[None]:
        """If the terminal has gone, or cannot be drawn on, nothing is shown from now on; training continues."""
        try:
            yield
        except Exception:
            self._close()

    def update(self, done: float, metrics: Mapping[str, float] | None = None) -> None:
        """``done`` epochs so far, with fractions; ``metrics`` are those of the last whole one."""
        if (display := self._display) is None:
            return
        with self._or_no_display():
            self._done = done
            if metrics is not None:
                self._epoch, self._metrics = int(done), describe(metrics)
                if self._epoch % -(-self.epochs // MOST_LINES) == 0:
                    self._keep(display)
                    self._drawn = -math.inf  # what was kept is in the place of the bar
            self._draw(display)

    def _keep(self, display: Display) -> None:
        self._kept = self._epoch
        if self._leaves_lines:
            display.keep(f"{'epoch':<8} {self._epoch}/{self.epochs}  {self._metrics}")

    def _draw(self, display: Display) -> None:
        now = time.monotonic()
        if now - self._drawn < display.seconds or math.isinf(display.seconds):
            return
        self._drawn, done = now, self._done
        steps = done - self._begun
        left = (now - self._start) / steps * (self.epochs - done) if steps > 0 else math.nan
        display.draw(
            lambda columns, signs: progress_line(done, self.epochs, left, self._metrics, columns=columns, signs=signs)
        )
