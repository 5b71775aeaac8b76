"""The update of a large arena: a launch per layer, beside the backward pass, that also writes what products read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.capture.dependencies import dependencies
from chainrule.backends.cupy.capture.launcher import UNROLLED
from chainrule.backends.cupy.capture.launches import Launch
from chainrule.backends.cupy.capture.stream_assignment import assign_streams, critical_first
from chainrule.backends.cupy.capture.streams import MAX_STREAMS
from chainrule.nn.network import Network
from chainrule.optim import base
from emulation.backend import EmulatedBackend
from emulation.compiled import compiler_problem, narrow
from emulation.simulated_cupy import simulated
from emulation.streams import Graph

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")

# 4096 inputs, four hidden layers of 4096, 16 outputs, at a 128th of its size: what is large stays large.
WIDTHS = (32, 32, 32, 32, 32, 16)
LARGE = 32 * 32
UPDATES = ("adam", "sgd")
OPTIMIZERS = {
    "sgd": cr.SGD(0.1),
    "nesterov": cr.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": cr.Adam(1e-2),
    "adamw": cr.AdamW(1e-2),
}


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arenas and layers of a test's net are as large as those that are updated by several launches."""
    monkeypatch.setattr(base, "LARGE_ARENA", LARGE)
    monkeypatch.setattr(base, "OWN_LAUNCH", LARGE)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[Launch]]]:
    """The launches of every step that is recorded on the simulated device."""
    recorded: list[list[Launch]] = []
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        program = CuPyBackend.program

        def noted(self: Any, launches: Sequence[Launch]) -> Any:
            recorded.append([*launches])
            return program(self, launches)

        monkeypatch.setattr(CuPyBackend, "program", noted)
        yield recorded


def train(
    backend: Any, *, widths: tuple[int, ...] = WIDTHS, members: int = 1, dtype: str = "float32", **options: Any
) -> tuple[dict[str, np.ndarray], Network]:
    """Parameters and moments by name, and the trained net."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(160, widths[0])), rng.integers(0, widths[-1], 160)
    net = cr.MLP(widths, backend=backend, seed=1, members=members, dtype=dtype)
    moments = cr.Moments()
    options = {"optimizer": cr.AdamW(1e-2), "batch_size": 8, "epochs": 2, "moments": moments} | options
    cr.Trainer(net, **options).fit(X, y)
    kept = {f"{name} {key}": a for name, arena in moments.arenas.items() for key, a in arena.download().items()}
    return net.parameter_arena.download() | kept, net


def train_on_simulated(precision: str, **options: Any) -> tuple[dict[str, np.ndarray], Network]:
    from chainrule.backends.cupy.backend import CuPyBackend

    return train(CuPyBackend(precision=precision), **options)


def names(step: Sequence[Launch]) -> list[str]:
    return [launch.key[0] for launch in step]


def updates(step: Sequence[Launch]) -> list[int]:
    """How many numbers each update of a step is of."""
    return [sum(stop - start for start, stop in launch.writes[:1]) // 4 for launch in step if launch.key[0] in UPDATES]


def duration(launch: Launch) -> int:
    """Units of time, roughly as of 4096 columns: of a product 6, of the update of a large layer 2, else 1."""
    if launch.key[0] == "product":
        return 6
    return 2 * updates([launch])[0] // LARGE if launch.key[0] in UPDATES else 1


def longest_chain(launches: Sequence[Launch], waits: Sequence[Sequence[int]]) -> int:
    """Units from the start to the end, if all that need not wait begins at once."""
    ends: list[int] = []
    for launch, others in zip(launches, waits, strict=True):
        ends.append(duration(launch) + max((ends[other] for other in others), default=0))
    return max(ends)


def in_streams(launches: Sequence[Launch]) -> list[list[int]]:
    """What each launch waits for, the one before it in its stream too."""
    last: dict[int, int] = {}
    found = []
    for number, (stream, waits) in enumerate(assign_streams(launches, MAX_STREAMS)):
        found.append([*waits, *([last[stream]] if stream in last else [])])
        last[stream] = number
    return found


@pytest.mark.parametrize("hidden", [4, 7])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_large_layer_is_updated_beside_the_backward_pass(steps, monkeypatch, precision, hidden):
    """A launch more for each layer; on a graph's longest chain is one layer's update in the place of the arena's."""
    widths = (*[32] * (hidden + 1), 16)
    W, small, biases = 32 * 32, 32 * 16, hidden * 32 + 16
    train_on_simulated(precision, widths=widths)
    assert updates(steps[-1]) == [hidden * W + small, biases]
    monkeypatch.setattr(base, "LARGE_ARENA", LARGE)
    monkeypatch.setattr(base, "OWN_LAUNCH", LARGE)
    train_on_simulated(precision, widths=widths)
    assert updates(steps[-1]) == [W] * hidden + [small, biases]
    whole, by_layer = (critical_first([*step] * UNROLLED) for step in (steps[0], steps[-1]))
    assert len(by_layer) - len(whole) == UNROLLED * hidden
    before, after = (longest_chain(graph, dependencies(graph)) for graph in (whole, by_layer))
    assert before - after == UNROLLED * (2 * hidden + 1 - 2)
    # Four streams are enough for that, if what is critical comes first.
    assert longest_chain(by_layer, in_streams(by_layer)) == after


