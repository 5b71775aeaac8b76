"""From a fit to a checkpoint, and from a checkpoint into a fit that goes on as if it had never stopped."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.arena import Arena
from chainrule.errors import DataError, ModelFileError, OptionError
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.fingerprint import differences, machine_of, rows_of, settings_of
from chainrule.train.checkpoints.plausible import refuse_implausible_losses

if TYPE_CHECKING:
    from chainrule.train.fit import Fit
    from chainrule.train.trainer import Trainer


SAME_RATE = 1e-6  # relative


class Identity(NamedTuple):
    """Whose a checkpoint is: settings and rows that must be the same, and the machine that decides about the bits."""

    settings: dict[str, Any]
    rows: dict[str, Any]
    machine: dict[str, Any]

    @classmethod
    def of(cls, trainer: Trainer, X: Any, y: Any, weights: Any, validation: Any) -> Identity:
        """Of a fit that is about to begin."""
        backend = trainer.net.backend
        parts = settings_of(trainer), rows_of(backend, X, y, weights, validation), machine_of(backend)
        return cls(*json.loads(json.dumps(parts)))  # lists for tuples, as a file has them

    def refuse_another(self, checkpoint: Checkpoint, *, anywhere: bool) -> None:
        """OptionError or DataError, naming what differs, unless the checkpoint is of this fit.

        ``anywhere`` admits another machine: then the run goes on, and ends with other last bits.
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
                hint="`--anywhere`, in the library fit(resume_anywhere=True), goes on, and ends with other last bits",
            )


def take(fit: Fit, done: int, seconds: float) -> Checkpoint:
    """The checkpoint of a fit after ``done`` batches of the epoch under way. Looks at the device."""
    assert fit.identity is not None
    arrays = {
        f"{arena}.{name}": value for arena, memory in _arenas(fit).items() for name, value in memory.download().items()
    }
    arrays["totals"] = fit.backend.download(fit.steps.totals[:done])
    best, history = fit.best, fit.run.history
    return Checkpoint(
        epochs=history.epochs,
        batches=done,
        steps=fit.run.steps,
        seconds=seconds,
        best_epoch=best.epoch if best else 0,
        best_value=best.value if best else 0.0,
        first_loss=fit.first_loss,
        history={name: list(values) for name, values in history.items()},
        rates=fit.rates.state(),
        probe=None if fit.probe is None else fit.probe.state(),
        **fit.identity._asdict(),
        arrays=arrays,
    )


def restore(fit: Fit, checkpoint: Checkpoint) -> None:
    """Bring a fit, its memory laid out and nothing done, to where the checkpoint was taken.

    ModelFileError where its arrays are not those of this fit, or its numbers do not follow from its history; then the
    net has not changed.
    """
    _refuse_other_numbers(fit, checkpoint)
    _follow_history(fit, checkpoint)
    arenas = _arenas(fit)
    _refuse_other_arrays(checkpoint, arenas)
    if fit.probe is not None and checkpoint.probe is not None:
        fit.probe.restore(checkpoint.probe, epochs=checkpoint.epochs)
    for name, arena in arenas.items():
        arena.assign(checkpoint.arena(name))
    fit.backend.assign(checkpoint.arrays["totals"], out=fit.steps.totals[: checkpoint.batches])
    fit.first_batch, fit.first_loss = checkpoint.batches, checkpoint.first_loss
    fit.run.steps, fit.run.seconds = checkpoint.steps, checkpoint.seconds


def _arenas(fit: Fit) -> dict[str, Arena]:
    """What is kept of a fit's memory, by name; the best epoch's weights once there is one."""
    found = fit.update_step.arenas()
    return found if fit.best_weights is None else found | fit.best_weights.arenas()


def _refuse_other_numbers(fit: Fit, checkpoint: Checkpoint) -> None:
    """ModelFileError where there is no such place in this fit, or the history is of other quantities."""
    epochs, batches, count, groups = checkpoint.epochs, checkpoint.batches, fit.steps.batches.count, fit.steps.groups
    if epochs > fit.trainer.epochs or batches > (count if epochs < fit.trainer.epochs else 0):
        raise ModelFileError(
            f"the checkpoint is of batch {batches} after {epochs} epochs, there are {fit.trainer.epochs} of {count}"
        )
    steps = epochs * groups.updates + groups.updates_before(batches)
    if checkpoint.steps != steps:
        raise ModelFileError(
            f"the checkpoint says {checkpoint.steps} steps, {epochs} epochs and {batches} batches make {steps}"
        )
    names = fit.quantities if epochs else []
    if sorted(checkpoint.history) != sorted(names):
        raise ModelFileError(f"the checkpoint has another history: {', '.join(names)} were expected")
    try:
        refuse_implausible_losses(fit.net.loss, checkpoint.first_loss, checkpoint.history, checkpoint.arrays["totals"])
    except ValueError as error:
        raise ModelFileError(f"the checkpoint makes no sense: {error}") from None


def _follow_history(fit: Fit, checkpoint: Checkpoint) -> None:
    """What feedback and the watched metric have come to follows from the history: once more, and compared."""
    for number in range(checkpoint.epochs):
        metrics = {name: values[number] for name, values in checkpoint.history.items()}
        _refuse_other_rate(fit, metrics["lr"], number)
        fit.run.history.append(metrics)
        fit.rates.end_epoch(number + 1, metrics)
        if fit.best is not None:
            fit.best.improved(number + 1, metrics)
    best = (fit.best.epoch, fit.best.value) if fit.best is not None else (0, 0.0)
    if best != (checkpoint.best_epoch, checkpoint.best_value):
        raise ModelFileError(
            f"the checkpoint says that epoch {checkpoint.best_epoch} with {checkpoint.best_value:g} was the best, "
            f"its history says epoch {best[0]} with {best[1]:g}"
        )
    if fit.rates.state() != checkpoint.rates:
        raise ModelFileError("the checkpoint's learning rate does not follow from its history")


def _refuse_other_rate(fit: Fit, rate: float, epoch: int) -> None:
    """``epoch`` counts from 0. Another machine's cosine may have other last bits."""
    expected = fit.rate((epoch + 1) * fit.steps.groups.updates - 1)
    if not math.isclose(rate, expected, rel_tol=SAME_RATE, abs_tol=SAME_RATE * fit.trainer.optimizer.schedule.lr):
        raise ModelFileError(
            f"the checkpoint says that epoch {epoch + 1} ended with a rate of {rate:g}, its settings say {expected:g}"
        )


def _refuse_other_arrays(checkpoint: Checkpoint, arenas: dict[str, Arena]) -> None:
    wanted = {
        f"{name}.{part}": (slot.shape, arena.layout.dtype)
        for name, arena in arenas.items()
        for part, slot in arena.layout.slots.items()
    }
    found = {name: (a.shape, a.dtype) for name, a in checkpoint.arrays.items() if name != "totals"}
    if found != wanted:
        wrong = min(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ModelFileError(
            f"the checkpoint does not fit: {wrong:.80} is {_described(found.get(wrong))}, "
            f"{_described(wanted.get(wrong))} was expected"
        )


def _described(kind: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "not there" if kind is None else f"{kind[0]}, {kind[1]}"
