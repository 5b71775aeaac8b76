"""A checkpoint: all that a fit needs to continue as if it had never stopped.

Random numbers are functions of the seed and the step, so little is needed: the arenas that a step changes (parameters,
moments, weight EMA, accumulated gradients of a group under way), the weights of the best epoch, the totals of the epoch
under way, and a few numbers: how far the fit is, its history, and what feedback has made of the learning rate. It also
says whose these are: the settings, the rows and the machine, so that a fit never resumes from another one's by mistake.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ModelFileError
from chainrule.files import sealed_file
from chainrule.files.regular_file import FilePath
from chainrule.files.sealed_file import Format
from chainrule.json_values import plain
from chainrule.train.checkpoints.plausible import refuse_implausible_array, refuse_implausible_numbers

FORMAT = Format("chainrule-checkpoint", "checkpoint", version=1, max_header=1 << 24)
DTYPES = ("float32", "float64")
FINITE = ("parameters.", "averages.", "best.", "totals")  # no fit resumes from an inf in these arrays
MOST = 2**62  # epochs, batches, steps


@dataclass(frozen=True)
class Checkpoint:
    """How far a fit is, what it has, and whose it is.

    Parameters
    ----------
    epochs, batches : how many epochs are over, and how many batches of the one under way are done
    steps : updates done; for people
    seconds : trained so far
    best_epoch, best_value : of the monitored metric; epoch 0 for none yet
    first_loss : of the very first batch, before any update
    history : {name: [one number per epoch]}
    rates : what feedback has left; see :class:`chainrule.train.rates.RatesOfRun`
    probe : the layer statistics that a diagnosis has measured so far, or None
    settings, rows, machine : whose it is; see :mod:`chainrule.train.checkpoints.fingerprint`
    arrays : "parameters.dense0.W", "moments.m.dense0.W", "best.dense0.W", ..., and "totals" (batches, 3);
        those of an ensemble with an axis for its members in front
    """

    epochs: int
    batches: int
    steps: int
    seconds: float
    best_epoch: int
    best_value: float
    first_loss: float
    history: dict[str, list[float]]
    rates: dict[str, float]
    probe: dict[str, Any] | None
    settings: dict[str, Any]
    rows: dict[str, Any]
    machine: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)

    def write(self, path: FilePath) -> None:
        """As a sealed file, whole or not at all."""
        description = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "arrays"}
        sealed_file.write(path, FORMAT, FORMAT.version, description, self.arrays)

    @classmethod
    def read(cls, path: FilePath) -> Checkpoint:
        """What :meth:`write` wrote; ModelFileError for a missing, foreign or damaged file, and impossible content."""
        _, description, arrays = sealed_file.read(path, FORMAT)
        try:
            return cls(**_checked(description), arrays=_checked_arrays(arrays, description["batches"]))
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(
                f"{path}: expected a checkpoint, got one with impossible content: {error!s:.200}"
            ) from error

    def arena(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one arena, by the names that they have in it."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}


def _checked(description: Any) -> dict[str, Any]:
    """The fields of a description, numbers as numbers; ValueError, TypeError or LookupError for a bad one."""
    names = {f.name for f in dataclasses.fields(Checkpoint)} - {"arrays"}
    if not isinstance(description, dict) or description.keys() != names:
        raise ValueError("its description has missing or unknown fields")
    found = dict(description)
    for name in ("epochs", "batches", "steps", "best_epoch"):
        if type(found[name]) is not int or not 0 <= found[name] < MOST:
            raise ValueError(f"{name}: expected a whole number from 0 up, got {found[name]!r:.40}")
    for name in ("seconds", "best_value", "first_loss"):
        found[name] = number_of(found[name])
    if not 0 <= found["seconds"] < math.inf:
        raise ValueError(f"seconds: expected a finite number from 0 up, got {found['seconds']}")
    for name in ("history", "rates", "settings", "rows", "machine"):
        if not isinstance(found[name], dict):
            raise ValueError(f"{name}: expected an object")
    if not isinstance(found["probe"], dict | None):
        raise ValueError("probe: expected an object or null")
    if not all(isinstance(values, list) for values in found["history"].values()):
        raise ValueError("history: expected lists of numbers")
    found["rates"] = {name: number_of(value) for name, value in found["rates"].items()}
    found["history"] = {name: [number_of(value) for value in values] for name, values in found["history"].items()}
    lengths = {len(values) for values in found["history"].values()}
    if lengths != ({found["epochs"]} if found["epochs"] else set()):
        raise ValueError(f"history: expected {found['epochs']} epochs, got {sorted(lengths)!s:.60}")
    if found["best_epoch"] > found["epochs"]:
        raise ValueError("its best epoch has not ended yet")
    refuse_implausible_numbers(found)
    return found


def number_of(value: Any) -> float:
    """A number as JSON holds it, or "nan", "inf", "-inf"; ValueError, TypeError or OverflowError for anything else."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in {"nan", "inf", "-inf"}):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return float(value)


def _checked_arrays(arrays: dict[str, np.ndarray], batches: int) -> dict[str, np.ndarray]:
    for name, array in arrays.items():
        if str(array.dtype) not in DTYPES:
            raise ValueError(f"{name:.80}: expected {' or '.join(DTYPES)}, got {array.dtype}")
        # A second moment may have grown beyond its dtype: inf there means an update of 0. A nan is never right.
        if not np.isfinite(array).all() and (name.startswith(FINITE) or not (array > -np.inf).all()):
            raise ValueError(f"{name:.80}: expected finite numbers")
        refuse_implausible_array(name, array)
    totals = arrays["totals"]
    if totals.shape[-2:] != (batches, 3) or totals.ndim > 3 or totals.dtype != np.float64:
        raise ValueError(f"expected totals of shape ({batches}, 3), float64, got {totals.shape}, {totals.dtype}")
    return arrays