def test_launches_of_a_step_and_chain_of_a_graph(steps, monkeypatch):
    """In bf16, as docs/gpu.md has them: by one update and a pass that rounds the weights, and by layers without it."""
    launched: list[Graph] = []
    launch = Graph.launch
    monkeypatch.setattr(Graph, "launch", lambda self, stream: launched.append(self) or launch(self, stream))

    def counted() -> tuple[int, int]:
        launched.clear()
        train_on_simulated("bf16")
        return len(steps[-1]), max(graph.longest_chain for graph in launched)

    with monkeypatch.context() as patch:
        bind = Network.bind
        always = {"renews_factors": True}
        patch.setattr(Network, "bind", lambda self, n, **options: bind(self, n, **options | always))
        assert counted() == (26, 273)
    monkeypatch.setattr(base, "LARGE_ARENA", LARGE)
    monkeypatch.setattr(base, "OWN_LAUNCH", LARGE)
    assert counted() == (29, 258)


def test_no_pass_of_its_own_rounds_the_weights(steps):
    """In bf16 a step has the launches that it has in float32; before its first, and after whatever may change weights,
    one copy."""
    train_on_simulated("bf16")
    of_bf16 = names(steps[-1])
    train_on_simulated("fp32")
    assert of_bf16 == names(steps[-1])


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"optimizer": cr.AdamW(1e-2, clip_norm=1.0)}, 2),  # needs the norm of all gradients
        ({"accumulate": 2}, 2),  # takes all gradients in one launch
        ({"l2": 0.1}, 2),
        ({"ema": 0.9}, 6),
        ({"optimizer": cr.Adam(1e-2)}, 5),  # what is not decayed is one with the small
        ({"members": 2, "widths": (24, 24, 24, 16)}, 4),  # 576 numbers of a layer, of each of two members
    ],
    ids=["clipped", "accumulated", "penalised", "averaged", "adam", "ensemble"],
)
def test_which_updates_are_of_layers(steps, options, count):
    train_on_simulated("bf16", **options)
    most = max(len(updates(step)) for step in steps)
    assert most == count


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "float32"), ("fp32", "float64")])
@pytest.mark.parametrize("members", [1, 3])
def test_an_update_by_layers_has_the_bits_of_the_whole(monkeypatch, optimizer, precision, dtype, members):
    def trained() -> dict[str, np.ndarray]:
        options = {"widths": (24, 24, 24, 5), "members": members, "dtype": dtype, "optimizer": OPTIMIZERS[optimizer]}
        return train(EmulatedBackend(precision=precision), epochs=1, **options)[0]

    whole = trained()
    monkeypatch.setattr(base, "LARGE_ARENA", 500)
    monkeypatch.setattr(base, "OWN_LAUNCH", 500)
    np.testing.assert_equal(trained(), whole)


