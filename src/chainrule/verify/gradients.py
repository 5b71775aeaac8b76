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
    complex_copy = copy.copy(backend=NumPyBackend(), dtype="complex128")
    floor = max((float(np.abs(g).sum()) for g in gradients.values()), default=0.0) * VANISHING
    own = isinstance(net.loss, CustomLoss) or any(isinstance(n.layer, CustomActivation) for n in walk(net.nodes))
    named = functools.partial(_entry_of, net.members)
    for name, gradient in gradients.items():
        # Away from 0, so that a small factor cannot hide a wrong entry.
        direction = rng.uniform(0.5, 1.5, gradient.shape) * rng.choice([-1.0, 1.0], gradient.shape)
        if not own:
            exact = _complex_slope(complex_copy, rows, point, name)
            error = _compare(named(name), gradient, direction, exact, COMPLEX_TOLERANCE, "complex step", floor)
            report.complex_step[name] = error
        rough = _difference_slope(copy, rows, point, name)
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


def _complex_slope(copy: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str) -> Slope:
    def slope(direction: np.ndarray) -> tuple[float, float]:
        moved = point[name] + 1j * COMPLEX_STEP * direction
        exact = float(_loss(copy, rows, point, name, moved).imag / COMPLEX_STEP)
        return exact, exact

    return slope


def _difference_slope(copy: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str) -> Slope:
    def loss(direction: np.ndarray, t: float) -> float:
        return float(_loss(copy, rows, point, name, point[name] + t * direction).real)

    def slope(direction: np.ndarray) -> tuple[float, float]:
        # With a kink within +-h the quotient changes when h is halved: halve it until the quotient no longer changes by
        # more than the rounding of the two losses.
        h, here, found = DIFFERENCE_STEP, loss(direction, 0.0), float("nan")
        for _ in range(KINK_HALVINGS):
            ahead, behind = loss(direction, h), loss(direction, -h)
            closer, undecided = (ahead - behind) / (2 * h), ROUNDINGS * EPSILON * abs(here) / h
            if abs(closer - found) <= DIFFERENCE_TOLERANCE / 10 * max(abs(closer), abs(found)) + undecided:
                break
            h, found = h / 2, closer
        return closer - undecided, closer + undecided

    return slope


def _loss(
    copy: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str, value: np.ndarray
) -> complex:
    """The loss with one parameter moved; the forward pass alone."""
    be = copy.backend
    be.assign(value, out=copy.parameters()[name])
    uploaded = copy.upload_rows(*rows)
    batch = copy.bind(len(uploaded), training=True)  # as in training: the same rows dropped, the same statistics
    totals = copy.new_totals(1)
    with be.running():
        logits = batch.forward(uploaded.x)
        copy.loss(be, LossBatch(logits, uploaded.targets, uploaded.weights, new_state(be), totals, batch.dlogits))
    be.assign(point[name], out=copy.parameters()[name])
    return complex(sum(copy.loss.value(of_member) for of_member in be.download(totals).reshape((-1, 1, 3))))
