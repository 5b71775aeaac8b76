"""The settings of a fit: checked once, then fixed."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Any

from chainrule.errors import OptionError
from chainrule.optim.adam import Adam
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.lbfgs import LBFGS, find_minimize
from chainrule.options import real_number, whole_number
from chainrule.plain_text import show
from chainrule.random import check_seed
from chainrule.train.checkpoints.writer import Checkpoints, as_checkpoints
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.monitoring.validation_metrics import Metric
from chainrule.train.recipe import MOST_STEPS

__all__ = ["TrainingSettings"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a net is to be trained.

    What the fields mean is said at :class:`chainrule.train.trainer.Trainer`, which is given the same options. They
    differ in three things: ``metrics`` only says whether the metric of the loss is recorded, the further ones are
    ``valid_metrics``; ``checkpoints`` are Checkpoints or None; and of an LBFGS ``batch_size`` and ``epochs`` are all
    rows and its iterations, whatever was given.

    Raises
    ------
    OptionError   if an option is of the wrong kind, out of range, or contradicts another one.
    """

    optimizer: Optimizer = field(default_factory=Adam)
    batch_size: int = 128
    epochs: int = 30
    shuffle: bool = True
    drop_last: bool = False
    seed: int = 0
    early_stopping: EarlyStopping | None = None
    monitor: str | None = None
    metrics: bool = True
    valid_metrics: tuple[Metric, ...] = ()
    progress: bool = False
    stream: bool | None = None
    accumulate: int = 1
    ema: float | None = None
    bias_from_targets: bool = True
    l2: float = 0.0
    divergence_factor: float | None = 1e3
    checkpoints: Checkpoints | None = None
    moments: Moments | None = None
    shrink: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        self._check_kinds()
        if isinstance(self.optimizer, LBFGS):
            _refuse_with_lbfgs(self)
            self._set(batch_size=sys.maxsize, epochs=self.optimizer.max_iterations, shuffle=False, drop_last=False)
        self._check_numbers()
        self._set(checkpoints=as_checkpoints(self.checkpoints), shrink=bool(self.shrink))
        self._refuse_contradictions()

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen

    def _check_kinds(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise OptionError(f"optimizer: expected an Optimizer, got {self.optimizer!r}", hint="cr.Adam(lr=1e-3)")
        if not isinstance(self.early_stopping, EarlyStopping | None):
            raise OptionError(
                f"early_stopping: expected an EarlyStopping or None, got {self.early_stopping!r}",
                hint="cr.EarlyStopping(patience=10)",
            )
        if not isinstance(self.stream, bool | None):
            raise OptionError(f"stream: expected True, False or None, got {self.stream!r}")
        if not isinstance(self.bias_from_targets, bool):
            raise OptionError(f"bias_from_targets: expected True or False, got {self.bias_from_targets!r}")
        if not isinstance(self.moments, Moments | None):
            raise OptionError(f"moments: expected Moments() or None, got {self.moments!r:.60}")

    def _check_numbers(self) -> None:
        self._set(
            batch_size=whole_number("batch_size", self.batch_size),
            epochs=whole_number("epochs", self.epochs, below=MOST_STEPS),
            seed=check_seed(self.seed),
            accumulate=whole_number("accumulate", self.accumulate),
            l2=real_number("l2", self.l2),
        )
        if self.threads is not None:
            self._set(threads=whole_number("threads", self.threads))
        if self.ema is not None:
            self._set(ema=real_number("ema", self.ema, above=True, below=1.0))
        if (factor := self.divergence_factor) is not None:
            self._set(divergence_factor=real_number("divergence_factor", factor, low=1.0, above=True))

    def _refuse_contradictions(self) -> None:
        if self.l2 and self.accumulate > 1:
            raise OptionError(
                f"l2: expected 0 with accumulate={self.accumulate}, as the penalty would count once per batch, not "
                f"once per update, got {self.l2}",
                hint="Adam(weight_decay=...), which counts once per update",
            )
        if self.accumulate > 1 and getattr(self.optimizer, "lazy_embedding", False):
            raise OptionError(
                f"lazy_embedding: expected False with accumulate={self.accumulate}, as only the categories of the last "
                "batch are known, got True",
                hint="a larger batch_size, or one of both",
            )
        if self.moments is not None and self.checkpoints is not None:
            raise OptionError(
                "moments: expected None with checkpoints, as a fit continues from the one or the other, got Moments",
                hint="fit(resume=...), or Moments alone",
            )

    def __str__(self) -> str:
        """The settings that differ from their defaults, as one would write them; the optimiser always."""
        fixed = {"batch_size", "epochs", "shuffle", "drop_last"} if isinstance(self.optimizer, LBFGS) else set()
        names = [f.name for f in dataclasses.fields(self) if f.name not in {"optimizer", *fixed}]
        changed = {name: value for name in names if (value := getattr(self, name)) != DEFAULTS[name]}
        if valid_metrics := changed.pop("valid_metrics", None):
            changed["metrics"] = [metric.name for metric in valid_metrics]
        return ", ".join([_short(self.optimizer), *(f"{name}={_short(value)}" for name, value in changed.items())])


DEFAULTS = {f.name: f.default for f in dataclasses.fields(TrainingSettings)}


def _short(value: Any) -> str:
    """A dataclass with those of its fields that differ from their defaults, anything else by its repr."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    parts = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(f'{name}={_short(part)}' for name, part in parts)})"


def _refuse_with_lbfgs(settings: TrainingSettings) -> None:
    """OptionError for settings that contradict an L-BFGS, and if SciPy is not installed."""
    usual = {"stream": (None, False), "accumulate": (1,), "ema": (None,)}
    for name, allowed in usual.items():
        if (value := getattr(settings, name)) not in allowed:
            raise OptionError(
                f"{name}: expected {allowed[0]} with LBFGS, which takes all rows at once and steps by line search, "
                f"got {value}",
                hint=f"leave {name} out, or take another optimizer",
            )
    if settings.checkpoints is not None:
        raise OptionError(
            f"checkpoints: expected None with LBFGS, whose memory is SciPy's, got {show(settings.checkpoints)}",
            hint="leave them out: it is for small data, and a fit begun anew takes the same path",
        )
    find_minimize()
