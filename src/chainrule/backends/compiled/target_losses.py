"""Losses whose targets are numbers: loops, with NumPy's own exp and log between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.losses import PAIRWISE, finish_members
from chainrule.backends.compiled.members import lie_together, rows_of_all
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, compile_for
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.numpy.backend import NumPyBackend


def elementwise_loss(self, batch, kind, *, parameter=0.0, scale, mean):
    from chainrule.backends.compiled.calls import call
    from chainrule.backends.compiled.losses import finish, members_of

    loops = LOOPS.target_losses
    for b in members_of(batch):
        losses = self._scratch((len(b.logits),), b.logits.dtype, use="losses")
        row = self._scratch((b.logits.shape[1],), b.logits.dtype, use="square")
        call(loops.squared_differences, b.logits, b.targets, b.dlogits, row, losses)
        finish(b, losses, scale=scale, mean=mean, factor=2.0)


def elementwise_loss_old(
    self: NumPyBackend,
    batch: LossBatch,
    kind: ElementwiseLossName,
    *,
    parameter: float = 0.0,
    scale: float,
    mean: bool,
) -> None:
    loops, logits = LOOPS.target_losses, batch.logits
    has_members = logits.ndim == 3
    if has_members and batch.targets.ndim == 3 and lie_together(logits, batch.targets, batch.dlogits):
        z, t, dz = rows_of_all(logits), rows_of_all(batch.targets), rows_of_all(batch.dlogits)
        flat: LossBatch = batch._replace(logits=z, targets=t, dlogits=dz)  # each row by itself, whosever it is
    elif has_members:
        for member in batch.members():
            elementwise_loss(self, member, kind, parameter=parameter, scale=scale, mean=mean)
        return
    else:
        flat = batch
    logits = flat.logits
    if loops is not None and logits.dtype.char in COMPILED_DTYPES and logits.shape[1] <= PAIRWISE:
        losses = self._scratch((len(logits),), logits.dtype, use="losses")
        row = self._scratch((logits.shape[1],), logits.dtype, use="square")
        try:
            factor = _losses_of_rows(self, loops, flat, kind, parameter, row, losses)
            if has_members:
                of_members = losses.reshape(batch.targets.shape[:2])
                finish_members(batch, of_members, scale=scale, mean=mean, factor=factor)
            else:
                self._finish(batch, losses, scale=scale, mean=mean, factor=factor)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.elementwise_loss(self, batch, kind, parameter=parameter, scale=scale, mean=mean)


def _losses_of_rows(
    self: NumPyBackend, loops: Any, batch: LossBatch, kind: str, parameter: float, row: Array, losses: Array
) -> float:
    """l_i into ``losses`` and dl/dz but for a factor, which is returned, into dlogits; ``row`` is scratch memory."""
    z, t, dz = batch.logits, batch.targets, batch.dlogits
    if kind == "squared_error":
        loops.squared_differences(z, t, dz, row, losses)
        return 2.0
    if kind == "absolute_error":
        loops.absolute_differences(z, t, dz, row, losses)
    elif kind == "huber":
        loops.huber(z, t, z.dtype.type(parameter), dz, row, losses)
    elif kind == "poisson":
        expected = self._scratch(z.shape, z.dtype, use="elements")
        np.exp(z, out=expected)
        loops.poisson(z, t, expected, dz, row, losses)
    elif kind == "gamma":
        inverse = self._scratch(z.shape, z.dtype, use="elements")
        np.negative(z, out=inverse)
        np.exp(inverse, out=inverse)
        loops.gamma(z, t, inverse, dz, row, losses)
    else:
        _sigmoid_cross_entropy(self, loops, batch, row, losses)
    return 1.0


def _sigmoid_cross_entropy(self: NumPyBackend, loops: Any, batch: LossBatch, row: Array, losses: Array) -> None:
    z, t, dz = batch.logits, batch.targets, batch.dlogits
    log1p = self._scratch(z.shape, z.dtype, use="elements")
    compile_for(loops.sigmoid_less_targets, dz, t)
    loops.less_twice_positive_part(z, log1p)
    np.exp(log1p, out=log1p)
    np.log1p(log1p, out=log1p)
    loops.sigmoid_losses(z, t, log1p, row, losses)
    np.negative(z, out=dz)
    np.exp(dz, out=dz)
    loops.sigmoid_less_targets(dz, t)
