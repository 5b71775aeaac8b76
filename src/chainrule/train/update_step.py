"""What turns gradients into new weights: penalty, accumulation, optimiser, averages, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.arena import Arena
from chainrule.backends.contract.backend import Array
from chainrule.train.accumulation import Accumulation
from chainrule.train.penalty import Penalty
from chainrule.train.weight_ema import WeightEMA

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer


class UpdateStep:
    """All that a fit keeps beside a net from step to step, and what a step does with it after the backward pass.

    Parameters
    ----------
    trainer : its net, optimiser, moments, l2, accumulate and ema
    """

    def __init__(self, trainer: Trainer) -> None:
        net = trainer.net
        self.net = net
        self.accumulation = Accumulation(net, trainer.accumulate) if trainer.accumulate > 1 else None
        gradients = net.gradient_arena if self.accumulation is None else self.accumulation.gradients
        self.optimizer = trainer.optimizer.bind(net.parameter_arena, gradients, trainer.moments)
        self.averages = WeightEMA(net, trainer.ema) if trainer.ema is not None else None
        self.judged = net if self.averages is None else self.averages.net  # what the end of an epoch looks at
        self.penalty = Penalty(net, trainer.l2) if trainer.l2 else None

    def learn(self, totals: Array, lr: Array, state: Array, *, updates: bool) -> None:
        """Take in the gradient of a batch; without ``updates`` a later batch of its group takes it further."""
        if self.penalty is not None:
            self.penalty.add(totals, state)
        if self.accumulation is not None:
            self.accumulation.add(totals, state)
        if updates:
            self.optimizer.step(lr, state)
            if self.averages is not None:
                self.averages.update(state)

    def begin(self) -> None:
        """Before the first step: the averages become the parameters."""
        if self.averages is not None:
            self.averages.begin()

    def keep(self) -> None:
        """The end of a run: the net has the parameters that are judged."""
        if self.averages is not None:
            self.averages.keep()

    def arenas(self) -> dict[str, Arena]:
        """By name, all that the next step depends on: a net and its update_step are these."""
        found = {"parameters": self.net.parameter_arena}
        found |= {f"moments.{name}": arena for name, arena in self.optimizer.moments.items()}
        if self.averages is not None:
            found["averages"] = self.averages.net.parameter_arena
        if self.accumulation is not None:
            found["accumulated"] = self.accumulation.gradients
        return found
