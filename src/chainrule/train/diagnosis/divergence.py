"""Where a run stopped being finite: searched for once it has, at no cost to the steps before."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.backends.contract.backend import Array
from chainrule.errors import DivergenceError
from chainrule.nn.losses.names import Baseline, CustomLoss
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass

PARAMETER, LOSS_ITSELF = "the parameter", "the loss itself"


def nonfinite_parameter(net: Network) -> str:
    """The first parameter or statistic with a number that is not finite, in words; empty if there is none."""
    for name, value in (net.parameters() | dict(net.parameter_arena)).items():
        if (index := net.backend.first_nonfinite(value)) is not None:
            return f"{PARAMETER} {name}{of_member(net, index * net.members // value.size)}"
    return ""


def of_member(net: Network, member: int) -> str:
    """Words to say whose it is; none for a net that is no ensemble."""
    return f" of member {member}" if net.members > 1 else ""


def nonfinite_output(net: Network, batch: Pass, x: Array, member: int) -> str:
    """The first layer whose output for ``x`` is not finite, in words; else it is the loss itself, of this member."""
    batch.forward(x)
    for layer in batch.chain.walk():
        if (index := batch.backend.first_nonfinite(layer.y)) is not None:
            return f"the output of {layer.name}{of_member(net, index * net.members // layer.y.size)}"
    return f"{LOSS_ITSELF}{of_member(net, member)}"


def remedy(net: Network, where: str, *, step: int, rate: float) -> str:
    """What to do, judged by ``where`` the first number is that is not finite."""
    lower = f"lower the learning rate (it is {rate:.3g})"
    own = f"; look at {net.loss_name}, a loss of your own" if isinstance(net.loss, CustomLoss) else ""
    if where.startswith(PARAMETER):
        return f"the update was too large, or its gradient was not finite: {lower}, or set clip_norm{own}"
    if where.startswith(LOSS_ITSELF) and (own or not step):
        also = f", or {lower}" if step else ""
        return f"all outputs are finite, the loss of a row is not: look at the targets of this batch{also}{own}"
    if not step:
        return "no update was made yet, so features or first weights are too large: standardise X"
    mean = "" if net.loss.mean else "take the mean loss rather than a sum, "
    return f"{lower}, {mean}or set clip_norm"


def diverged(
    net: Network, *, step: int, epoch: int, batch: int, batches: int, loss: float, where: str, rate: float
) -> DivergenceError:
    """The error of a step whose loss is not finite; ``epoch`` and ``batch`` count from 0."""
    return DivergenceError(
        f"training diverged at step {step} (epoch {epoch + 1}, batch {batch + 1} of {batches}): "
        f"the loss is {loss}; the first number that is not finite stands in {where}",
        step=step,
        epoch=epoch + 1,
        where=where,
        hint=remedy(net, where, step=step, rate=rate),
    )


def refuse_nonfinite_parameters(net: Network, *, step: int, epoch: int, rate: Callable[[int], float]) -> None:
    """DivergenceError for an update that overflowed; ``epoch`` counts from 1, ``rate`` gives that of a step.

    The loss of the next step would show it, but after the last step there is none.
    """
    where = nonfinite_parameter(net)
    if where:
        raise DivergenceError(
            f"training diverged with its last update (step {step}, epoch {epoch}): {where} is not finite",
            step=step,
            epoch=epoch,
            where=where,
            hint=remedy(net, where, step=step, rate=rate(step)),
        )


def refuse_explosion(
    loss: float, *, factor: float | None, first: float, baseline: Baseline | None, step: int, epoch: int
) -> None:
    """DivergenceError for an epoch whose mean loss is finite but beyond all reason; ``epoch`` counts from 1.

    Beyond reason is ``factor`` times the largest of three: the loss before the first update, that of the best constant
    prediction (``baseline``, if it is known: targets may be in any unit), and 1.
    """
    constant = 0.0 if baseline is None else baseline.constant
    if factor is None or not loss > factor * max(1.0, abs(first), abs(constant)):
        return
    raise DivergenceError(
        f"training exploded in epoch {epoch}: its mean loss is {loss:.3g}, the first batch's was {first:.3g}",
        step=step,
        epoch=epoch,
        where="the loss, which is still finite",
        hint="lower the learning rate, or set clip_norm",
    )
