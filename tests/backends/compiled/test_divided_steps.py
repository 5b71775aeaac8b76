"""Whole steps of nets with every kind of layer, in parts: the same weights, and no part meets another one's memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.capture.division import Phases, divide
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import programs
from chainrule.backends.numpy import blas

N, N_IN, CLASSES = 512, 6, 3


def encoding(n_in: int) -> cr.PiecewiseLinear:
    return cr.PiecewiseLinear.fit(np.random.default_rng(3).normal(size=(400, n_in)), bins=24)


NETS: dict[str, Callable[[], list[cr.Layer]]] = {
    "a table": lambda: [encoding(N_IN), cr.Scale(), cr.Dense(64, "selu"), cr.Dense(CLASSES)],
    "an encoding above a layer": lambda: [
        cr.Dense(16, "tanh"), encoding(16), cr.Scale(), cr.Dense(64, "silu"), cr.Dense(CLASSES),
    ],
    "an encoding beside": lambda: [cr.Concatenate([encoding(N_IN), cr.Dense(32, "softplus")]), cr.Dense(CLASSES)],
    "layer normalisation": lambda: [cr.Scale(), cr.Dense(64), cr.LayerNorm(), cr.Activation("gelu"), cr.Dense(CLASSES)],
    "batch normalisation": lambda: [
        cr.Dense(64), cr.Residual([cr.Dense(64), cr.BatchNorm(), cr.Activation("leaky_relu")]), cr.Dense(CLASSES),
    ],
    "codes": lambda: [cr.Embedding([5], [7], [7]), cr.Dense(64, "sigmoid"), cr.Dense(CLASSES)],
}  # fmt: skip # a table


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Phases]:
    """The phases of each step that is recorded from now on, for two threads; one does both, the last part first."""
    seen: list[Phases] = []

    def program(self: Any, launches: Sequence[Any]) -> programs.Program:
        seen.append(phases := divide(launches, 2, unit=blas.rows_at_a_time()))
        return programs.Program([x for phase in phases.launches for of_thread in phase[::-1] for x in of_thread])

    monkeypatch.setattr(programs.StepRecorder, "program", program)
    return seen


def fit(layers: list[cr.Layer], members: int, dtype: str) -> bytes:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(N, N_IN)), rng.integers(0, CLASSES, N)
    X[:, 5] = rng.integers(0, 7, N)
    options = {"loss": "softmax_cross_entropy", "backend": compiled.loaded(), "dtype": dtype, "members": members}
    net = cr.Network(layers, N_IN, **options)
    cr.Trainer(net, cr.Adam(1e-2), epochs=3, batch_size=256, seed=1).fit(X, y)
    return b"".join(values.tobytes() for _, values in sorted(net.parameters().items()))


def conflicts(phases: Phases) -> list[tuple[Any, Any]]:
    """Launches of one phase and of two threads, one of which touches what the other writes; not parts of one launch."""
    return [
        (one, other)
        for phase in phases.launches
        for a, b in itertools.permutations(phase, 2)
        for one, other in itertools.product(a, b)
        if one.function is not other.function
        and any(max(w[0], r[0]) < min(w[1], r[1]) for w in one.writes for r in other.reads)
    ]


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_steps_in_parts_give_the_same_weights(name, members, dtype, request):
    want = fit(NETS[name](), members, dtype)
    seen = request.getfixturevalue("seen")
    assert fit(NETS[name](), members, dtype) == want
    assert seen, "the step was not recorded"
    for phases in seen:
        assert not conflicts(phases)


class Piece(NamedTuple):
    """A launch that writes the first bytes of memory, whichever of its rows it does, and reads others."""

    wrote: tuple[int, int]
    read: tuple[int, int]
    rows: int = 0
    cost: float = 1.0
    grain: int = 1

    @property
    def writes(self) -> tuple[tuple[int, int], ...]:
        return (self.wrote,)

    @property
    def reads(self) -> tuple[tuple[int, int], ...]:
        return (self.wrote, self.read)

    def part(self, start: int, stop: int) -> Piece:
        return self._replace(rows=stop - start)


def test_what_is_not_cut_is_written_by_one_thread():
    """As the gradients of an encoding's weights, of which each column of x has rows of its own, wherever they lie."""
    gradients, reader = Piece((0, 100), (200, 300), rows=16), Piece((400, 500), (0, 100))
    phases = divide([gradients, reader], 2, unit=4)
    assert phases.launches == [[[gradients, reader], []]]
