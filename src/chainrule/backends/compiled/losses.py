"""Losses of the compiled body: the loops of :mod:`loops`, with NumPy's own exp and log between them."""

from __future__ import annotations

import abc
from types import ModuleType

import numpy as np

from chainrule.backends.compiled.loading import LOOPS, compile_for, or_numpy
from chainrule.backends.compiled.normalization import COMPILED
from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import ElementwiseLossName, LossBatch
from chainrule.backends.numpy.backend import NumPyBackend


class CompiledLosses(NumPyBackend):
    """What differs from the reference; the losses that are not here are left to it."""

    @property
    @abc.abstractmethod
    def _loss_loops(self) -> ModuleType | None:
        """The loops; None while they are not loaded."""

    def softmax_cross_entropy(
        self, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
    ) -> None:
        loops, logits, labels, dlogits = self._loss_loops, batch.logits, batch.targets, batch.dlogits
        if loops is None or label_smoothing or logits.dtype.char not in COMPILED or logits.shape[1] > loops.PAIRWISE:
            super().softmax_cross_entropy(batch, label_smoothing=label_smoothing, scale=scale, mean=mean)
            return
        chosen = self._scratch(labels.shape, logits.dtype, use="chosen")
        losses = self._scratch(labels.shape, logits.dtype, use="losses")
        try:
            if logits.dtype.char not in LOOPS.softmax_ready:  # dlogits may lie in the memory of the logits
                compile_for(loops.choose, dlogits, labels, chosen)
                compile_for(loops.normalize_less_onehot, dlogits, labels, losses)
                LOOPS.softmax_ready.add(logits.dtype.char)
            loops.subtract_row_max(logits, dlogits)
            loops.choose(dlogits, labels, chosen)
            np.exp(dlogits, out=dlogits)
            loops.normalize_less_onehot(dlogits, labels, losses)
        except Exception as error:
            LOOPS.withdraw(error)
            self.softmax_cross_entropy(batch, label_smoothing=label_smoothing, scale=scale, mean=mean)
            return
        np.log(losses, out=losses)
        np.subtract(losses, chosen, out=losses)
        self._finish(batch, losses, scale=scale, mean=mean)

    @or_numpy
    def elementwise_loss(
        self, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
    ) -> None:
        loops, logits, targets, dlogits = self._loss_loops, batch.logits, batch.targets, batch.dlogits
        if loops is None or logits.dtype.char not in COMPILED or logits.shape[1] > loops.PAIRWISE:
            super().elementwise_loss(batch, kind, parameter=parameter, scale=scale, mean=mean)
            return
        losses = self._scratch((len(logits),), logits.dtype, use="losses")
        row = self._scratch((logits.shape[1],), logits.dtype, use="square")
        factor = 1.0
        if kind == "squared_error":
            loops.squared_differences(logits, targets, dlogits, row, losses)
            factor = 2.0
        elif kind == "sigmoid_cross_entropy":
            log1p = self._scratch(logits.shape, logits.dtype, use="elements")
            compile_for(loops.sigmoid_less_targets, dlogits, targets)
            loops.less_twice_positive_part(logits, log1p)
            np.exp(log1p, out=log1p)
            np.log1p(log1p, out=log1p)
            loops.sigmoid_losses(logits, targets, log1p, row, losses)
            np.negative(logits, out=dlogits)
            np.exp(dlogits, out=dlogits)
            loops.sigmoid_less_targets(dlogits, targets)
        elif kind == "absolute_error":
            loops.absolute_differences(logits, targets, dlogits, row, losses)
        elif kind == "huber":
            loops.huber(logits, targets, logits.dtype.type(parameter), dlogits, row, losses)
        elif kind == "poisson":
            expected = self._scratch(logits.shape, logits.dtype, use="elements")
            np.exp(logits, out=expected)
            loops.poisson(logits, targets, expected, dlogits, row, losses)
        else:
            inverse = self._scratch(logits.shape, logits.dtype, use="elements")
            np.negative(logits, out=inverse)
            np.exp(inverse, out=inverse)
            loops.gamma(logits, targets, inverse, dlogits, row, losses)
        self._finish(batch, losses, scale=scale, mean=mean, factor=factor)

    @or_numpy
    def softmax(self, logits: Array, *, out: Array) -> None:
        loops = self._loss_loops
        if loops is None or logits.dtype.char not in COMPILED or logits.shape[1] > loops.PAIRWISE:
            super().softmax(logits, out=out)
            return
        compile_for(loops.divide_by_sum, out)
        loops.subtract_row_max(logits, out)
        np.exp(out, out=out)
        loops.divide_by_sum(out)
