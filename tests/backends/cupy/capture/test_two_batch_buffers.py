"""Two batch buffers in turn: the next batch is fetched beside the step that uses this one, and no bit is another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.test_recorded_steps import CASES, trained

import chainrule as cr
from chainrule.backends.capture.dependencies import as_early_as_possible, dependencies
from chainrule.backends.cupy.capture import launcher
from chainrule.backends.cupy.capture.launcher import UNROLLED
from chainrule.train import steps as steps_module
from chainrule.train.feeding import batch_plan
from chainrule.train.feeding.batch_plan import SECOND_BUFFER_FROM, SECOND_BUFFER_SHARE, batch_buffers
from chainrule.train.feeding.batches import Batches
from emulation.backend import EmulatedBackend
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import simulated
from emulation.streams import Graph
from stopping import StopAfter

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")

NEVER = 1 << 60


@pytest.fixture(autouse=True)
def as_many_steps_at_a_time_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "SECONDS_PER_SYNC", 1e9)


@pytest.fixture
def device() -> Iterator[Any]:
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield CuPyBackend()


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many buffers the batches of each fit have."""
    found: list[int] = []
    original = Batches.__init__

    def noted(self: Batches, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        found.append(self.buffers)

    monkeypatch.setattr(Batches, "__init__", noted)
    return found


def fits_with_one_and_two(monkeypatch: pytest.MonkeyPatch, fit: Any) -> list[Any]:
    found = []
    for from_bytes in (NEVER, 0):
        monkeypatch.setattr(batch_plan, "SECOND_BUFFER_FROM", from_bytes)
        found.append(fit())
    return found


CHOSEN = [
    "adam", "accumulate", "accumulate, clip_norm, ema", "drop_last", "in order", "one batch", "dropout", "streamed",
    "pixels, standardised in each batch", "members, all at once", "members, accumulate", "class weights", "left_out",
    "members, standardised in each batch", "batch_norm", "embedding", "loss softmax_cross_entropy, weights", "l2",
]  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_no_bit_depends_on_how_many_buffers_there_are(device, monkeypatch, buffers, name):
    """Of weights and history; an odd number of steps is unrolled, so that graphs end with either buffer."""
    monkeypatch.setattr(launcher, "UNROLLED", 3)
    one, two = fits_with_one_and_two(monkeypatch, lambda: trained(device, CASES[name]))
    assert two == one
    assert set(buffers) == {1, 2}, "those of a fit have two; rows that members left out are predicted with one"


@pytest.mark.parametrize("accumulate", [1, 5])
def test_launches_of_both_buffers_in_any_order_that_their_memory_allows(monkeypatch, buffers, accumulate):
    def fit() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(3)
        X, y = rng.integers(0, 255, (8 * 40 + 3, 6)).astype(np.uint8), rng.integers(0, 3, 8 * 40 + 3)
        net = cr.MLP([6, 9, 3], backend=EmulatedBackend(), seed=1)
        net.preparation = cr.Preparation(features=cr.Standardization.fit(X))
        cr.Trainer(net, cr.Adam(1e-2), batch_size=8, epochs=2, accumulate=accumulate).fit(X, y)
        return net.parameter_arena.download()

    one, two = fits_with_one_and_two(monkeypatch, fit)
    np.testing.assert_equal(two, one)
    assert buffers == [1, 2]


@pytest.mark.parametrize("at", [7, 12])
def test_a_fit_that_stopped_at_either_buffer_resumes_to_the_same_bits(device, monkeypatch, tmp_path, at):
    monkeypatch.setattr(batch_plan, "SECOND_BUFFER_FROM", 0)
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(8 * 9 + 3, 6)).astype(np.float32), rng.integers(0, 3, 8 * 9 + 3)

    def fit(net: cr.Network, folder: Path | None = None, stops: Any = (), **options: Any) -> dict[str, np.ndarray]:
        trainer = cr.Trainer(net, cr.Adam(1e-2), batch_size=8, epochs=2, callbacks=stops, checkpoints=folder)
        trainer.fit(X, y, **options)
        return net.parameter_arena.download()

    def new_net() -> cr.Network:
        return cr.MLP([6, 9, 3], backend=device, seed=1)

    whole = fit(new_net())
    fit(new_net(), tmp_path, [StopAfter(at)])
    np.testing.assert_equal(fit(new_net(), resume=tmp_path), whole)


