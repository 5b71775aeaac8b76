"""From logits to predictions, on the device: classes, numbers in the target's units, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.host_memory import require_free_memory
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import GaussianNLL, Loss, name_of, refuse_standardized

FEWER_ROWS = "predict fewer rows at a time"


class Normal(NamedTuple):
    """A normal distribution per row: arrays of one shape, in units of the target, and those squared."""

    mean: Array
    variance: Array


class Answer(NamedTuple):
    """What is made of the logits of n rows: ``write(logits, out)`` fills ``out`` (n, \\*shape), of ``dtype``.

    It may overwrite the logits.
    """

    write: Callable[[Array, Array], None]
    shape: tuple[int, ...]
    dtype: np.dtype

    def empty(self, backend: Backend, n: int) -> Array:
        """Memory for ``n`` rows; OutOfMemoryError if the host does not have it."""
        if backend.free_memory() is None:  # a device refuses by itself
            needed = n * math.prod(self.shape) * self.dtype.itemsize
            require_free_memory(needed, doing="predicting", hint=FEWER_ROWS)
        return backend.empty((n, *self.shape), self.dtype)


def answer_of(kind: str, backend: Backend, loss: Loss, dtype: np.dtype, targets: Standardization | None) -> Answer:
    """The answer of this kind: "prediction", "probabilities" or "numbers"."""
    if kind == "probabilities":
        return probabilities(backend, loss, dtype)
    return {"prediction": prediction, "numbers": numbers}[kind](backend, loss, dtype, targets)


def prediction(backend: Backend, loss: Loss, dtype: np.dtype, targets: Standardization | None) -> Answer:
    """Class numbers (n,), or zeros and ones (n, n_out), or of a regression :func:`numbers`."""
    if loss.task == "classify":
        return Answer(lambda z, out: backend.argmax(z, out=out), (), np.dtype(np.int32))
    if loss.task == "multilabel":
        return Answer(lambda z, out: backend.positive(z, out=out), (loss.n_out,), np.dtype(np.int32))
    return numbers(backend, loss, dtype, targets)


def probabilities(backend: Backend, loss: Loss, dtype: np.dtype) -> Answer:
    """(n, n_out): of each class, or of yes in each column."""
    if loss.task == "classify":
        return Answer(lambda z, out: backend.softmax(z, out=out), (loss.n_out,), dtype)
    return Answer(lambda z, out: backend.activate("sigmoid", z, out=out), (loss.n_out,), dtype)


def numbers(backend: Backend, loss: Loss, dtype: np.dtype, targets: Standardization | None) -> Answer:
    """(n, n_out): what a regression predicts, in the target's own units.

    Targets that were standardised come back in float64, which has the digits for small differences of large numbers.
    """
    if targets is None:

        def write(logits: Array, out: Array) -> None:
            loss.to_predictions(backend, logits)
            backend.copy(logits, out=out)

        return Answer(write, (loss.n_out,), dtype)

    refuse_standardized(loss)
    scale, shift = (backend.upload(part) for part in loss.units(targets))

    def write_in_units(logits: Array, out: Array) -> None:
        backend.copy(logits, out=out)
        loss.to_predictions(backend, out)
        backend.scale_and_shift(out, scale, shift, out=out)

    return Answer(write_in_units, (loss.n_out,), np.result_type(dtype, np.float64))


def refuse_regression(loss: Loss) -> None:
    """OptionError for a loss without probabilities."""
    if loss.task == "regress":
        raise OptionError(f"a net trained on {name_of(loss)} has no probabilities", hint="use predict")


def gaussian(loss: Loss) -> GaussianNLL:
    """``loss`` if it predicts a variance; else OptionError."""
    if not isinstance(loss, GaussianNLL):
        raise OptionError(f"a net trained on {name_of(loss)} has no variance", hint='loss="gaussian_nll"')
    return loss


def with_class_names(predicted: np.ndarray, loss: Loss, classes: tuple[str, ...]) -> np.ndarray:
    """What a net predicts, with the names of its ``classes`` in place of their numbers if they have names.

    A regression predicts no class, and of several yes-or-no answers per row none is the number of one.
    """
    is_class = loss.task == "classify" or (loss.task == "multilabel" and loss.n_out == 1)
    return np.array(classes, object)[predicted] if is_class and classes else predicted
