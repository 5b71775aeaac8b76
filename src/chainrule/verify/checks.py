"""The proof as a list of checks: ``chainrule verify`` runs them on a device and prints a line for each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.backends.guarded import GuardedBackend
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import ChainruleError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.mlp import MLP
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.optim.adam import Adam
from chainrule.train.trainer import Trainer
from chainrule.verify.explain import random_rows
from chainrule.verify.gradients import COMPLEX_TOLERANCE, DIFFERENCE_TOLERANCE, GradientReport, check_gradients

PRODUCT_SHAPES = ((1, 1, 1), (7, 3, 5), (32, 100, 200), (128, 65, 33), (257, 1, 129), (64, 784, 10))
# The unit roundoff of a factor of a float32 product: half a unit in the last of 24, 11 and 8 bits.
UNIT_ROUNDOFF = {"fp32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-8}
AGREEMENT = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 5e-2}  # of float32 weights after 100 steps, relative to the largest
AGREEMENT_64 = 1e-12  # of float64 weights
SINGLE_TOLERANCE = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 5e-2}  # of a gradient, relative to its largest entry

# Philox4x32-10 of counter 0 and key 0, from the known-answer file of Random123 (Salmon et al. 2011).
PHILOX_ZERO = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)


class Outcome(NamedTuple):
    """One line of the table."""

    name: str
    status: Literal["ok", "FAILED"]
    detail: str


class Measured(NamedTuple):
    """The error that a check measured, and the largest that it allows."""

    error: float
    limit: float


def run_checks(backend: Backend, seed: int = 0) -> Iterator[Outcome]:
    """Every check on ``backend``, one after the other; a failing one does not stop the rest."""
    for name, check in checks_of(backend, seed).items():
        yield _outcome(name, check)


def checks_of(backend: Backend, seed: int = 0) -> dict[str, Callable[[], Measured]]:
    """The checks on ``backend`` by name, in the order in which they are printed."""
    rng = np.random.default_rng(seed)
    other: Backend = GuardedBackend() if isinstance(backend, NumPyBackend) else NumPyBackend()
    versus = f"{backend.device} ({backend.name}) against {other.device} ({other.name})"
    checks: dict[str, Callable[[], Measured]] = {
        "random numbers: Philox known answers": partial(_philox, backend),
        "products: element by element against 8 u |A||B|": partial(_products, backend, rng),
    }
    for loss in LOSSES:
        reports = cache(partial(_gradient_reports, backend, loss))  # has both
        for method in ("complex step", "central difference"):
            checks[f"gradients of {loss} by {method}"] = partial(_gradients, reports, method)
    checks["gradients: float32 against float64"] = partial(_single_against_double, backend)
    for dtype, limit in {"float64": AGREEMENT_64, "float32": AGREEMENT[backend.precision]}.items():
        checks[f"100 steps in {dtype}: {versus}"] = partial(_agreement, backend, other, dtype, limit)
    checks["same command, same bits"] = partial(_same_bits, backend)
    checks["saved and loaded: same predictions"] = partial(_saved_and_loaded, backend)
    return checks


def _outcome(name: str, check: Callable[[], Measured]) -> Outcome:
    try:
        found = check()
    except ChainruleError as error:
        return Outcome(name, "FAILED", error.message)
    passed = found.error <= found.limit  # nan fails
    return Outcome(name, "ok" if passed else "FAILED", f"{found.error:.1e} (at most {found.limit:.0e})")


def _philox(backend: Backend) -> Measured:
    out = backend.empty((4,), np.float64)
    with backend.running():
        backend.uniform((0, 0), (0, 0, 0), low=0.0, high=1.0, out=out)
    expected = [(word >> 8) / 2**24 for word in PHILOX_ZERO]
    return Measured(float(np.abs(backend.download(out) - expected).max()), 0.0)


def _products(backend: Backend, rng: np.random.Generator) -> Measured:
    """The largest error, in units of u |A||B|."""
    worst = 0.0
    for dtype in (np.float32, np.float64):
        for m, k, n in PRODUCT_SHAPES:
            a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
            exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
            u = UNIT_ROUNDOFF[backend.precision] if dtype is np.float32 else np.finfo(dtype).eps / 2
            bound = u * (np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)))
            out = backend.empty((m, n), dtype)
            with backend.running():
                backend.matmul(_factor(backend, a), _factor(backend, b), out=out)
            worst = max(worst, float((np.abs(backend.download(out) - exact) / bound).max()))
    return Measured(worst, 8.0)


def _factor(backend: Backend, values: np.ndarray) -> Array:
    """``values`` on the device as a net's products read them."""
    array, storage = backend.upload(values), backend.storage(values.dtype)
    if storage == values.dtype:
        return array
    factor = backend.empty(values.shape, storage)
    backend.copy(array, out=factor)
    return factor