# ---- what runs side by side ----------------------------------------------------------------------


def graph_of(device: Any, monkeypatch: pytest.MonkeyPatch, widths: list[int], kind: str, from_bytes: int) -> Graph:
    """16 steps of such a net; columns of whole numbers are standardised batch by batch."""
    monkeypatch.setattr(batch_plan, "SECOND_BUFFER_FROM", from_bytes)
    launched: list[Graph] = []
    with monkeypatch.context() as patch:
        launch = Graph.launch
        patch.setattr(Graph, "launch", lambda self, stream: (launched.append(self), launch(self, stream)))
        rng = np.random.default_rng(3)
        n = 16 * (UNROLLED + 3)
        X, y = rng.integers(0, 255, (n, widths[0])).astype(kind), rng.integers(0, widths[-1], n)
        net = cr.MLP(widths, backend=device, seed=1)
        if kind == "uint8":
            net.preparation = cr.Preparation(features=cr.Standardization.fit(X))
        cr.Trainer(net, cr.Adam(1e-3), batch_size=16, epochs=1).fit(X, y)
    return max(launched, key=len)


# The shapes of the two cases of the benchmark, narrower: a net of three layers, and one of five on large batches.
A, C = [32, 24, 24, 10], [16, 16, 16, 16, 16, 10]


@pytest.mark.parametrize(("widths", "kind", "chain"), [(A, "float32", 10), (C, "float32", 16), (C, "uint8", 16)])
def test_a_batch_that_takes_three_launches_time_is_fetched_beside_the_step(device, monkeypatch, widths, kind, chain):
    """What the first layer reads waits, in one buffer, for dW of that layer, and is fetched or standardised beside the
    optimiser alone, which is one launch. So each step takes two more; with two buffers only the first does.
    """
    one, two = (graph_of(device, monkeypatch, widths, kind, from_bytes) for from_bytes in (NEVER, 0))
    assert len(two) == len(one), "as many launches"
    assert {one.longest_chain, two.longest_chain} <= {chain * UNROLLED + ends for ends in (1, 2, 3)}
    take = {"gather": 3, "standardize": 3}
    assert one.longest_chain_if(take) >= (chain + 2) * UNROLLED
    assert two.longest_chain_if(take) <= chain * UNROLLED + 8


def test_earlier_launches_come_first_and_none_passes_what_it_waits_for(device):
    """The order of a step with two buffers is one that the memory of its launches allows."""
    state, other = (device.empty((3,), np.int64) for _ in "01")
    with device.running():
        launches = device.record(lambda: [device.tick(s) for s in (state, state, state, other)])
    ordered = as_early_as_possible(launches)
    assert [launch.key for launch in ordered] == [launches[n].key for n in (0, 3, 1, 2)]
    assert [len(waits) for waits in dependencies(ordered)] == [0, 0, 1, 1]


# ---- when there are two --------------------------------------------------------------------------


def test_small_batches_and_other_devices_have_one_buffer(device):
    free = int(SECOND_BUFFER_FROM / SECOND_BUFFER_SHARE)
    assert batch_buffers(device, SECOND_BUFFER_FROM, free) == batch_buffers(device, SECOND_BUFFER_FROM, None) == 2
    assert batch_buffers(device, SECOND_BUFFER_FROM - 1, free) == 1
    assert batch_buffers(device, SECOND_BUFFER_FROM, free - 32) == 1, "it would take too much of the memory"
    for other in (cr.backend("cpu"), cr.GuardedBackend()):
        assert batch_buffers(other, 1 << 30, None) == 1


def test_without_graphs_there_is_one_buffer(device, monkeypatch):
    monkeypatch.setenv("CHAINRULE_GRAPHS", "0")
    assert batch_buffers(device, SECOND_BUFFER_FROM, None) == 1
