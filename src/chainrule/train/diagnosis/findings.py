"""What is wrong with a training run, from measurements of its layers: each finding with a figure and a remedy.

Sources: Glorot, Bengio 2010 (saturation and gradients layer by layer); Karpathy's notes for CS231n, "Ratio of
weights:updates" (1e-3); Lu et al. 2019, "Dying ReLU and initialization".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from chainrule.files.regular_file import FilePath
from chainrule.files.writing import write_atomically
from chainrule.plain_text import count_of
from chainrule.plots.curves import Curve, draw_curves

# Thresholds of findings. Healthy nets stay far from each: some dead units are normal, an update of 1e-3 of the weights
# is usual, and gradient norms of layers differ by a factor of ten or so.
DEAD = 0.3  # of a layer's units
SATURATED = 0.5  # of a layer's units
GRADIENT_RATIO = 1e3  # between a layer and the last one
GROWTH = 100.0  # of the whole gradient's norm, since before the first step
UPDATE_HIGH, UPDATE_LOW = 0.1, 1e-4  # rms of an update / rms of the weights, the usual one of a run
FIRST_UPDATE = 0.5  # the same of the first step: beyond it little is left of how the net was initialised
RISE = 0.1  # of the loss before training: how far above its lowest it may end
JUMP = 0.5  # of the loss before training: how much it may rise in one epoch
PROGRESS = 0.02  # of the loss before training: less is hardly any

Kind = Literal[
    "dead units",
    "saturated units",
    "vanishing gradient",
    "exploding gradient",
    "learning rate too high",
    "learning rate too low",
]


class Finding(NamedTuple):
    """Something that is wrong. ``str`` of it is one line: the layer, the figure, what to do."""

    kind: Kind
    layer: str  # "" for the net as a whole
    figure: float  # what the kind is judged by: a fraction of units, a ratio of norms, ...
    text: str

    def __str__(self) -> str:
        return f"{self.layer or ('learning rate' if self.kind.startswith('learning') else 'net')}: {self.text}"


class Measurement(NamedTuple):
    """A layer at one moment, on the sample of rows; None for what it does not have."""

    epoch: int  # at its end; 0: before the first step
    layer: str
    units: int
    dead: int | None  # relu units that are 0 for every row
    saturated: int | None  # tanh and sigmoid units with less than 5 % of their largest slope for 90 % of the rows
    gradient_norm: float | None  # of all its parameters together
    update_ratio: float | None  # rms(update of W) / rms(W), of the epoch's last step; for epoch 0 of the first


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What ``fit(diagnose=True)`` found: ``Run.diagnosis``. ``str`` of it has one line per finding.

    Attributes
    ----------
    findings : list of Finding (``kind``, ``layer``, ``figure``, ``text``); empty if nothing is wrong
    measurements : list of Measurement, of each layer before training (``epoch`` 0) and at the end of each epoch
    losses : list of float, of the sample of rows, before training and at the end of each epoch
    """

    findings: list[Finding]
    measurements: list[Measurement]
    losses: list[float]

    def __repr__(self) -> str:
        layers = count_of(len({m.layer for m in self.measurements}), "layer")
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in self.findings))
        found = f"{count_of(len(self.findings), 'finding')} ({kinds})" if kinds else "nothing wrong"
        return f"<Diagnosis of {count_of(max(len(self.losses) - 1, 0), 'epoch')}, {layers}: {found}>"

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "nothing wrong found"

    def plot(self, path: FilePath) -> None:
        """Write the gradient norm of each layer over the epochs as an SVG picture; epoch 0 is before training."""
        norms: dict[str, list[float]] = {}
        for m in self.measurements:
            if m.gradient_norm is not None:  # no place for 0 on an axis of powers of ten
                norms.setdefault(m.layer, []).append(m.gradient_norm or math.nan)
        curves = [Curve(layer, values) for layer, values in norms.items()]
        picture = draw_curves([("gradient norm", curves)], title="gradient norm of each layer", first_epoch=0)
        write_atomically(path, picture.encode())


def judge(measurements: Sequence[Measurement], losses: Sequence[float], *, diverged: bool = False) -> list[Finding]:
    """The findings: layers as the last measurement shows them, the learning rate by the whole run."""
    last = [m for m in measurements if m.epoch == measurements[-1].epoch]
    layers = [finding for m in last for finding in _units(m)]
    if not any(m.units and m.dead == m.units for m in last):  # no gradient passes a dead layer: said already
        layers += _gradients(last) + _growth(measurements, last)
    rate = _rate_too_high(measurements, losses, diverged=diverged)
    if not rate and not layers:  # either would explain a loss that does not move
        rate = _rate_too_low(measurements, losses)
    return layers + rate


