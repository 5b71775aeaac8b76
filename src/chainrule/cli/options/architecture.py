"""The options that say which net is trained, by which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from chainrule.backends.contract.backend import ActivationName
from chainrule.cli.options.parser import Listed, OptionGroup
from chainrule.cli.options.types import option, positive_int, widths
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.mlp import NORMALIZATIONS, NormalizationName
from chainrule.nn.row_format import DTYPES
from chainrule.train.building import Scaling
from chainrule.train.recipe import Preset

NoPreset: TypeAlias = Literal["none"]

SCALINGS: tuple[Scaling, ...] = ("standard", "robust")


@dataclass(frozen=True, kw_only=True)
class NetOptions:
    """As typed; None for what was not given."""

    scaling: Scaling | None
    hidden: list[int] | None
    activation: ActivationName | None
    dropout: float | None
    members: int | None
    preset: Preset | NoPreset | None
    normalization: NormalizationName | None
    residual: bool
    loss: str | None
    loss_option: list[tuple[str, Any]]
    dtype: str

    @property
    def describes_a_net(self) -> bool:
        """Whether the options say what the net is, so that no preset does."""
        given = (self.hidden, self.activation, self.normalization, self.scaling)
        return self.residual or any(option is not None for option in given)


def add_arguments(parser: OptionGroup) -> None:
    add = parser.add_argument
    add(
        "--scaling",
        choices=SCALINGS,
        help="of features: by mean and standard deviation, or by quartiles (robust; with --preset none standard)",
    )
    add(
        "--hidden",
        type=widths,
        metavar="N,N",
        help="units of the hidden layers (96,64; with --preset none 100, from 1,000 rows 256, from 4,096 rows 256,128)",
    )
    add("--activation", choices=ACTIVATIONS, help="of the hidden layers (selu; with --preset none relu)")
    add(
        "--dropout",
        type=float,
        metavar="X",
        help="rate after each hidden layer (0.2 of classes from 100 rows, else 0; with --preset none 0.2 from "
        "1,000 rows, 0 with --hidden)",
    )
    add(
        "--preset",
        choices=[*get_args(Preset), *get_args(NoPreset)],
        help="2, 8 or 24 nets for tables, whose mean predicts, scored by rows that they leave out; or none: one plain "
        "net, scored by held-out rows (default; none if an option describes a net or its updates: --hidden, "
        "--activation, --optimizer, --lr, ...)",
    )
    add(
        "--members",
        type=positive_int,
        metavar="K",
        help="nets trained at once, whose mean is the prediction (the number of the preset; with --preset none 1). One "
        "net of a preset leaves out no row, so it has no score",
    )
    add(
        "--normalization",
        choices=NORMALIZATIONS,
        help="of the outputs of the hidden layers, before the activation (none)",
    )
    add(
        "--residual",
        action="store_true",
        help="a skip connection around each hidden layer that is as wide as the one before",
    )
    add("--loss", choices=LOSSES, help="by default it follows from the target")
    add(
        "--loss-option",
        type=option,
        action=Listed,
        metavar="NAME=VALUE",
        help="of the loss, may be repeated: levels=0.05,0.5,0.95 of quantile, delta=2 of huber, label_smoothing=0.1",
    )
    add("--dtype", choices=DTYPES, default="float32", help="of parameters and computation (float32)")
