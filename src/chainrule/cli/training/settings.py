"""The settings of a training: what the options of ``chainrule train`` leave open, the recipe completes."""

from __future__ import annotations

from chainrule.cli.options.train_options import TrainingOptions
from chainrule.nn.losses.names import Task
from chainrule.train.recipe import Choices, Settings, resolve, resolve_preset


def settings_of(options: TrainingOptions, rows: int, task: Task) -> Settings:
    """The options that the recipe completes, for so many training rows of this task.

    ``options`` have their optimiser's defaults.
    """
    net, updates, fit, preset = options.net, options.updates, options.fit, options.preset
    choices = Choices(
        hidden="auto" if net.hidden is None else net.hidden,
        dropout="auto" if net.dropout is None else net.dropout,
        epochs="auto" if fit.epochs is None else fit.epochs,
        batch_size="auto" if fit.batch_size is None else fit.batch_size,
        alpha=0.0,
        members="auto" if net.members is None else net.members,
        weight_decay="auto" if updates.weight_decay is None else updates.weight_decay,
        activation=net.activation or "auto",
        preset=preset,
    )
    if preset is not None:
        return resolve_preset(choices, rows, task=task, lr=updates.lr)
    return resolve(
        choices,
        rows,
        optimizer=updates.optimizer,
        lr=updates.lr,
        accumulate=fit.accumulate,
    )
