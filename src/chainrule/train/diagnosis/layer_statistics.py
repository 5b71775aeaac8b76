"""Measures layers while a net is trained without changing the training: on a copy, with a fixed sample of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import ModelFileError
from chainrule.nn.inputs.rows import InputReader, Rows
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state
from chainrule.train.checkpoints.checkpoint import number_of
from chainrule.train.diagnosis.findings import Diagnosis, Measurement, judge
from chainrule.train.feeding.batches import take_rows
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.records.run import Run

ROWS = 256  # of the sample, at most
MOST_ROWS = 0.9  # of the sample, as a fraction
# Outside these limits an activation has less than 5 % of its largest slope: tanh' = 1 - y^2 from 1 down,
# sigmoid' = y (1 - y) from 1/4 down.
FLAT = math.sqrt(0.95)
LIMITS = {"tanh": (-FLAT, FLAT), "sigmoid": ((1 - FLAT) / 2, (1 + FLAT) / 2)}


class LayerStatistics:
    """Measures layers before training and after each epoch, and the updates of the first and of each epoch's last step.

    Parameters
    ----------
    net : that is trained; only read
    rows : that it is trained on; at most ``ROWS`` of them, evenly spread, are measured

    Of an ensemble the units of all members are counted, losses are means over them, and norms are of all parameters.

    All is computed on a copy of the net, with memory of its own: gradients, running averages and counters of the net
    stay as they are.
    """

    steps_per_epoch = 1  # set once the batches are known

    def __init__(self, net: Network, rows: Rows | HostRows) -> None:
        be = net.backend
        self._net, self._copy, self._backend = net, net.copy(), be
        self._sample = _sample(net, rows)
        self._before = net.parameter_arena.like()  # as they were before the step whose update is measured
        self._state, self._totals = new_state(be), self._copy.new_totals(1)
        self._pass = self._copy.bind(len(self._sample), training=True, state=self._state, keep_outputs=True)
        self._read = InputReader(be, self._sample.features, len(self._sample), net.dtype)
        self._measurements: list[Measurement] = []
        self._losses: list[float] = []
        self._ratios: dict[str, float | None] = {}

    # ---- when ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Before the first step, also of a fit that resumes."""
        if not self._losses:
            self._measure(0)
        self._keep()

    def steps_to_next(self, step: int) -> int:
        """Steps to the next measurement after step ``step``: after the first, and before and after an epoch's last."""
        left = self.steps_per_epoch - step % self.steps_per_epoch
        return 1 if step == 0 or left == 1 else left - 1

    def step_end(self, step: int) -> None:
        """``step`` steps are done."""
        if step == 1 or step % self.steps_per_epoch == 0:
            self._ratios = {layer: self._update_ratio(names) for layer, names in self._parameters().items()}
        if step == 1:
            self._measurements = [m._replace(update_ratio=self._ratios.get(m.layer)) for m in self._measurements]
        if (step + 1) % self.steps_per_epoch == 0:
            self._keep()

    def epoch_end(self, epoch: int) -> None:
        """Epoch ``epoch``, from 1, is over."""
        self._measure(epoch)

    def end(self, run: Run) -> None:
        """The run is over: its diagnosis is made."""
        findings = judge(self._measurements, self._losses, diverged=run.stopped == "diverged")
        run.diagnosis = Diagnosis(findings, self._measurements, self._losses)

    def state(self) -> dict[str, Any]:
        """What has been measured so far, as JSON can hold it."""
        return {"measurements": [list(m) for m in self._measurements], "losses": self._losses, "ratios": self._ratios}

    def restore(self, state: Mapping[str, Any], *, epochs: int) -> None:
        """Continue from what :meth:`state` was after so many epochs; the net has the parameters that it had then.

        ModelFileError if the state cannot be one of this net.
        """
        try:
            losses = [number_of(loss) for loss in state["losses"]]
            ratios = {layer: _number_or_none(ratio) for layer, ratio in state["ratios"].items()}
            measurements = [_measurement(*m) for m in state["measurements"]]
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"the checkpoint's diagnosis has impossible content: {error!s:.200}") from error
        names = self._names()
        moments = [(epoch, name) for epoch in range(epochs + 1) for name in names]
        parameters = self._parameters()
        if [(m.epoch, m.layer) for m in measurements] != moments or len(losses) != epochs + 1:
            raise ModelFileError("the checkpoint's diagnosis is of other layers or epochs")
        if ratios.keys() not in ({}.keys(), parameters.keys()):
            raise ModelFileError("the checkpoint's diagnosis has update ratios of other layers")
        self._measurements, self._losses, self._ratios = measurements, losses, ratios

    # ---- what ---------------------------------------------------------------------------------------

    def _keep(self) -> None:
        self._backend.copy(self._net.parameter_arena.flat, out=self._before.flat)

    def _measure(self, epoch: int) -> None:
        """The sample through the copy, forward and backward."""
        be, copy, batch, sample = self._backend, self._copy, self._pass, self._sample
        be.copy(self._net.parameter_arena.flat, out=copy.parameter_arena.flat)
        be.fill(0, out=self._state)
        logits = batch.forward(self._read(sample.x))
        layers = self._layers()  # before backward uses memory again
        copy.loss(be, LossBatch(logits, sample.targets, sample.weights, self._state, self._totals, batch.dlogits))
        batch.backward()
        totals = be.download(self._totals).reshape((copy.members, 1, 3))
        self._losses.append(float(np.mean([copy.loss.value(of_member) for of_member in totals])))
        parameters = self._parameters()
        ratios = self._ratios if epoch else {}
        for name in self._names():
            norm = self._gradient_norm(parameters[name]) if name in parameters else None
            units, dead, saturated = layers.get(name, (0, None, None))
            self._measurements.append(Measurement(epoch, name, units, dead, saturated, norm, ratios.get(name)))

    def _layers(self) -> dict[str, tuple[int, int | None, int | None]]:
        return {layer.name: self._units(layer) for layer in self._pass.chain.walk()}

    def _names(self) -> list[str]:
        """Of the layers that are measured: those with outputs, then what else has parameters."""
        layers = [layer.name for layer in self._pass.chain.walk()]
        return [*dict.fromkeys(layers), *(name for name in self._parameters() if name not in layers)]

    def _units(self, layer: Any) -> tuple[int, int | None, int | None]:
        """Units of a layer, and how many are dead and saturated; None if its activation cannot be."""
        activation, y = getattr(layer, "activation", None), getattr(layer, "y", None)
        members = self._copy.members
        if y is None or getattr(y, "ndim", 0) != 2 + (members > 1):
            return 0, None, None
        units = members * int(y.shape[-1])
        if activation == "relu":
            return units, int((self._on_host(y) == 0).all(axis=-2).sum()), None
        if activation in LIMITS:
            low, high = LIMITS[activation]
            values = self._on_host(y)
            return units, None, int((((values < low) | (values > high)).mean(axis=-2) >= MOST_ROWS).sum())
        return units, None, None

    def _on_host(self, y: Array) -> np.ndarray:
        be, dtype = self._backend, self._net.dtype
        if y.dtype != dtype:  # stored at lower precision
            wide = be.empty(y.shape, dtype)
            be.copy(y, out=wide)
            y = wide
        return be.download(y)

    def _parameters(self) -> dict[str, list[str]]:
        """The names of each layer's parameters."""
        found: dict[str, list[str]] = {}
        for name in self._net.parameters():
            found.setdefault(name.rpartition(".")[0], []).append(name)
        return found

    def _gradient_norm(self, names: list[str]) -> float:
        return math.sqrt(sum(_squares(self._backend.download(self._copy.gradient_arena[n])) for n in names))

    def _update_ratio(self, names: list[str]) -> float | None:
        """rms of the last update / rms of the weights before it; of W if there is one."""
        chosen = [name for name in names if name.endswith(".W")] or names
        be, update, weights = self._backend, 0.0, 0.0
        for name in chosen:
            before = be.download(self._before[name])
            update += _squares(be.download(self._net.parameter_arena[name]) - before)
            weights += _squares(before)
        return math.sqrt(update / weights) if weights > 0 else None


