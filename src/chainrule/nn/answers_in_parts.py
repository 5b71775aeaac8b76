"""Predictions of a net some rows at a time, on the host: all rows together may not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Backend
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.answer_pass import AnswerPass
from chainrule.nn.inputs.rows import Features, upload_features
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
    with _predicting(be):
        features = upload_features(be, X, net.n_in, net.dtype, net.preparation.features, net.codes())
    return _parts(net, features, answers)


def _parts(net: Network, features: Features, answers: Sequence[Answer]) -> Iterator[tuple[slice, list[np.ndarray]]]:
    be = net.backend
    with _predicting(be):
        found = AnswerPass(net, features, answers).in_parts(features.x)
    while True:
        with _predicting(be):  # not while the part is used
            if (part := next(found, None)) is None:
                return
            rows, outs = part
            on_host = [be.download(out) for out in outs]
        yield rows, on_host


@contextlib.contextmanager
def _predicting(backend: Backend) -> Iterator[None]:
    with out_of_memory_hint(FEWER_ROWS, doing="predicting"), backend.running():
        yield
