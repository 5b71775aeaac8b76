"""The options of ``chainrule train``, by what they are about."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.cli.options import architecture, data, fitting, optimisation, output
from chainrule.cli.options.architecture import NetOptions
from chainrule.cli.options.data import FRACTION, DataOptions
from chainrule.cli.options.fitting import FitOptions
from chainrule.cli.options.optimisation import UpdateOptions, refuse_with_lbfgs
from chainrule.cli.options.output import OutputOptions, PlaceOptions
from chainrule.cli.options.parser import typed
from chainrule.cli.options.types import add_device, add_threads, seed
from chainrule.errors import OptionError
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.train.building import Scaling
from chainrule.train.recipe import Preset


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """As typed."""

    device: str
    precision: str
    threads: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All that decides which net comes out: what a run's config.toml holds."""

    data: DataOptions
    net: NetOptions
    updates: UpdateOptions
    fit: FitOptions
    device: DeviceOptions

    @classmethod
    def of(cls, args: argparse.Namespace) -> TrainingOptions:
        """As the parser found them."""
        return cls(
            data=typed(DataOptions, args),
            net=typed(NetOptions, args),
            updates=typed(UpdateOptions, args),
            fit=typed(FitOptions, args),
            device=typed(DeviceOptions, args),
        )

    def with_defaults(self) -> TrainingOptions:
        """With what depends on the optimiser and on the preset filled in; the rate of a preset depends on the rows.

        OptionError if an option contradicts it.
        """
        preset = self._preset()
        updates = self.updates.with_defaults(has_rate=preset is None)
        if updates.optimizer == "lbfgs" and self.fit.batch_size is not None:
            refuse_with_lbfgs("batch_size")
        if preset is not None:
            self._refuse_with(preset, updates)
        valid, fit = self.data.valid, self.fit
        if valid is None:  # members of a preset leave out rows of their own, unless an option is about held-out rows
            is_about_valid = fit.patience is not None or fit.monitor not in {None, LEFT_OUT} or fit.metrics
            valid = FRACTION if preset is None or is_about_valid else 0.0
        return dataclasses.replace(
            self,
            net=dataclasses.replace(self.net, preset=preset, scaling=self.net.scaling or _scaling_of(preset)),
            updates=updates,
            data=dataclasses.replace(self.data, valid=valid),
        )

    def _refuse_with(self, preset: Preset, updates: UpdateOptions) -> None:
        """What the net of a preset cannot have."""
        net, expected = self.net, "--optimizer adam or adamw"
        if updates.optimizer not in {"adam", "adamw"}:
            got = f"--optimizer {updates.optimizer}"
        elif net.normalization is not None or net.residual:
            got = "--residual" if net.normalization is None else f"--normalization {net.normalization}"
            expected = "no --normalization and no --residual"
        elif net.scaling not in {None, _scaling_of(preset)}:
            expected, got = f"--scaling {_scaling_of(preset)}", f"--scaling {net.scaling}"
        else:
            return
        raise OptionError(
            f"--preset {preset}: expected {expected}, got {got}", hint="--preset none for a net of your own"
        )

    def _preset(self) -> Preset | None:
        """That which was chosen; "default" unless the options describe a net, or updates, of the user's own."""
        preset = self.net.preset
        if preset is None:
            return None if self.net.describes_a_net or self.updates.describes_updates else "default"
        return None if preset == "none" else preset

    @property
    def preset(self) -> Preset | None:
        """Of options :meth:`with_defaults`."""
        assert self.net.preset != "none"
        return self.net.preset

    def values(self) -> dict[str, Any]:
        """Each option by its name."""
        parts = (getattr(self, topic.name) for topic in dataclasses.fields(self))
        return {field.name: getattr(part, field.name) for part in parts for field in dataclasses.fields(part)}


def _scaling_of(preset: Preset | None) -> Scaling:
    return "standard" if preset is None else "robust"


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """All options of ``chainrule train``."""

    training: TrainingOptions
    output: OutputOptions
    place: PlaceOptions

    @classmethod
    def of(cls, args: argparse.Namespace) -> TrainCommand:
        """As the parser found them."""
        return cls(
            training=TrainingOptions.of(args), output=typed(OutputOptions, args), place=typed(PlaceOptions, args)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options_of_a_fit(parser)
    add = parser.add_argument_group(output.TITLE).add_argument
    add("--config", type=Path, metavar="FILE", help="read options from a TOML file, e.g. a run's: RUN/config.toml")
    add(
        "--trust-config",
        action="store_true",
        help="let --config also set run-dir, overwrite, log-json and tensorboard",
    )
    add("--run-dir", type=Path, metavar="DIR", help="by default runs/NAME-DATE-TIME")
    add("--overwrite", action="store_true", help="use --run-dir even if it holds files")
    add("--log-json", type=Path, metavar="FILE", help="settings and each epoch as one JSON object per line")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files for TensorBoard")
    add("--quiet", action="store_true", help="print only errors on stderr")
    add("--json", action="store_true", help="one JSON object on stdout at the end")


def add_options_of_a_fit(parser: argparse.ArgumentParser, *, run: bool = True) -> None:
    """The arguments of :class:`TrainingOptions`; without ``run`` those that need a run directory have no argument."""
    data.add_arguments(parser.add_argument_group("data"), other_table=run)
    architecture.add_arguments(parser.add_argument_group("net and loss"))
    optimisation.add_arguments(parser.add_argument_group("updates"))
    epochs = parser.add_argument_group("epochs")
    fitting.add_arguments(epochs)
    if run:
        fitting.add_run_arguments(epochs)
    else:
        fitting.set_run_defaults(parser)
    device = parser.add_argument_group("device and seed")
    add_device(device)
    add_threads(device)
    device.add_argument("--seed", type=seed, default=0, metavar="N", help="of weights, shuffles and the split (0)")
