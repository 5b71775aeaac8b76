"""The net of an estimator before its first fit."""

from __future__ import annotations

from chainrule.backends import Backend
from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.parameters import Parameters, activation_names
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.losses.names import Loss
from chainrule.nn.network import Network
from chainrule.train.building import Architecture, TrainingRows, build_net
from chainrule.train.recipe import Settings


def new_net(
    parameters: Parameters,
    rows: FitRows,
    settings: Settings,
    seed: int,
    *,
    loss: Loss,
    n_out: int,
    device: Backend,
    dtype: str,
    encoder: TableEncoder | None,
    classes: tuple[str, ...] = (),
    target_name: str = "",
) -> Network:
    """A net with weights drawn by ``seed``, prepared for these training rows.

    Parameters
    ----------
    loss, n_out : the loss, and the outputs of the net
    classes : names of the classes 0, 1, ..., for the model file
    """
    architecture = Architecture(
        activation=activation_names(parameters.activation),
        normalization=parameters.normalization,
        loss=loss,
        n_out=n_out,
        scaling="standard" if parameters.standardize else None,
        backend=device,
        dtype=dtype,
        seed=seed,
    )
    training = TrainingRows(
        X=rows.X,
        y=rows.y,
        weights=rows.weights,
        target_name=target_name,
        classes=classes,
        encoder=encoder,
    )
    return build_net(architecture, settings, training)
