"""What turns gradients into new weights: penalty, accumulation, optimiser, weight EMA, in this order."""

from __future__ import annotations

from chainrule.arena import Arena
from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network
from chainrule.train.accumulation import Accumulation
from chainrule.train.penalty import Penalty
from chainrule.train.settings import TrainingSettings
from chainrule.train.weight_ema import WeightEMA


class UpdateStep:
    """All that a fit keeps beside a net from step to step, and what a step does with it after the backward pass.

    Parameters
    ----------
    net : that is trained
    settings : its optimizer, moments, l2, accumulate and ema are used
    """

    def __init__(self, net: Network, settings: TrainingSettings) -> None:
        self.net = net
        self.accumulation = Accumulation(net, settings.accumulate) if settings.accumulate > 1 else None
        gradients = net.gradient_arena if self.accumulation is None else self.accumulation.gradients
        self.optimizer = settings.optimizer.bind(
            net.parameter_arena,
            gradients,
            settings.moments,
            first_member=net.first_member,
            touched=net.touched_vectors if self.accumulation is None else None,  # of one batch alone
            factors=None if net.factor_arena is net.parameter_arena else net.factor_arena,
            by_layer=self.accumulation is None and not settings.l2,  # which take all gradients at once
        )
        self.ema = WeightEMA(net, settings.ema) if settings.ema is not None else None
        self.evaluated_net = net if self.ema is None else self.ema.net  # at the end of an epoch, and kept in the end
        self.penalty = Penalty(net, settings.l2) if settings.l2 else None

    def apply(self, totals: Array, lr: Array, state: Array, *, updates: bool) -> None:
        """Take in the gradient of a batch; without ``updates`` it waits for the last batch of its group."""
        if self.penalty is not None:
            self.penalty.add(totals, state)
        if self.accumulation is not None:
            self.accumulation.add(totals, state)
        if updates:
            self.optimizer.step(lr, state)
            if self.ema is not None:
                self.ema.update(state)

    def accumulates_nonfinite(self) -> bool:
        """Whether a gradient that waits for its update has a number that is not finite. Synchronises."""
        accumulation, be = self.accumulation, self.net.backend
        return accumulation is not None and be.first_nonfinite(accumulation.gradients.flat) is not None

    def begin(self) -> None:
        """Before the first step: the weight EMA begins as the parameters are now."""
        if self.ema is not None:
            self.ema.begin()

    def keep_evaluated(self) -> None:
        """At the end of a run: the net gets the parameters that are evaluated."""
        if self.ema is not None:
            self.ema.copy_to_parameters()

    def arenas(self) -> dict[str, Arena]:
        """All that the next step depends on, by the names that it has in a checkpoint."""
        found = {"parameters": self.net.parameter_arena}
        found |= {f"moments.{name}": arena for name, arena in self.optimizer.moments.items()}
        if self.ema is not None:
            found["averages"] = self.ema.net.parameter_arena
        if self.accumulation is not None:
            found["accumulated"] = self.accumulation.gradients
        return found
