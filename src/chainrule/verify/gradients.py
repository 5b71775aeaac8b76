"""A proof for any net: analytic gradients against numeric ones, which do not use the chain rule.

Two methods, both in double precision:

* complex step:        f'(t) = Im f(t + i h) / h,                  h = 1e-30: no subtraction, so exact to rounding
* central difference:  f'(t) ~ (f(t + h) - f(t - h)) / (2 h),      h = 1e-5 of the direction

f is the loss along a direction in the space of one parameter. A random direction tests every entry at once; if it
disagrees, the set of entries is halved until the wrong one is found. Complex step runs the forward pass of the
reference in complex numbers, so it also catches a forward pass that is wrong on a device.

Source: Squire, Trapp 1998; Martins, Sturdza, Alonso 2003 (complex step); Griewank, Walther 2008, section 3.1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import GradientError
from chainrule.nn.inputs.rows import InputReader
from chainrule.nn.layers.base import walk
from chainrule.nn.layers.custom_activation import CustomActivation
from chainrule.nn.losses.custom_loss import CustomLoss
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state

TINY, EPSILON = float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).eps)
ROUNDINGS = 8  # how many roundings of the loss a difference may be off by
COMPLEX_STEP = 1e-30
COMPLEX_TOLERANCE = 1e-12
DIFFERENCE_STEP = 1e-5
DIFFERENCE_TOLERANCE = 1e-6
VANISHING = 1e-2  # of the largest gradient: that of a bias which a normalisation cancels is rounding alone
KINK_HALVINGS = 12  # a smooth loss converges long before; otherwise there is a kink of ReLU

Slope = Callable[[np.ndarray], tuple[float, float]]  # along a direction: the least and the greatest within rounding


@dataclass(repr=False)
class GradientReport:
    """Largest relative errors, by parameter: {name: error} for each method.

    ``complex_step`` is empty for a net with custom functions, which may not support complex numbers.
    """

    complex_step: dict[str, float] = field(default_factory=dict)
    central_difference: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """How many parameters were checked, and the largest error of each method."""
        found = {"complex step": self.complex_step, "central difference": self.central_difference}
        largest = [f"{max(errors.values()):.1e} by {method}" for method, errors in found.items() if errors]
        return f"<GradientReport {len(self.central_difference)} parameters, largest error {', '.join(largest) or 0}>"

    def __str__(self) -> str:
        lines = ["parameter        complex step   central difference"]
        for name, rough in self.central_difference.items():
            exact = f"{self.complex_step[name]:.1e}" if name in self.complex_step else "-"
            lines.append(f"{name:<16} {exact:<14} {rough:.1e}")
        return "\n".join(lines)


def check_gradients(net: Network, X: Any, y: Any, sample_weight: Any = None, *, seed: int = 0) -> GradientReport:
    """Check every parameter's gradient on these rows; a few rows are enough.

    The net itself does not change: a float64 copy on its own backend is checked, with its weights, and with biases of
    exactly 0 moved off the kink of ReLU. Of an ensemble the loss is the sum over its members, and every member's
    gradients are checked; ``sample_weight`` may have a row for each member, (members, n).

    Returns
    -------
    GradientReport   of relative errors: |analytic - numeric| / sum(|gradient * direction|), the divisor at least a
        hundredth of the largest sum(|gradient|) of a parameter.

    Raises
    ------
    GradientError   naming the parameter, the entry, the member of an ensemble, and both values.
    """
    copy = net.copy(dtype="float64")
    rows = (X, y, sample_weight)
    be, rng = copy.backend, np.random.default_rng(seed)
    point = _off_the_kinks({name: be.download(p) for name, p in copy.parameters().items()}, rng)
    copy.assign_parameters(point)
    _, device_gradients = copy.loss_and_gradients(*rows)
    gradients = {name: be.download(g) for name, g in device_gradients.items()}
    report = GradientReport()
    loss = _LossNear(copy, rows, point)
    own = isinstance(net.loss, CustomLoss) or any(isinstance(n.layer, CustomActivation) for n in walk(net.nodes))
    complex_loss = None if own else _LossNear(copy.copy(backend=NumPyBackend(), dtype="complex128"), rows, point)
    floor = max((float(np.abs(g).sum()) for g in gradients.values()), default=0.0) * VANISHING
    named = functools.partial(_entry_of, net.members)
    for name, gradient in gradients.items():
        # Away from 0, so that a small factor cannot hide a wrong entry.
        direction = rng.uniform(0.5, 1.5, gradient.shape) * rng.choice([-1.0, 1.0], gradient.shape)
        if complex_loss is not None:
            exact = _complex_slope(complex_loss, name)
            error = _compare(named(name), gradient, direction, exact, COMPLEX_TOLERANCE, "complex step", floor)
            report.complex_step[name] = error
        rough = _difference_slope(loss, name)
        report.central_difference[name] = _compare(
            named(name), gradient, direction, rough, DIFFERENCE_TOLERANCE, "central difference", floor
        )
    return report


def _off_the_kinks(point: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The point, with biases of exactly 0 moved a little.

    With a row of zeros, or if all units below are dead, a bias of 0 is exactly at the kink of ReLU, where the loss has
    no single slope to compare with; and every new net has biases of 0.
    """
    moved = dict(point)
    for name, value in point.items():
        if name.endswith((".b", ".bias")):
            moved[name] = np.where(
                value == 0, rng.uniform(0.01, 0.1, value.shape) * rng.choice([-1, 1], value.shape), value
            )
    return moved


