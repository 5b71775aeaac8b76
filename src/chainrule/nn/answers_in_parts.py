"""Predictions of a net some rows at a time, on the host: all rows together may not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.rows import Features, InputReader, upload_features
from chainrule.nn.network import Network
from chainrule.nn.predictions import FEWER_ROWS, Answer


def answers_in_parts(net: Network, X: Any, answers: Sequence[Answer]) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """(rows, the answers for them) for part after part of X, of one forward pass through the net for each part.

    The bits are those of ``net.predict`` and its like, which take the same rows at a time. X is checked here, before
    the first part is asked for.

    Parameters
    ----------
    answers : of :mod:`chainrule.nn.predictions`; any but the last must leave the logits as they are, as classes do

    Raises
    ------
    ShapeError, DataError   as ``net.predict``.
    """
    be = net.backend
    with out_of_memory_hint(FEWER_ROWS, doing="predicting"), be.running():
        features = upload_features(be, X, net.n_in, net.dtype, net.preparation.features, net.codes())
    return _parts(net, features, answers)


def _parts(net: Network, features: Features, answers: Sequence[Answer]) -> Iterator[tuple[slice, list[np.ndarray]]]:
    be, n = net.backend, len(features.x)
    with out_of_memory_hint(FEWER_ROWS, doing="predicting"), be.running():
        batch = net.bind(net.evaluation_rows(n), training=False)
        read = InputReader(be, features, batch.n, net.dtype)
    for rows, part in batch.parts(n):
        with out_of_memory_hint(FEWER_ROWS, doing="predicting"), be.running():
            logits = part.forward(read(features.x[rows]))
            found = [answer.empty(be, part.n) for answer in answers]
            for answer, out in zip(answers, found, strict=True):
                answer.write(logits, out)
            on_host = [be.download(out) for out in found]
        yield rows, on_host
