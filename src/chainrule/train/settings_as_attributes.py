"""The settings of a trainer as its attributes: read from the record, changed by another one."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from chainrule.optim.base import Moments, Optimizer
from chainrule.options import suggest
from chainrule.train.checkpoints.writer import Checkpoints
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.monitoring.validation_metrics import Metric
from chainrule.train.settings import TrainingSettings

SETTINGS = frozenset(field.name for field in dataclasses.fields(TrainingSettings))


class SettingsAsAttributes:
    """``trainer.epochs`` is ``trainer.settings.epochs``; ``trainer.epochs = 5`` makes other settings."""

    settings: TrainingSettings
    _is_fitting: bool = False

    optimizer: Optimizer
    batch_size: int
    epochs: int
    shuffle: bool
    drop_last: bool
    seed: int
    early_stopping: EarlyStopping | None
    monitor: str | None
    metrics: bool
    valid_metrics: tuple[Metric, ...]
    progress: bool
    stream: bool | None
    accumulate: int
    ema: float | None
    bias_from_targets: bool
    l2: float
    divergence_factor: float | None
    checkpoints: Checkpoints | None
    moments: Moments | None
    shrink: bool
    threads: int | None

    def _set_all(self, **given: Any) -> None:
        """Check the settings; what was given is kept, as an LBFGS replaces some of it for as long as it is there."""
        self.settings, self._given = TrainingSettings(**given), given

    if not TYPE_CHECKING:  # a type checker is to go by the annotations

        def __getattr__(self, name: str) -> Any:
            if name in SETTINGS and "settings" in vars(self):
                return getattr(self.settings, name)
            raise AttributeError(_no_attribute(name, type(self)), name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *SETTINGS})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SETTINGS:
            self._change(name, value)
            return
        if not (name.startswith("_") or hasattr(type(self), name) or name in _declared(type(self))):
            raise AttributeError(_no_attribute(name, type(self)), name=name, obj=self)
        super().__setattr__(name, value)

    def _change(self, name: str, value: Any) -> None:
        if "settings" not in vars(self):
            raise AttributeError(f"{name} is set before super().__init__(...), which sets it", name=name, obj=self)
        self._set_all(**{**self._given, name: value})
        if self._is_fitting:
            warnings.warn(
                f"{name} is changed for the next fit: the one that runs keeps its settings (record.stop() ends it)",
                stacklevel=3,
            )


def _no_attribute(name: str, kind: type) -> str:
    hint = suggest(name, SETTINGS | _declared(kind))
    return f"a {kind.__name__} has no {name!r}{'; ' if hint else ''}{hint}"


def _declared(kind: type) -> set[str]:
    """The attributes that a class and its bases annotate."""
    return {name for base in kind.__mro__ for name in vars(base).get("__annotations__", ())}
