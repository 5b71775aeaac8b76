"""The activations beyond the contract: PyTorch's numbers, printed formulas, whole nets, the ends of the range."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import BF16
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.activations import ACTIVATE, DERIVATIVE
from chainrule.backends.reference.normal_tail import FAR, mills_ratio
from chainrule.nn.layers.activations import ACTIVATIONS
from emulation.backend import EmulatedBackend, compiler_problem
from printed_formulas import evaluate

CPU = ("numpy", "compiled", "guarded")
KEEP_Z = [a.name for a in ACTIVATIONS.values() if a.saves == "input"]


def numbers(value: Any) -> Any:
    """Hex floats to an array."""
    if isinstance(value, dict):
        return {key: numbers(v) for key, v in value.items()}
    return np.vectorize(float.fromhex, otypes=[np.float64])(value)


GOLDEN = json.loads((Path(__file__).parent / "torch_activations.json").read_text(encoding="utf-8"))
Z, START = numbers(GOLDEN["z"]), numbers(GOLDEN["start"])


def derivative_of(backend: cr.Backend, activation: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """act(z) and act'(z), with what a layer would keep."""
    y, dz, db = (backend.empty(shape, z.dtype) for shape in (z.shape, z.shape, z.shape[1:]))
    saved = y if ACTIVATIONS[activation].saves == "output" else backend.upload(z)
    backend.activate(activation, backend.upload(z), out=y)
    backend.assign(np.ones_like(z), out=dz)
    backend.activation_backward(activation, saved, dz, dz=dz, db=db)
    return backend.download(y), backend.download(dz)


def test_one_table_names_what_the_kernels_know():
    assert set(ACTIVATIONS) == set(ACTIVATE) == set(DERIVATIVE) == set(GOLDEN["activations"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_torch_has_the_same_function_and_derivative(backend, activation):
    golden = GOLDEN["activations"][activation]
    with backend.running():
        y, derivative = derivative_of(backend, activation, Z[None])
    np.testing.assert_allclose(y[0], numbers(golden["y"]), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(derivative[0], numbers(golden["derivative"]), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_torch_has_the_same_gradients_of_a_net(backend, activation):
    golden = GOLDEN["activations"][activation]
    net = cr.MLP(GOLDEN["widths"], activation=activation, backend=backend, dtype="float64")
    net.assign_parameters(START)
    loss, gradients = net.loss_and_gradients(numbers(GOLDEN["X"]), np.array(GOLDEN["labels"]))
    assert loss == pytest.approx(float.fromhex(golden["loss"]), rel=1e-13)
    for name, want in numbers(golden["gradients"]).items():
        assert np.abs(backend.download(gradients[name]) - want).max() <= 1e-13 * np.abs(want).max(), name


# ---- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_printed_formulas_are_those_of_the_kernels(activation):
    z = np.linspace(-4, 4, 33)[None]
    y, derivative = derivative_of(NumPyBackend(), activation, z)
    entry = ACTIVATIONS[activation]
    np.testing.assert_allclose(evaluate(entry.formula, {"z": z}), y, rtol=1e-8, atol=1e-8)
    names = {"y": y} if entry.saves == "output" else {"z": z}
    found = np.broadcast_to(np.asarray(evaluate(entry.derivative, names), float), z.shape)
    np.testing.assert_allclose(found, derivative, rtol=1e-8, atol=1e-8)


# ---- the ends of the range ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "sigmoid"])
def test_nothing_overflows_even_where_numpy_would_warn(backend, activation, dtype):
    """Outside `running()` a warning is an error here; sigmoid takes exp as it comes."""
    z = np.concatenate([np.linspace(-1e4, 1e4, 101), np.linspace(-50, 50, 101)])[None].astype(dtype)
    for found in derivative_of(backend, activation, z):
        assert np.isfinite(found).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_complex_step_is_the_derivative(activation):
    """The forward formula in complex numbers against the derivative, far out too; not on a kink."""
    z = np.array([[-1e4, -700.0, -41.0, -40.0, -9.0, -1.0, -1e-9, 1e-9, 0.3, 2.0, 7.9, 8.1, 30.0, 41.0, 700.0, 1e4]])
    backend, h = NumPyBackend(), 1e-30
    with backend.running():
        _, derivative = derivative_of(backend, activation, z)
        moved = z + 1j * h
        backend.activate(activation, moved, out=moved)
    np.testing.assert_allclose(moved.imag / h, derivative, rtol=0, atol=2e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_normal_tail_is_that_of_the_c_library(dtype):
    """M(a) = Q(a) exp(a^2 / 2) as long as erfc is not tiny, and by its asymptotic series beyond."""
    a = np.arange(FAR * 128 + 1) / 128  # so that the squares are exact
    given, out, u = a.astype(dtype), np.empty(a.shape, dtype), np.finfo(dtype).eps / 2
    mills_ratio(np, given, out, lambda **_: np.empty_like(given))
    near, far = a[a < 15], a[a >= 15].astype(np.longdouble)
    want = np.array([math.erfc(x / math.sqrt(2)) / 2 * math.exp(x * x / 2) for x in near])
    # erfc itself is of an argument with two roundings, which make up to 2 a^2 of its value.
    assert (np.abs(out[a < 15] - want) <= (6 * u + (2 + 2 * near**2) * 2.0**-53) * want).all()
    q = 1 / far**2
    series = 1 - q * (1 - 3 * q * (1 - 5 * q * (1 - 7 * q * (1 - 9 * q * (1 - 11 * q * (1 - 13 * q))))))
    want = series / far / np.sqrt(2 * np.longdouble(math.pi))
    assert (np.abs(out[a >= 15] - want) <= (6 * u + 1e-12) * want).all()


# ---- whole nets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_saved_net_comes_back(tmp_path, rng, activation):
    net = cr.Network([cr.Dense(6, activation), cr.Dense(5, "gelu"), cr.Dense(3)], 4, seed=5)
    net.save(tmp_path / "m")
    again, X = cr.load(tmp_path / "m", device="cpu"), rng.normal(size=(9, 4))
    assert again.layers == net.layers
    assert again.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


@pytest.mark.parametrize("activation", KEEP_Z)
def test_the_input_is_kept_for_the_backward_pass_alone(backend, activation):
    net = cr.Network([cr.Dense(6, activation), cr.Dense(5, "tanh"), cr.Dense(3)], 4, backend=backend)
    gated, tanh, top = net.bind(8, training=True).layers
    assert gated.z is gated.saved
    assert gated.z is not gated.y
    assert tanh.saved is tanh.y
    assert top.z is top.y
    assert all(layer.z is layer.y for layer in net.bind(8, training=False).layers)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_in_bf16_are_those_of_float64_to_its_digits(rng, activation):
    if problem := compiler_problem():
        pytest.skip(problem)
    X, y = rng.normal(size=(40, 8)), rng.integers(0, 3, 40)
    net = cr.MLP([8, 16, 16, 3], activation=activation, backend=EmulatedBackend(precision="bf16"), seed=2)
    assert all(layer.saved.dtype == BF16 for layer in net.bind(4, training=True).layers[:-1])
    loss, gradients = net.loss_and_gradients(X, y)
    exact_loss, exact = net.copy(backend=NumPyBackend(), dtype="float64").loss_and_gradients(X, y)
    assert loss == pytest.approx(exact_loss, rel=0.02)
    for name, want in exact.items():
        error, size = np.linalg.norm(gradients[name] - want), np.linalg.norm(want)
        assert error <= (0.2 if "relu" in activation else 0.03) * size, name  # rounding pushes units across a kink
