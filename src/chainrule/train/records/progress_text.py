"""The text of progress: an epoch's metrics, and the line with a bar and the time left, as wide as there is room."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

from chainrule.nn.metric_names import LEFT_OUT, RECORDED
from chainrule.plain_text import printable

BAR = 20  # characters, where there is room
SHORTEST_BAR = 5  # below that there is none
BAR_SIGNS, ASCII_SIGNS = "━─", "#-"


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


def progress_line(done: float, epochs: int, seconds_left: float, metrics: str, *, columns: int, signs: str) -> str:
    """``epoch 3/30 ━━──────────────────  0:12 left  train 0.021``, of at most so many columns of a terminal.

    Where there is less room the bar is shorter, then left out, then the end is cut.

    Parameters
    ----------
    done : epochs so far, with fractions, of ``epochs``
    seconds_left : nan if nothing is known of it
    metrics : as :func:`describe` returns them
    signs : what the bar is drawn with: what is done, and the rest
    """
    words = [f"{clock(seconds_left)} left"] if math.isfinite(seconds_left) else []
    words += [metrics] if metrics else []
    start, rest = f"epoch {int(done)}/{epochs}", "".join(f"  {word}" for word in words)
    length = min(BAR, columns - width_of(start + rest) - 1)
    filled = int(length * min(1.0, done / epochs))
    bar = f" {signs[0] * filled}{signs[1] * (length - filled)}" if length >= SHORTEST_BAR else ""
    return cut_to(start + bar + rest, columns)


def clock(seconds: float) -> str:
    """``0:42``, ``12:03``, ``1:02:03``."""
    minutes, s = divmod(math.ceil(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def width_of(text: str) -> int:
    """Columns of a terminal that ``text`` takes: East Asian wide characters two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_to(text: str, columns: int) -> str:
    """The beginning of ``text`` that takes at most so many columns."""
    while width_of(text) > columns:
        text = text[: max(0, min(columns, len(text) - 1))]
    return text
