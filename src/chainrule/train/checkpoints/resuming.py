"""From a fit to a checkpoint, and from a checkpoint into a fit that continues as if it had never stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.arena import Arena
from chainrule.errors import DataError, ModelFileError, OptionError
from chainrule.nn.network import Network
from chainrule.nn.row_format import with_members
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.fingerprint import differences, machine_of, rows_of, settings_of
from chainrule.train.checkpoints.plausible import refuse_implausible_losses
from chainrule.train.fit_state import FitState
from chainrule.train.settings import TrainingSettings

SAME_RATE = 1e-6  # relative


class Identity(NamedTuple):
    """Whose a checkpoint is: settings and rows that must be the same, and the machine that decides about the bits."""

    settings: dict[str, Any]
    rows: dict[str, Any]
    machine: dict[str, Any]

    @classmethod
    def of(
        cls,
        net: Network,
        settings: TrainingSettings,
        X: Any,
        y: Any,
        weights: Any,
        validation: Any,
        *,
        left_out: np.ndarray | None = None,
    ) -> Identity:
        """Of a fit that is about to begin."""
        rows = rows_of(net.backend, X, y, weights, validation, left_out=left_out)
        parts = settings_of(net, settings), rows, machine_of(net)
        return cls(*json.loads(json.dumps(parts)))  # lists for tuples, as a file has them

    def refuse_another(self, checkpoint: Checkpoint, *, anywhere: bool) -> None:
        """OptionError or DataError, naming what differs, unless the checkpoint is of this fit.

        ``anywhere`` admits another machine: then the run resumes, and its weights differ in their last bits.
        """
        if found := differences(checkpoint.settings, self.settings):
            raise OptionError(
                f"the checkpoint is of other settings: {'; '.join(found)}",
                hint="resume with the settings it began with",
            )
        if found := differences(checkpoint.rows, self.rows):
            raise DataError(
                f"the checkpoint is of other rows: {'; '.join(found)}",
                hint="resume with the rows it began with, in the same order, and the same validation",
            )
        if (found := differences(checkpoint.machine, self.machine)) and not anywhere:
            raise OptionError(
                f"the checkpoint was written on another machine or with other versions: {'; '.join(found)}",
                hint=f"{_same_threads(checkpoint.machine, self.machine)}`--anywhere`, in the library "
                "fit(resume_anywhere=True), resumes all the same; the weights will differ in their last bits",
            )


def _same_threads(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The part of a hint that says how to have as many threads as before, if there are others now."""
    threads = before.get("threads")
    if not isinstance(threads, int) or now.get("threads", threads) == threads:
        return ""
    return f"`--threads {threads}`, in the library Trainer(threads={threads}), resumes with as many threads as before; "


def take(state: FitState, done: int, seconds: float, identity: Identity) -> Checkpoint:
    """The checkpoint of a fit after ``done`` batches of the epoch under way. Synchronises."""
    arrays = {
        f"{arena}.{name}": value
        for arena, memory in state.arenas().items()
        for name, value in memory.download().items()
    }
    arrays["totals"] = np.ascontiguousarray(state.steps.backend.download(state.steps.totals)[..., :done, :])
    metric, history, statistics = state.metric, state.run.history, state.layer_statistics
    return Checkpoint(
        epochs=history.epochs,
        batches=done,
        steps=state.run.steps,
        seconds=seconds,
        best_epoch=metric.epoch if metric else 0,
        best_value=metric.value if metric else 0.0,
        first_loss=state.first_loss,
        history={name: list(values) for name, values in history.items()},
        rates=state.rates.state(),
        probe=None if statistics is None else statistics.state(),
        **identity._asdict(),
        arrays=arrays,
    )


def restore(state: FitState, checkpoint: Checkpoint, settings: TrainingSettings, history_names: Sequence[str]) -> None:
    """Bring a fit, its memory laid out and nothing done, to the point at which the checkpoint was taken.

    ModelFileError if its arrays are not those of this fit, or its numbers do not follow from its history; then the net
    has not changed.

    Parameters
    ----------
    history_names : what the history of this fit has
    """
    _refuse_other_numbers(state, checkpoint, settings.epochs, history_names)
    _follow_history(state, checkpoint, settings)
    arenas = state.arenas()
    _refuse_other_arrays(checkpoint, arenas)
    if state.layer_statistics is not None and checkpoint.probe is not None:
        state.layer_statistics.restore(checkpoint.probe, epochs=checkpoint.epochs)
    for name, arena in arenas.items():
        arena.assign(checkpoint.arena(name))
    steps = state.steps
    totals = steps.backend.download(steps.totals)
    totals[..., : checkpoint.batches, :] = checkpoint.arrays["totals"]
    steps.backend.assign(totals, out=steps.totals)
    state.first_batch, state.first_loss = checkpoint.batches, checkpoint.first_loss
    state.run.steps, state.run.seconds = checkpoint.steps, checkpoint.seconds


