"""Signs at the borders of dense layers: who gets memory for them, and that a net with them is the same net."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.borders import signs_at_borders
from chainrule.nn.layers.activation import Activation
from chainrule.nn.layers.dense import Dense
from emulation.backend import EmulatedBackend, compiler_problem
from emulation.simulated_cupy import simulated

N_IN = 6


class Wanting(cr.GuardedBackend):
    """Wants 16 bytes for each row at a border of ReLUs, if there are at least so many rows."""

    fewest = 0

    def signs_per_row(self, rows: int | None, *shape: int, activation: str, dtype: Any) -> int:
        return 16 if activation == "relu" and (rows is None or rows >= self.fewest) else 0


def net_of(*parts: Any, backend: Any, **options: Any) -> cr.Network:
    return cr.Network(parts, N_IN, loss="squared_error", backend=backend, **options)


@pytest.mark.parametrize(
    ("parts", "lower"),
    [
        ((Dense(8, "relu"), Dense(8, "relu"), Dense(1)), {"dense0", "dense1"}),
        ((Dense(8, "tanh"), Dense(8, "relu"), Dense(1)), {"dense1"}),
        ((Dense(8, "relu"), cr.Dropout(0.5), Dense(1)), set()),
        ((Dense(8), Activation("relu"), Dense(1)), set()),
        ((Dense(8), cr.Residual([Dense(8, "relu"), Dense(8)]), Dense(1)), {"dense1"}),
        ((Dense(8, "relu"), cr.Residual([Dense(8, "relu"), Dense(8)]), Dense(1)), {"dense1"}),
    ],
    ids=["two borders", "tanh", "dropout between", "a layer between", "in a block", "not across a block"],
)
def test_a_border_is_where_two_dense_layers_touch(parts, lower):
    """As the chain of layers has it, in which the two calls are one."""
    backend = Wanting()
    net = net_of(*parts, backend=backend)
    assert set(signs_at_borders(net.nodes, backend, net.dtype, 5)) == lower
    batch = net.bind(5, training=True)
    with_memory = {layer.name: layer.signs for layer in batch.chain.walk() if getattr(layer, "signs", None) is not None}
    assert set(with_memory) == lower
    assert all((signs.shape, signs.dtype) == ((5, 16), np.uint8) for signs in with_memory.values())


def test_a_shorter_batch_asks_for_itself():
    backend = Wanting()
    backend.fewest = 4
    batch = net_of(Dense(8, "relu"), Dense(1), backend=backend).bind(5, training=True)
    assert batch.first(4).layers[0].signs.shape == (4, 16)
    assert batch.first(3).layers[0].signs is None


def test_a_prediction_and_a_net_on_the_cpu_have_none():
    net = net_of(Dense(8, "relu"), Dense(1), backend=Wanting())
    assert net.bind(5, training=False).layers[0].signs is None
    assert net_of(Dense(8, "relu"), Dense(1), backend=cr.backend("cpu")).bind(5, training=True).layers[0].signs is None


@pytest.fixture(params=["emulated", "simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str, bool], Any]]:
    """From a precision, and whether ReLUs are part of products, to a backend."""
    if request.param != "cuda" and (problem := compiler_problem()):
        pytest.skip(problem)

    def told(backend: Any, fused: bool) -> Any:
        backend.fuses_relu = lambda border: fused
        backend.sums_in_product = lambda border: fused and border.real == border.stored
        return backend

    if request.param == "cuda":
        yield lambda precision, fused: told(cr.backend("cuda", precision=precision), fused)
    elif request.param == "emulated":
        yield lambda precision, fused: told(EmulatedBackend(precision), fused)
    else:
        with simulated():
            from chainrule.backends.cupy.backend import CuPyBackend

            yield lambda precision, fused: told(CuPyBackend(precision=precision), fused)


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A last batch of 13 rows; a row of zeros, on which every z of the first layer begins at 0, the kink."""
    X = rng.standard_normal((45, N_IN)).astype(np.float32)
    X[7] = 0
    return X, (X @ rng.standard_normal((N_IN, 2))).astype(np.float32)


def trained(backend: Any, rows: Any, **options: Any) -> dict[str, np.ndarray]:
    X, y = rows
    net = cr.MLP([N_IN, 20, 20, 2], loss="squared_error", backend=backend, seed=3, **options)
    cr.Trainer(net, cr.SGD(lr=0.05, momentum=0.9), batch_size=16, epochs=4).fit(X, y)
    return {name: np.array(backend.download(value)) for name, value in net.parameters().items()}


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_net_is_trained_as_without(make, rows, precision):
    fused, apart = (trained(make(precision, chosen), rows) for chosen in (True, False))
    tolerance = 2e-2 if precision == "bf16" else 1e-3 if precision == "tf32" else 1e-5
    for name in apart:
        np.testing.assert_allclose(fused[name], apart[name], atol=tolerance, err_msg=name)


def test_captured_steps_do_what_the_first_one_did(make, rows, monkeypatch):
    captured = trained(make("bf16", True), rows)
    monkeypatch.setenv("CHAINRULE_GRAPHS", "0")
    for name, values in trained(make("bf16", True), rows).items():
        assert values.tobytes() == captured[name].tobytes(), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_member_is_the_net_that_is_trained_alone(make, rows, precision):
    backend = make(precision, True)
    together = trained(backend, rows, members=3)
    for j in range(3):
        for name, values in trained(backend, rows, member=j).items():
            assert values.tobytes() == together[name][j].tobytes(), (name, j)