def _measurement(
    epoch: Any, layer: Any, units: Any, dead: Any, saturated: Any, gradient_norm: Any, update_ratio: Any
) -> Measurement:
    """From what JSON holds; ValueError or TypeError for anything else."""
    counts = [count for count in (dead, saturated) if count is not None]
    if type(epoch) is not int or type(units) is not int or any(type(count) is not int for count in counts):
        raise TypeError("expected whole numbers of epochs and units")
    if not isinstance(layer, str) or units < bool(counts) or any(not 0 <= count <= units for count in counts):
        raise ValueError(f"expected numbers of units from 0 to {units!r:.40}, got {counts!s:.40}")
    numbers = _number_or_none(gradient_norm), _number_or_none(update_ratio)
    return Measurement(epoch, layer, units, dead, saturated, *numbers)


def _number_or_none(value: Any) -> float | None:
    if value is None:
        return None
    number = number_of(value)
    if number < 0:
        raise ValueError(f"expected a number from 0 up, got {number}")
    return number


def _squares(values: np.ndarray) -> float:
    """sum v^2, in float64 without a copy of that width."""
    flat = values.reshape(-1)
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64))


def _sample(net: Network, rows: Rows | HostRows) -> Rows:
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(np.int64))
    if isinstance(rows, HostRows):
        return rows.sample(numbers)
    order = net.backend.empty((len(numbers),), np.int64)
    net.backend.assign(numbers, out=order)
    return take_rows(net.backend, rows, order)
