"""The user's own proof: analytic gradients against numeric ones that know nothing of the chain rule.

Two methods, both in double precision:

* complex step:        f'(t) = Im f(t + i h) / h,                  h = 1e-30: no subtraction, so exact to rounding
* central difference:  f'(t) ~ (f(t + h) - f(t - h)) / (2 h),      h = 1e-5 of the direction

f is the loss along a direction in the space of one parameter. A random direction meets every entry at once; where it
disagrees, the set of entries is halved until the wrong one is found. Complex step runs the forward pass of the
reference in complex numbers, so it also catches a forward pass that is wrong on a device.

Source: Squire, Trapp 1998; Martins, Sturdza, Alonso 2003 (complex step); Griewank, Walther 2008, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import GradientError
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state

COMPLEX_STEP = 1e-30
COMPLEX_TOLERANCE = 1e-12
DIFFERENCE_STEP = 1e-5
DIFFERENCE_TOLERANCE = 1e-6
KINK_HALVINGS = 12  # a smooth loss converges long before; what still disagrees sits on a kink of ReLU

Slope = Callable[[np.ndarray], float]


@dataclass
class GradientReport:
    """Largest relative errors, by parameter: {name: error} for each method."""

    complex_step: dict[str, float] = field(default_factory=dict)
    central_difference: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = ["parameter        complex step   central difference"]
        for name, exact in self.complex_step.items():
            lines.append(f"{name:<16} {exact:<14.1e} {self.central_difference[name]:.1e}")
        return "\n".join(lines)


def check_gradients(net: Network, X: Any, y: Any, sample_weight: Any = None, *, seed: int = 0) -> GradientReport:
    """Check every parameter's gradient on these rows; a few rows are enough.

    The net itself stays as it is: a float64 twin on its own backend is checked.

    Returns
    -------
    GradientReport   of relative errors: |analytic - numeric| over sum |gradient * direction|.

    Raises
    ------
    GradientError   naming the parameter, the entry, and both values.
    """
    twin = net.twin(dtype="float64")
    rows = (X, y, sample_weight)
    be = twin.backend
    _, device_gradients = net_gradients(net, twin, rows)
    gradients = {name: be.download(g) for name, g in device_gradients.items()}
    point = {name: be.download(p) for name, p in twin.parameters().items()}
    rng = np.random.default_rng(seed)
    report = GradientReport()
    complex_twin = twin.twin(backend=NumPyBackend(), dtype="complex128")
    for name, gradient in gradients.items():
        # Away from 0, so that a wrong entry cannot hide behind a small factor.
        direction = rng.uniform(0.5, 1.5, gradient.shape) * rng.choice([-1.0, 1.0], gradient.shape)
        exact = _complex_slope(complex_twin, rows, point, name)
        report.complex_step[name] = _compare(name, gradient, direction, exact, COMPLEX_TOLERANCE, "complex step")
        rough = _difference_slope(twin, rows, point, name)
        report.central_difference[name] = _compare(
            name, gradient, direction, rough, DIFFERENCE_TOLERANCE, "central difference"
        )
    return report


def net_gradients(net: Network, twin: Network, rows: tuple[Any, Any, Any]) -> tuple[float, dict[str, Any]]:
    """Gradients of ``twin`` by the class of ``net``, so that a subclass which overrides them is the one checked."""
    return type(net).loss_and_gradients(twin, *rows)


def _compare(
    name: str, gradient: np.ndarray, direction: np.ndarray, slope: Slope, tolerance: float, method: str
) -> float:
    """The relative error along ``direction``; GradientError with the worst entry where it is too large."""
    error = _error(gradient, direction, slope(direction))
    if error <= tolerance:
        return error
    # Some entry is wrong: halve the entries, keeping the half that disagrees more.
    entries = np.arange(gradient.size)
    while len(entries) > 1:
        halves = (entries[: len(entries) // 2], entries[len(entries) // 2 :])
        gaps = []
        for half in halves:
            part = np.where(np.isin(np.arange(gradient.size), half).reshape(gradient.shape), direction, 0.0)
            gaps.append(abs(float((gradient * part).sum()) - slope(part)))
        entries = halves[0] if not gaps[0] < gaps[1] else halves[1]  # a nan gap counts as the larger
    at = np.unravel_index(int(entries[0]), gradient.shape)
    numeric = slope(np.eye(1, gradient.size, int(entries[0])).reshape(gradient.shape))
    entry = ", ".join(str(int(i)) for i in at)
    raise GradientError(
        f"the gradient by {name}[{entry}] is {gradient[at]:.12g}, by {method} it is {numeric:.12g} "
        f"(relative error {error:.1e} along a random direction, at most {tolerance:.0e} was expected)",
        hint="look at the backward pass of this layer: formula, transposes, division by n",
    )


def _error(gradient: np.ndarray, direction: np.ndarray, numeric: float) -> float:
    terms = gradient * direction
    size = float(np.abs(terms).sum())
    gap = abs(float(terms.sum()) - numeric)
    if not np.isfinite(gap):
        return float("inf")
    return gap / size if size > 0 else (0.0 if gap == 0 else float("inf"))


def _complex_slope(twin: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str) -> Slope:
    def slope(direction: np.ndarray) -> float:
        moved = point[name] + 1j * COMPLEX_STEP * direction
        return float(_loss(twin, rows, point, name, moved).imag / COMPLEX_STEP)

    return slope


def _difference_slope(twin: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str) -> Slope:
    def quotient(direction: np.ndarray, h: float) -> float:
        ahead, behind = (_loss(twin, rows, point, name, point[name] + s * h * direction).real for s in (1, -1))
        return float((ahead - behind) / (2 * h))

    def slope(direction: np.ndarray) -> float:
        # A kink of ReLU within +-h shows as a quotient that moves when h is halved: go closer until it stands still.
        h = DIFFERENCE_STEP
        found = quotient(direction, h)
        for _ in range(KINK_HALVINGS):
            closer = quotient(direction, h / 2)
            if abs(closer - found) <= DIFFERENCE_TOLERANCE / 10 * max(abs(closer), abs(found)):
                break
            h, found = h / 2, closer
        return found

    return slope


def _loss(
    twin: Network, rows: tuple[Any, Any, Any], point: dict[str, np.ndarray], name: str, value: np.ndarray
) -> complex:
    """The loss with one parameter moved; the forward pass alone."""
    be = twin.backend
    be.assign(value, out=twin.parameters()[name])
    uploaded = twin.upload_rows(*rows)
    batch = twin.bind(len(uploaded), training=False)
    totals = be.empty((1, 3), twin.totals_dtype)
    with be.running():
        logits = batch.forward(uploaded.x)
        twin.loss(be, logits, uploaded.targets, uploaded.weights, new_state(be), totals=totals, dlogits=batch.dlogits)
    be.assign(point[name], out=twin.parameters()[name])
    ((loss, weight, _),) = be.download(totals)
    return complex(loss / weight if twin.loss.mean and weight else loss)
