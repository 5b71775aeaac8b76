"""What a net answers to rows, in memory that it keeps from one call to the next if there are few."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from chainrule.arena import Arena
from chainrule.backends.contract.backend import Array
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.rows import Features, InputReader, pending_for
from chainrule.nn.layered_net import LayeredNet
from chainrule.nn.passes import Pass
from chainrule.nn.predictions import Answer, answer_of
from chainrule.nn.sizes import matrix_sizes, widest

FEW: Final = 1 << 16  # numbers of rows that are read as they are given
KEPT: Final = 1 << 18  # numbers of the widest activation; a pass with more is not kept
MOST_KEPT: Final = 8  # passes of one net


class AnswerPass:
    """Calls give the answers for the n rows x, in parts that fit the cache.

    Parameters
    ----------
    features : n rows as they are kept on the device
    answers : what is made of the logits; any but the last must leave them as they are, as classes do
    """

    def __init__(self, net: LayeredNet, features: Features, answers: Sequence[Answer]) -> None:
        be, n = net.backend, len(features.x)
        most = max(1, net.evaluation_rows(n))
        self._n, self._rows = n, -(-n // max(1, -(-n // most)))  # parts of one length: the last takes some rows again
        self._backend, self._answers = be, answers
        batch = net.bind(self._rows, training=False)
        self._is_limited = features.pending is not None and math.isfinite(features.pending.limit)
        self._read = read = InputReader(be, features, self._rows, net.dtype)
        # Not of this object's methods: a cycle would keep its memory until it is looked for.
        holders = [layer for layer in batch.chain.walk() if hasattr(layer, "x")]
        operations = 2.0 * net.members * sum(matrix_sizes(net.nodes)) * n
        self._run = be.keep(functools.partial(_write, batch, holders, read, answers), operations=operations)
        self.has_parts = n > self._rows
        self.is_kept = self._rows * widest(net.nodes, net.n_in) * net.members <= KEPT

    def reads_finite(self, x: Array) -> bool:
        """Whether x, which has just been answered in one part, is finite, and what the net has read of it."""
        # What is not finite stays so where it is converted, and may become so; with a limit everything is finite then.
        return bool(np.isfinite(x if self._read.buffer is None or self._is_limited else self._read.buffer).all())

    def __call__(self, x: Array) -> Array:
        """(n, ...): the only answer, to all rows."""
        (answer,) = self._answers
        out = answer.empty(self._backend, self._n)
        if not self.has_parts:  # of few rows even a slice takes its time
            self._run(x, out)
            return out
        for part, _ in self._parts():
            self._run(x[part], out[part])
        return out

    def in_parts(self, x: Array) -> Iterator[tuple[slice, list[Array]]]:
        """(rows, the answers to these) for part after part."""
        for part, again in self._parts():
            outs = [answer.empty(self._backend, self._rows) for answer in self._answers]
            self._run(x[part], *outs)
            yield slice(part.start + again, part.stop), [out[again:] for out in outs]

    def _parts(self) -> Iterator[tuple[slice, int]]:
        """The rows of each part, and how many of its first ones are those of the part before."""
        for start in range(0, self._n, self._rows):
            first = min(start, self._n - self._rows)
            yield slice(first, first + self._rows), start - first


def _write(
    batch: Pass, holders: Sequence[Any], read: InputReader, answers: Sequence[Answer], x: Array, *outs: Array
) -> None:
    logits = batch.forward(read(x))
    for answer, out in zip(answers, outs, strict=True):
        answer.write(logits, out)
    for layer in holders:  # a row may be a view of the caller's table, which a kept pass is not to keep
        layer.x = None


class KeptPasses:
    """The passes of a net that are not at work: each is used by one thread at a time."""

    def __init__(self) -> None:
        self._idle: dict[Any, tuple[Arena, Preparation, AnswerPass]] = {}  # with what it was made for

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptPasses, ()  # a copy of the net has none

    def answer(self, net: LayeredNet, preparation: Preparation, features: Features, kind: str) -> Array:
        """(n, ...): the answer of this kind to all rows."""
        key = kind, len(features.x), features.x.dtype, features.pending is None
        of_rows = self._take(key, net, preparation)
        if of_rows is None:
            of_rows = _pass_for(net, preparation, features, kind)
        out = of_rows(features.x)
        self._put_back(key, net, preparation, of_rows)
        return out

    def answer_few(self, net: LayeredNet, preparation: Preparation, X: np.ndarray, kind: str) -> Array | None:
        """The same of few plain rows on the host, which the pass itself converts and standardises; None if there is
        anything about them that has to be looked into, as numbers that are not finite."""
        key = kind, len(X), X.dtype, "as given"
        of_rows = self._take(key, net, preparation)
        if of_rows is None:
            if net.codes():
                return None
            features = Features(X, pending_for(net.backend, preparation.features))
            of_rows = _pass_for(net, preparation, features, kind)
            if of_rows.has_parts:  # of which only the last would still be there to be looked at
                return None
        out = of_rows(X)
        if not of_rows.reads_finite(X):
            return None
        self._put_back(key, net, preparation, of_rows)
        return out

    def _take(self, key: Any, net: LayeredNet, preparation: Preparation) -> AnswerPass | None:
        """A pass that is at nobody's work, if the net still has what it was made for."""
        found = self._idle.pop(key, None)
        if found is None or found[0] is not net.parameter_arena or found[1] is not preparation:
            return None
        return found[2]

    def _put_back(self, key: Any, net: LayeredNet, preparation: Preparation, of_rows: AnswerPass) -> None:
        if of_rows.is_kept:
            if len(self._idle) >= MOST_KEPT:
                self._idle.clear()
            self._idle[key] = net.parameter_arena, preparation, of_rows


def _pass_for(net: LayeredNet, preparation: Preparation, features: Features, kind: str) -> AnswerPass:
    return AnswerPass(net, features, [answer_of(kind, net.backend, net.loss, net.dtype, preparation.targets)])