def _entry_of(members: int, name: str) -> Callable[[tuple[int, ...]], str]:
    """What an error calls an entry of this parameter, by its indices."""

    def called(at: tuple[int, ...]) -> str:
        of_member = f" of member {at[0]}" if members > 1 else ""
        return f"{name}[{', '.join(map(str, at[members > 1 :]))}]{of_member}"

    return called


def _compare(
    called: Callable[[tuple[int, ...]], str],
    gradient: np.ndarray,
    direction: np.ndarray,
    slope: Slope,
    tolerance: float,
    method: str,
    floor: float,
) -> float:
    """The relative error along ``direction``; GradientError with the worst entry if it is too large."""
    error = _gap(gradient, direction, slope) / max(float(np.abs(gradient * direction).sum()), floor, TINY)
    if error <= tolerance:
        return error
    # Some entry is wrong: halve the entries, keeping the half that disagrees more.
    entries = np.arange(gradient.size)
    while len(entries) > 1:
        first, second = entries[: len(entries) // 2], entries[len(entries) // 2 :]
        gaps = [_gap(gradient, _only(direction, half), slope) for half in (first, second)]
        entries = second if gaps[0] < gaps[1] else first
    at = tuple(int(i) for i in np.unravel_index(int(entries[0]), gradient.shape))
    numeric = slope(_only(np.ones(gradient.shape), entries))[0]
    raise GradientError(
        f"gradient by {called(at)}: expected {numeric:.12g} by {method}, got {gradient[at]:.12g} "
        f"(relative error {error:.1e} along a random direction, limit {tolerance:.0e})",
        hint="look at the backward pass of this layer: formula, transposes, division by n",
    )


def _gap(gradient: np.ndarray, direction: np.ndarray, slope: Slope) -> float:
    """How far the analytic slope lies outside the range of the numeric one; infinite if either is nan."""
    analytic, (low, high) = float((gradient * direction)[direction != 0].sum()), slope(direction)
    gap = max(low - analytic, analytic - high, 0.0)
    return gap if np.isfinite(analytic + low + high) else float("inf")


def _only(direction: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """``direction`` with all but these flat ``entries`` set to 0."""
    kept = np.zeros(direction.size)
    kept[entries] = direction.ravel()[entries]
    return kept.reshape(direction.shape)


def _complex_slope(loss: _LossNear, name: str) -> Slope:
    def slope(direction: np.ndarray) -> tuple[float, float]:
        exact = float(loss(name, 1j * COMPLEX_STEP * direction).imag / COMPLEX_STEP)
        return exact, exact

    return slope


def _difference_slope(loss: _LossNear, name: str) -> Slope:
    def slope(direction: np.ndarray) -> tuple[float, float]:
        # With a kink within +-h the quotient changes when h is halved: halve it until the quotient no longer changes by
        # more than the rounding of the two losses.
        h, here, found = DIFFERENCE_STEP, loss(name, 0.0 * direction).real, float("nan")
        for _ in range(KINK_HALVINGS):
            ahead, behind = loss(name, h * direction).real, loss(name, -h * direction).real
            closer, undecided = (ahead - behind) / (2 * h), ROUNDINGS * EPSILON * abs(here) / h
            if abs(closer - found) <= DIFFERENCE_TOLERANCE / 10 * max(abs(closer), abs(found)) + undecided:
                break
            h, found = h / 2, closer
        return closer - undecided, closer + undecided

    return slope


class _LossNear:
    """Call it for the loss of some rows with one parameter moved from a point; the forward pass alone.

    The rows are uploaded and the pass is bound once: as in training, the same units drop out each time, and statistics
    are of the same rows.
    """

    def __init__(self, net: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray]) -> None:
        self._net, self._point = net, point
        self._rows = net.upload_rows(*rows)
        self._batch = net.bind(len(self._rows), training=True)
        read = InputReader(net.backend, self._rows.features, len(self._rows), net.dtype)
        with net.backend.running():
            self._x = read(self._rows.x)
        self._totals, self._parameters = net.new_totals(1), net.parameters()

    def __call__(self, name: str, by: np.ndarray) -> complex:
        net, rows, batch = self._net, self._rows, self._batch
        be, parameter, value = net.backend, self._parameters[name], self._point[name]
        be.assign(value + by, out=parameter)
        with be.running():
            logits = batch.forward(self._x)
            net.loss(be, LossBatch(logits, rows.targets, rows.weights, new_state(be), self._totals, batch.dlogits))
        be.assign(value, out=parameter)
        return complex(sum(net.loss.value(of_member) for of_member in be.download(self._totals).reshape((-1, 1, 3))))
