"""Gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.optim.base import Optimizer
from chainrule.optim.parameter_groups import Segment
from chainrule.optim.schedules import Schedule
from chainrule.options import real_number


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """g = dW + weight_decay W;   v = momentum v + g;   W -= lr v,   or with Nesterov's   W -= lr (g + momentum v).

    Parameters
    ----------
    lr : a number, or a schedule
    weight_decay : from 0 up, of ``*.W`` and the tables of embeddings (see ParameterGroup): g is then the gradient of
        the loss + (weight_decay / 2) sum(W^2)
    clip_norm : the largest norm of the whole gradient, above 0; None for no clipping
    groups : ParameterGroups; the first that matches a parameter's name decides
    lazy_embedding : update only those vectors of an embedding whose categories are in the batch: their velocity and
        decay act in the steps alone that they are in. Without momentum and decay that is so in any case
    momentum : in [0, 1); 0 keeps no velocity
    nesterov : whether to look ahead along the velocity; needs momentum

    Source: Sutskever, Martens, Dahl, Hinton 2013, in the form of torch.optim.SGD (lr outside the velocity).
    """

    lr: float | Schedule = field(default=1e-2, kw_only=False)
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("momentum", self.momentum, below=1.0)
        if self.nesterov and not self.momentum:
            raise OptionError("nesterov: expected a momentum above 0 with it, got 0", hint="momentum=0.9, for example")

    @property
    def leaves_out_untouched(self) -> bool:
        return self.lazy_embedding or not (self.momentum or self.weight_decay)

    def moment_names(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def update(
        self,
        backend: Backend,
        params: Array,
        grads: Array,
        moments: Sequence[Array],
        lr: Array,
        state: Array,
        segment: Segment,
        touched: Array | None = None,
        factors: Array | None = None,
    ) -> None:
        backend.sgd(
            params,
            grads,
            moments[0] if moments else None,
            lr,
            state,
            lr_factor=segment.lr_factor,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=segment.weight_decay,
            touched=touched,
            factors=factors,
        )