def _units(m: Measurement) -> list[Finding]:
    found = []
    if m.dead is not None and m.dead >= DEAD * m.units:
        share = m.dead / m.units
        found.append(
            Finding(
                "dead units",
                m.layer,
                share,
                f"{m.dead} of {m.units} units are 0 for every row ({share:.0%}): "
                "lower the learning rate or use leaky_relu",
            )
        )
    if m.saturated is not None and m.saturated >= SATURATED * m.units:
        share = m.saturated / m.units
        found.append(
            Finding(
                "saturated units",
                m.layer,
                share,
                f"{m.saturated} of {m.units} units are near their limit for most rows ({share:.0%}): "
                "standardise X, lower the learning rate or use relu",
            )
        )
    return found


def _gradients(last: Sequence[Measurement]) -> list[Finding]:
    """The layer with the smallest and that with the largest gradient, beside the last layer's."""
    norms = {m.layer: m.gradient_norm for m in last if m.gradient_norm is not None}
    top = next(reversed(norms.values()), 0.0)
    if len(norms) < 2 or not top > 0 or not math.isfinite(top):
        return []
    found: list[Finding] = []
    name, low = min(norms.items(), key=lambda item: item[1])
    if low * GRADIENT_RATIO <= top:
        text = f"its gradient vanishes, {low / top:.1e} of the last layer's: use relu, fewer layers, or a residual net"
        found.append(Finding("vanishing gradient", name, low / top, text))
    name, high = max(norms.items(), key=lambda item: item[1])
    if high >= GRADIENT_RATIO * top:
        text = f"its gradient explodes, {high / top:.1e} times the last layer's: standardise X, set clip_norm"
        found.append(Finding("exploding gradient", name, high / top, text))
    return found


def _growth(measurements: Sequence[Measurement], last: Sequence[Measurement]) -> list[Finding]:
    """The gradient as a whole, since before the first step: while a net learns it falls."""
    before, after = (
        math.hypot(*(m.gradient_norm for m in moment if m.gradient_norm is not None))
        for moment in ([m for m in measurements if m.epoch == 0], last)
    )
    if not before > 0 or after < GROWTH * before:
        return []
    text = f"the gradient explodes, from a norm of {before:.1e} to {after:.1e}: set clip_norm, lower the learning rate"
    return [Finding("exploding gradient", "", after / before, text)]


def _rate_too_high(measurements: Sequence[Measurement], losses: Sequence[float], *, diverged: bool) -> list[Finding]:
    """By the loss, on rows that were trained on: it has to fall. By updates too, which say so sooner."""
    found: list[Finding] = []
    first, rises = losses[0], [after - before for before, after in itertools.pairwise(losses)]
    if diverged or not all(map(math.isfinite, losses)):
        text = "the loss left the finite numbers: divide it by 10, or set clip_norm"
        found.append(Finding("learning rate too high", "", math.inf, text))
    elif losses[-1] - min(losses) > RISE * first:
        text = f"the loss rose from {min(losses):.3g} to {losses[-1]:.3g}: divide it by 3 to 10"
        found.append(Finding("learning rate too high", "", losses[-1] - min(losses), text))
    elif rises and max(rises) > JUMP * first:
        epoch = rises.index(max(rises)) + 1
        text = f"the loss jumped from {losses[epoch - 1]:.3g} to {losses[epoch]:.3g} in epoch {epoch}: divide it by 3"
        found.append(Finding("learning rate too high", "", max(rises), text))
    usual, start = _usual_updates(measurements), {m.layer: m.update_ratio or 0.0 for m in measurements if not m.epoch}
    for which, ratios, limit in (("an", usual, UPDATE_HIGH), ("the first", start, FIRST_UPDATE)):
        layer, ratio = max(ratios.items(), key=lambda item: item[1], default=("", 0.0))
        if ratio > limit:
            text = f"{which} update changes W by {ratio:.1e} of its size (1e-3 is usual): divide lr by 10"
            found.append(Finding("learning rate too high", layer, ratio, text))
            break
    return found


def _rate_too_low(measurements: Sequence[Measurement], losses: Sequence[float]) -> list[Finding]:
    usual, gain = _usual_updates(measurements), losses[0] - min(losses)
    if not usual or max(usual.values()) > UPDATE_LOW or gain > PROGRESS * losses[0]:
        return []
    ratio = max(usual.values())
    text = (
        f"the loss hardly moved, from {losses[0]:.4g} to {losses[-1]:.4g}, and an update changes the weights by "
        f"{ratio:.1e} of their size (1e-3 is usual): multiply it by 10 to 100"
    )
    return [Finding("learning rate too low", "", ratio, text)]


def _usual_updates(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The median over the epochs of each layer's update ratio; that of the first step if no epoch ended."""
    ratios: dict[str, list[float]] = {}
    for only_epochs in (True, False):
        for m in measurements:
            if m.update_ratio is not None and (m.epoch > 0 or not only_epochs):
                ratios.setdefault(m.layer, []).append(m.update_ratio)
        if ratios:
            break
    return {layer: float(np.median(values)) for layer, values in ratios.items()}
