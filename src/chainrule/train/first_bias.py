"""The first bias of the output layer: at the best constant prediction for the rows it will be trained on."""

from __future__ import annotations

from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.base import Loss
from chainrule.nn.network import Network
from chainrule.optim.base import Optimizer
from chainrule.optim.parameter_groups import segments
from chainrule.train.feeding.host_rows import HostRows


def set_first_bias(net: Network, rows: Rows | HostRows, optimizer: Optimizer) -> None:
    """Give the output layer's bias the loss's :meth:`~chainrule.nn.losses.base.Loss.constant_logits` of ``rows``.

    It stays as it is if the loss has none, if it is not all 0 (it was trained or assigned), and if the optimiser's
    groups freeze it (``lr_factor=0``). Each member of an ensemble gets that of its own weights. Synchronises.
    """
    if type(net.loss).constant_logits is Loss.constant_logits:
        return  # most losses: nothing is downloaded for them
    be, bias = net.backend, f"{net.nodes[-1].name}.b"
    at = net.parameter_arena.layout.slots[bias].start
    parts = segments(net.parameter_arena.layout, optimizer.groups, optimizer.weight_decay)
    is_frozen = any(s.part.start <= at < s.part.stop and not s.lr_factor for s in parts)
    if is_frozen or be.download(net.parameter_arena[bias]).any():
        return
    targets, weights = rows.targets, rows.weights
    if not isinstance(rows, HostRows):
        targets, weights = be.download(targets), None if weights is None else be.download(weights)
    for j in range(net.members):
        own = weights[j] if weights is not None and weights.ndim == 2 else weights
        logits = net.loss.constant_logits(targets, own)
        if logits is not None:
            net.member(j).assign_parameters({bias: logits.astype(net.dtype)})
