"""The options that say which net is trained, and the net that they ask for."""

from __future__ import annotations

import argparse

from chainrule.backends.contract.backend import Backend
from chainrule.cli.options.parser import Listed, OptionGroup
from chainrule.cli.options.training_data import DEFAULT_LOSS, Data
from chainrule.cli.options.types import option, widths, with_options
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layered_net import DTYPES
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.mlp import MLP, NORMALIZATIONS

SCALINGS = {"standard": Standardization.fit, "robust": Standardization.fit_robust}
FEATURE_LIMIT = 3.0  # deviations; rarer values come to rest there


def add_arguments(parser: OptionGroup) -> None:
    add = parser.add_argument
    add("--scaling", choices=SCALINGS, default="standard", help="of features: by mean and deviation, or by quartiles")
    add(
        "--hidden",
        type=widths,
        metavar="N,N",
        help="units of the hidden layers (100; from 1,000 rows 256; from 4,096 rows 256,128)",
    )
    add("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers (relu)")
    add(
        "--dropout",
        type=float,
        metavar="X",
        help="rate behind every hidden layer (from 1,000 rows 0.2; with --hidden 0)",
    )
    add("--normalization", choices=NORMALIZATIONS, help="of what the hidden layers' products give (none)")
    add("--residual", action="store_true", help="a way around hidden layers as wide as the one before")
    add("--loss", choices=LOSSES, help="by default what the target asks for")
    add(
        "--loss-option",
        type=option,
        action=Listed,
        metavar="NAME=VALUE",
        help="of the loss, once for each: levels=0.05,0.5,0.95 of quantile, delta=2 of huber, label_smoothing=0.1",
    )
    add("--dtype", choices=DTYPES, default="float32", help="(float32)")


def net_of(args: argparse.Namespace, data: Data, backend: Backend) -> MLP:
    """The net, prepared for this table: standardised by its training rows, names kept."""
    loss = with_options(LOSSES[args.loss or DEFAULT_LOSS[data.plan.task]], dict(args.loss_option))
    net = MLP(
        [data.X.shape[1], *args.hidden, loss.outputs_for(data.plan.n_out)],
        activation=args.activation,
        dropout=args.dropout,
        normalization=args.normalization,
        residual=args.residual,
        embedding=None if data.encoder is None else data.encoder.embedding(),
        loss=loss,
        backend=backend,
        dtype=args.dtype,
        seed=args.seed,
    )
    target = [data.target_name or "y"] if data.y.ndim == 1 else []
    net.preparation = Preparation(
        features=SCALINGS[args.scaling](data.X, limit=FEATURE_LIMIT, names=data.feature_names),
        targets=Standardization.fit(data.y, names=target) if loss.task == "regress" and loss.standardizes else None,
        feature_names=data.feature_names,
        target_name=data.target_name,
        classes=data.plan.classes,
        encoder=data.encoder,
        target_notation=data.target_notation,
    )
    return net


def describe_net(args: argparse.Namespace, net: MLP) -> str:
    """Widths, what the hidden layers do, parameters and dtype, on one line."""
    words = [args.activation, *([f"{args.normalization} norm"] if args.normalization else [])]
    words += [f"dropout {args.dropout:g}"] if args.dropout else []
    words += ["residual"] if args.residual else []
    sizes = " -> ".join(map(str, net.widths))
    return f"{sizes}, {', '.join(words)}, {net.parameter_count:,} parameters, {net.dtype}"
