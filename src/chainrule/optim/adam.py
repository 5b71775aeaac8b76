"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array, Backend
from chainrule.optim.base import Optimizer
from chainrule.optim.parameter_groups import Segment
from chainrule.options import real_number


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2;   W -= lr m_hat / (sqrt(v_hat) + eps).

    m_hat = m / (1 - beta1^t), v_hat = v / (1 - beta2^t) at step t = 1, 2, ...; g = dW + weight_decay W.

    Parameters
    ----------
    lr : a number, or a schedule
    weight_decay : from 0 up, of ``*.W`` and the tables of embeddings (see ParameterGroup): g is then the gradient of
        the loss + (weight_decay / 2) sum(W^2)
    clip_norm : the largest norm of the whole gradient, above 0; None for no clipping
    groups : ParameterGroups; the first that matches a parameter's name decides
    lazy_embedding : update only those vectors of an embedding whose categories are in the batch: their moments then
        decay in the steps alone that they are in. It makes steps with very many categories fast
    beta1, beta2 : in [0, 1)
    eps : above 0
    eps_hat : add eps to sqrt(v) rather than to sqrt(v_hat), as in section 2 of the paper, scikit-learn and Keras

    Source: Kingma, Ba 2015, algorithm 1.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_hat: bool = False
    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number("beta1", self.beta1, below=1.0)
        real_number("beta2", self.beta2, below=1.0)
        real_number("eps", self.eps, above=True)

    def moment_names(self) -> tuple[str, ...]:
        return ("m", "v")

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
        m, v = moments
        backend.adam(
            params,
            grads,
            m,
            v,
            lr,
            state,
            lr_factor=segment.lr_factor,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=segment.weight_decay,
            touched=touched,
            factors=factors,
            decoupled=self.decoupled,
            eps_hat=self.eps_hat,
        )


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: W -= lr weight_decay W, then Adam's step with g = dW.

    Parameters
    ----------
    lr : a number, or a schedule
    weight_decay : from 0 up, of ``*.W`` and the tables of embeddings (see ParameterGroup)
    clip_norm : the largest norm of the whole gradient, above 0; None for no clipping
    groups : ParameterGroups; the first that matches a parameter's name decides
    lazy_embedding, beta1, beta2, eps, eps_hat : as for :class:`Adam`

    Source: Loshchilov, Hutter 2019, algorithm 2 (with lr on the decay, as in torch.optim.AdamW).
    """

    weight_decay: float = 1e-2
    decoupled: ClassVar[bool] = True