def _refuse_other_numbers(
    state: FitState, checkpoint: Checkpoint, all_epochs: int, history_names: Sequence[str]
) -> None:
    """ModelFileError if this fit never is at that point, or the history is of other quantities."""
    epochs, batches, count, groups = (
        checkpoint.epochs,
        checkpoint.batches,
        state.steps.batches.count,
        state.steps.groups,
    )
    if epochs > all_epochs or batches > (count if epochs < all_epochs else 0):
        raise ModelFileError(
            f"the checkpoint is of batch {batches} after {epochs} epochs; this fit has {all_epochs} epochs of {count}"
        )
    steps = epochs * groups.updates + groups.updates_before(batches)
    if checkpoint.steps != steps:
        raise ModelFileError(
            f"the checkpoint: expected {steps} steps of {epochs} epochs and {batches} batches, got {checkpoint.steps}"
        )
    names = history_names if epochs else []
    if sorted(checkpoint.history) != sorted(names):
        raise ModelFileError(
            f"the checkpoint has another history: expected {', '.join(names)}, got {', '.join(checkpoint.history):.200}"
        )
    try:
        refuse_implausible_losses(
            state.steps.net.loss,
            checkpoint.first_loss,
            checkpoint.history,
            checkpoint.arrays["totals"].reshape(-1, 3),
        )
    except ValueError as error:
        raise ModelFileError(f"the checkpoint contradicts itself: {error}") from None


def _follow_history(state: FitState, checkpoint: Checkpoint, settings: TrainingSettings) -> None:
    """The state of feedback and of the monitored metric follows from the history: computed again, and compared."""
    for number in range(checkpoint.epochs):
        metrics = {name: values[number] for name, values in checkpoint.history.items()}
        _refuse_other_rate(state, metrics["lr"], number, settings)
        state.run.history.append(metrics)
        state.rates.end_epoch(number + 1, metrics)
        if state.metric is not None:
            state.metric.improved(number + 1, metrics)
    best = (state.metric.epoch, state.metric.value) if state.metric is not None else (0, 0.0)
    if best != (checkpoint.best_epoch, checkpoint.best_value):
        raise ModelFileError(
            f"the checkpoint says that epoch {checkpoint.best_epoch} with {checkpoint.best_value:g} was the best, "
            f"its history says epoch {best[0]} with {best[1]:g}"
        )
    if state.rates.state() != checkpoint.rates:
        raise ModelFileError("the checkpoint's learning rate does not follow from its history")


def _refuse_other_rate(state: FitState, rate: float, epoch: int, settings: TrainingSettings) -> None:
    """``epoch`` counts from 0. Another machine's cosine may have other last bits."""
    updates = state.steps.groups.updates
    expected = state.rates.rate((epoch + 1) * updates - 1, settings.epochs * updates)
    if not math.isclose(rate, expected, rel_tol=SAME_RATE, abs_tol=SAME_RATE * settings.optimizer.schedule.lr):
        raise ModelFileError(
            f"the checkpoint says that epoch {epoch + 1} ended with a rate of {rate:g}, its settings say {expected:g}"
        )


def _refuse_other_arrays(checkpoint: Checkpoint, arenas: dict[str, Arena]) -> None:
    expected = {
        f"{name}.{part}": (arena.shape_of(slot), arena.layout.dtype)
        for name, arena in arenas.items()
        for part, slot in arena.layout.slots.items()
    }
    totals = with_members((checkpoint.batches, 3), arenas["parameters"].members)
    expected["totals"] = totals, np.dtype(np.float64)
    found = {name: (a.shape, a.dtype) for name, a in checkpoint.arrays.items()}
    if found != expected:
        wrong = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ModelFileError(
            f"the checkpoint does not fit: {wrong:.80}: expected {_described(expected.get(wrong))}, got "
            f"{_described(found.get(wrong))}"
        )


def _described(kind: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "nothing" if kind is None else f"{kind[0]}, {kind[1]}"
