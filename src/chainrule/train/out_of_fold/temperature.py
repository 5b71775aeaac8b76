"""How sure the probabilities of an ensemble should be, judged by rows that some of its members were not trained on.

Two families of predictions of one parameter, of which that with the lower loss is taken:

    z -> c + f (z - c)   towards the shares c of the classes: f = 0 is the best constant prediction, for nets that have
                         learnt nothing
    z -> f z             a temperature 1 / f, which keeps what a net knows of rare classes: their logits are low already

f above 1, up to 3.2, makes a net surer: label smoothing leaves it too unsure, and a mean of nets that differ is less
sure than each. A prediction other than the constant must pay for itself, and an f above 1 must pay over 1.

Source: Guo et al. 2017 (temperature); Rahaman, Thiery 2021 (ensembles are to be scaled after the mean is known).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.nn.losses.names import Loss
from chainrule.train.out_of_fold.ensemble_loss import deviance_of_ensemble
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.shrinkage.deviance import FACTORS, ShrinkFactors, pays

UP_TO_1 = FACTORS[::2]
SURER = 1.05 ** np.arange(1, 25)  # to 3.2
CHOSEN = 2  # by the rows: the epoch, and f
LEAST_TEMPERED = 0.2  # lower factors make even odds of what the net knows


def choose_temperature(
    loss: Loss, parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int, rows: float
) -> ShrinkFactors:
    """The factors for all outputs, of a loss without label smoothing.

    Parameters
    ----------
    constant : (n_out,) the best constant prediction
    members : k, of the ensemble
    rows : the effective number of rows in ``parts``
    """

    def of(center: np.ndarray, factors: np.ndarray) -> np.ndarray:
        found = np.array([deviance_of_ensemble(loss, parts, center, members, float(f)) for f in factors])
        return np.where(np.isfinite(found), found, np.inf)

    nothing, as_trained = of(constant, np.array([0.0, 1.0]))
    families = [(constant, UP_TO_1[1:-1]), (np.zeros_like(constant), UP_TO_1[UP_TO_1 >= LEAST_TEMPERED][:-1])]
    best, center, f = as_trained, constant, 1.0
    for to, factors in families:
        found = of(to, factors)
        if found.min() < best:
            best, center, f = found.min(), to, float(factors[found.argmin()])
    if f == 1.0:
        surer = of(center, SURER)
        if pays(as_trained - surer.min(), surer.min(), rows):
            best, f = surer.min(), float(SURER[surer.argmin()])
    if nothing <= best < np.inf or not (pays(nothing - best, best, rows, CHOSEN) or nothing == np.inf):
        f, center = 0.0, constant
    return ShrinkFactors(np.full(loss.n_out, f), (1 - f) * (center - constant), f)