class Meddler(cr.Callback):
    """Assigns weights, and asks a net that has other weights and the same memory for what products read."""

    every = 3

    def on_start(self, record: Any) -> None:
        self.net, self.averaged = record.net, None

    def on_step_end(self, record: Any) -> None:
        self.net.assign_parameters({"dense1.W": np.full((WIDTHS[1], WIDTHS[2]), 1e-3 * record.step)})
        if self.averaged is not None:
            self.averaged.predict(np.ones((3, WIDTHS[0])))

    def on_epoch_end(self, record: Any) -> None:
        self.averaged = record.net
        self.net.assign_parameters({"dense2.b": np.full(WIDTHS[3], 0.5)})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_products_read_the_weights_whatever_is_done_between_steps(monkeypatch, steps, accumulate):
    """As if every forward pass rounded them anew, bit for bit."""

    def trained() -> dict[str, np.ndarray]:
        options = {"ema": 0.9, "accumulate": accumulate, "epochs": 3, "batch_size": 12}
        return train_on_simulated("bf16", callbacks=[Meddler()], **options)[0]

    kept = trained()
    bind = Network.bind
    monkeypatch.setattr(Network, "bind", lambda self, n, **options: bind(self, n, **options | {"renews_factors": True}))
    np.testing.assert_equal(trained(), kept)
    assert "gather" in names(steps[-1])[1:], "the pass rounds the weights in every step"


def test_after_training_the_factors_are_the_weights_rounded(steps):
    _, net = train_on_simulated("bf16")
    rounded = net.factor_arena.download()
    for name, weights in net.parameter_arena.download().items():
        assert rounded[name].tobytes() == narrow(weights).tobytes()


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_update_waits_for_the_product_that_still_reads_the_weights(steps, precision):
    """dx = dz @ W.T comes after dW, and reads what the update writes: W itself, or its copy in bf16."""
    train_on_simulated(precision)
    step = critical_first(steps[-1])
    waits = dependencies(step)
    for number, launch in enumerate(step):
        if launch.key[0] not in UPDATES:
            continue
        before, left = set[int](), [number]
        while left:
            left += set(waits[left.pop()]) - before
            before.update(left)
        reads = [n for n, other in enumerate(step[:number]) if other.key[0] == "product" and _meet(other, launch)]
        assert before.issuperset(reads)
        assert (
            len(reads) >= 1
        )  # forward, and but for the first layer's backward; dW, which the update reads, is no such
    large = [launch for launch in step if launch.key[0] in UPDATES and updates([launch]) == [LARGE]]
    assert [sum(_meet(other, launch) for other in step if other.key[0] == "product") for launch in large] == [
        2,
        2,
        2,
        1,
    ]


def _meet(reader: Launch, writer: Launch) -> bool:
    return any(a < d and c < b for a, b in reader.reads for c, d in writer.writes)


def test_a_graph_has_the_launches_in_this_order(steps, monkeypatch):
    monkeypatch.setattr(base, "LARGE_ARENA", LARGE)
    monkeypatch.setattr(base, "OWN_LAUNCH", LARGE)
    _, net = train_on_simulated("fp32")
    step, begun = steps[-1], []

    def noted(launch: Launch) -> Launch:
        return launch._replace(start=lambda stream: begun.append(launch.key))

    with net.backend.running():
        net.backend.instantiate([noted(launch) for launch in step])
    assert begun == [launch.key for launch in critical_first(step)]
    assert begun != [launch.key for launch in step]


def test_launches_that_are_reordered_keep_what_their_memory_asks_for(steps):
    train_on_simulated("fp32")
    before = steps[-1]
    after = critical_first(before)
    assert sorted(map(id, after)) == sorted(map(id, before))
    place = {id(launch): number for number, launch in enumerate(after)}
    waits = dependencies(before)
    assert any(others for others in waits)
    for launch, others in zip(before, waits, strict=True):
        assert all(place[id(before[other])] < place[id(launch)] for other in others)