def _gradient_reports(backend: Backend, loss: str) -> list[GradientReport]:
    """One of a net of each activation."""
    reports = []
    for activation in ACTIVATIONS:
        net = MLP(
            [6, 9, 8, LOSSES[loss].outputs_for(3)],
            activation=activation,
            loss=LOSSES[loss],
            backend=backend,
            dtype="float64",
            seed=1,
        )
        reports.append(check_gradients(net, *_rows(net, 12)))
    return reports


def _gradients(reports: Callable[[], list[GradientReport]], method: str) -> Measured:
    each = [r.complex_step if method == "complex step" else r.central_difference for r in reports()]
    worst = max(error for errors in each for error in errors.values())
    return Measured(worst, COMPLEX_TOLERANCE if method == "complex step" else DIFFERENCE_TOLERANCE)


def _single_against_double(backend: Backend) -> Measured:
    # tanh: rounding a factor to 8 bits moves some units across the kink of a ReLU, which no tolerance covers
    net = MLP([20, 50, 30, 10], activation="tanh", backend=backend, dtype="float32", seed=2)
    X, y = _rows(net, 64)
    _, exact = net.copy(dtype="float64").loss_and_gradients(X, y)
    _, single = net.loss_and_gradients(X, y)
    return Measured(
        max(_distance(backend.download(single[k]), backend.download(exact[k])) for k in exact),
        SINGLE_TOLERANCE[backend.precision],
    )


def _trained(backend: Backend, dtype: str, steps: int = 100) -> dict[str, np.ndarray]:
    """Ten epochs of ten batches, the last of them ragged."""
    net = MLP([20, 32, 16, 5], activation="tanh", backend=backend, dtype=dtype, seed=3)
    Trainer(net, Adam(1e-3, clip_norm=5.0), batch_size=32, epochs=steps // 10).fit(*_rows(net, 10 * 32 - 5))
    return net.parameter_arena.download()


def _agreement(one: Backend, other: Backend, dtype: str, limit: float) -> Measured:
    ours, theirs = _trained(one, dtype), _trained(other, dtype)
    return Measured(max(_distance(ours[name], theirs[name]) for name in ours), limit)


def _same_bits(backend: Backend) -> Measured:
    first, second = _trained(backend, "float32"), _trained(backend, "float32")
    return Measured(float(sum((first[name] != second[name]).sum() for name in first)), 0.0)


def _saved_and_loaded(backend: Backend) -> Measured:
    net = MLP([6, 9, 3], backend=backend, seed=4)
    X, _ = _rows(net, 50)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        net.save(path)
        again = load(path, backend=backend)
    return Measured(float(np.abs(net.predict_proba(X) - again.predict_proba(X)).max()), 0.0)


def _rows(net: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows that are the same for every backend and dtype."""
    X, y = random_rows(net, n, np.random.default_rng(20261122))
    return X.astype(np.float32), y


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), np.finfo(np.float64).tiny))
