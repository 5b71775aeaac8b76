"""Cross-validation: a net for each fold, scored on rows that had no part in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import OptionError, ShapeError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.losses.base import refuse_if
from chainrule.nn.network import Network
from chainrule.nn.scores import score
from chainrule.options import whole_number
from chainrule.plain_text import count_of
from chainrule.train.side_by_side import bytes_of_fit, side_by_side


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """What comes of :func:`cross_validate`.

    Parameters
    ----------
    scores : the metrics of each fold, by name. One that is undefined in a fold (roc_auc if all its rows are of one
        class) is absent there, and left out of ``mean`` and ``std``
    rows : how many rows each fold has
    """

    scores: tuple[dict[str, float], ...]
    rows: tuple[int, ...]

    def __repr__(self) -> str:
        """Mean and standard deviation of each metric over the folds."""
        std = {name: f" +- {value:.4g}" for name, value in self.std.items()}
        metrics = ", ".join(f"{name} {value:.4g}{std.get(name, '')}" for name, value in self.mean.items())
        return f"<CrossValidation of {count_of(len(self.rows), 'fold')}: {metrics or 'no metrics'}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics."""
        return tuple(dict.fromkeys(name for found in self.scores for name in found))

    @property
    def mean(self) -> dict[str, float]:
        """Over the folds, each with the same weight."""
        return {name: float(np.mean(values)) for name, values in self._columns().items()}

    @property
    def std(self) -> dict[str, float]:
        """sqrt(sum((x - mean)^2) / (folds - 1)), the spread over the folds, of metrics that at least two folds have."""
        return {name: _deviation(v) for name, v in self._columns().items() if len(v) > 1}

    def _columns(self) -> dict[str, list[float]]:
        return {name: [found[name] for found in self.scores if name in found] for name in self.names}


def _deviation(values: Sequence[float]) -> float:
    """Scaled by a power of two, so that no square overflows or underflows."""
    largest = np.abs(values).max()
    exponent = np.frexp(largest if np.isfinite(largest) else 1.0)[1]
    return float(np.ldexp(np.std(np.ldexp(values, -exponent), ddof=1), exponent))


@out_of_memory_hint("use fewer rows", doing="cross-validating")
def cross_validate(
    train: Callable[[np.ndarray], Network],
    X: Any,
    y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    on_fold: Callable[[int, dict[str, float]], None] | None = None,
    threads: int | None = None,
) -> CrossValidation:
    """The metrics of the net that ``train`` makes of each fold's training rows, on the held-out rows.

    On a CPU, once the compiled loops are in use, the folds after the first are trained side by side, with the same
    result; less memory than they would take puts them one after the other, and so does a GPU. If one fails, or the
    calling thread is interrupted, the others stop within a few steps.

    Parameters
    ----------
    train : is given the positions of training rows and returns a net trained on them, its preparation fitted on them.
        If it stops early or keeps a best epoch, it must choose that by some of these rows. Several threads may call it
        at the same time: a net, a Trainer or a random number generator that all calls share needs ``threads=1``
    X : (n, d) as ``net.predict`` takes it; or a Table, which each net's own encoder makes a matrix
    y : (n,) or (n, k), coded for the net's loss
    folds : (training rows, held-out rows) each, as :func:`chainrule.make_folds` deals them
    on_fold : called with the fold's number, from 1, and its metrics, after each fold, in order and in this thread
    threads : that may train folds at the same time; None for one per core that this process may use, 1 for one fold
        after the other

    Raises
    ------
    ShapeError    if X and y have not the same number of rows.
    OptionError   if a fold has rows on both sides, or for a number of threads below 1.
    """
    y = np.asarray(y)
    if len(X) != len(y):
        raise ShapeError(f"expected X and y with the same number of rows, got {len(X)} and {len(y)}")
    matrix = None if getattr(X, "columns", None) else getattr(X, "features", X)
    if isinstance(matrix, np.ndarray) and matrix.dtype.kind == "f" and matrix.ndim == 2:
        # Checked here, so that the error has the caller's row numbers and not those of a fold.
        refuse_if(~np.isfinite(matrix), matrix, "X", "a finite number")
    for number, (training, held_out) in enumerate(folds, 1):
        if len(np.intersect1d(training, held_out)):
            raise OptionError(f"fold {number} has rows on both sides: what is scored must not be trained on")
    if threads is not None:
        threads = whole_number("threads", threads)
    scores: list[dict[str, float]] = []

    def end_fold(found: dict[str, float]) -> None:
        scores.append(found)
        if on_fold is not None:
            on_fold(len(scores), found)

    def train_and_score(fold: tuple[np.ndarray, np.ndarray]) -> tuple[Network, dict[str, float]]:
        training, held_out = fold
        net = train(training)
        return net, score(net, _rows(net, X, held_out), y[held_out])

    if folds:
        # The net of the first tells where the others will be trained, and how much memory they take.
        net, found = train_and_score(folds[0])
        end_fold(found)
        backend, bytes_each = net.backend, bytes_of_fit(net, len(y))
        del net  # so that its memory is free
        side_by_side(
            [functools.partial(lambda fold: train_and_score(fold)[1], fold) for fold in folds[1:]],
            backend,
            threads=threads,
            bytes_each=bytes_each,
            on_end=lambda _, found: end_fold(found),
        )
    return CrossValidation(tuple(scores), tuple(len(held_out) for _, held_out in folds))


def _rows(net: Network, X: Any, rows: np.ndarray) -> np.ndarray:
    encoder = net.preparation.encoder
    if getattr(X, "columns", None) and encoder is not None:
        return encoder.encode(X.columns, rows=rows, compact=True)
    matrix: np.ndarray = getattr(X, "features", X)
    return matrix.take(rows, axis=0)
