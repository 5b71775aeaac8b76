"""The loss of rows that members of an ensemble are not trained on, as an epoch ends."""

from __future__ import annotations

import math

import numpy as np

from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.out_of_fold.ensemble_loss import deviance_of_ensemble
from chainrule.train.out_of_fold.label_smoothing import unsmoothed_targets, without_smoothing
from chainrule.train.out_of_fold.left_out import LeftOut
from chainrule.train.out_of_fold.predictions import OutOfFoldPart, OutOfFoldRows


class LeftOutLoss:
    """Call it for the loss that the ensemble is expected to have on new rows, with the net's present parameters.

    A row is predicted by the members that did not see it, and the loss of their mean is corrected for how many they are
    (:mod:`~chainrule.train.out_of_fold.ensemble_loss`). Labels are judged as they are, without smoothing.

    Parameters
    ----------
    net : an ensemble
    rows : that it is trained on, before any is withheld
    left_out : who never sees which of them
    """

    def __init__(self, net: Network, rows: Rows | HostRows, left_out: LeftOut) -> None:
        self._predict, self._members = OutOfFoldRows(net, rows, left_out), net.members
        self._loss, self._judge = net.loss, without_smoothing(net.loss)

    def __call__(self) -> float:
        parts = [part._replace(targets=unsmoothed_targets(self._loss, part.targets)) for part in self._predict()]
        weight = sum(_weight(part) for part in parts)
        if not weight:
            return math.nan
        total = sum(self._perfect(part) for part in parts)
        total += deviance_of_ensemble(self._judge, parts, np.zeros(self._loss.n_out), self._members, 1.0)
        return total * self._judge.scale / weight if self._judge.mean else total

    def _perfect(self, part: OutOfFoldPart) -> float:
        return _weight(part) * self._judge.perfect(part.targets, part.weights)


def _weight(part: OutOfFoldPart) -> float:
    return float(len(part.rows) if part.weights is None else part.weights.sum())
