"""What is done to gradients and weights beside the optimiser, in a recorded step: NumPy's bits."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.memory import CHUNK
from recorded import RecordedBackend
from replays import Arguments, Draw, apart, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

SIZES = [1, 2, 7, 8, 9, 127, 128, 129, 1000, CHUNK, 2 * CHUNK + 5]
MEMBERS = [0, 1, 3]  # 0: one net, without the model axis


class Arrays:
    """Parts of the arenas of some members, and a state; the same ones every time."""

    def __init__(self, dtype: str, members: int, size: int, *, special: float = 0.0, halted: int = RUNNING) -> None:
        rng = np.random.default_rng(size)
        self.arenas = [rng.normal(size=(max(1, members), size + 24)).astype(dtype) for _ in range(2)]
        self.first, self.second = (arena[:, 8 : 8 + size] for arena in self.arenas)
        if special:
            self.first[0, size // 2] = special
        self.totals = rng.uniform(0.1, 9, (max(1, members), 7, 3))
        self.state = np.array([4, 0, halted])
        if not members:
            self.first, self.second, self.totals = self.first[0], self.second[0], self.totals[0]

    def bytes(self) -> list[bytes]:
        return [array.tobytes() for array in (*self.arenas, self.totals, self.state)]


def assert_same_bits(name: str, work: Any, make: Any) -> None:
    """That ``work(backend, arrays)`` leaves the same on NumPy, on compiled loops, and recorded and replayed."""
    found, recorded = [], RecordedBackend()
    for backend in (NumPyBackend(), compiled.loaded(), recorded):
        arrays = make()
        with backend.running():
            work(backend, arrays)
        found.append(arrays.bytes())
    assert found[0] == found[1] == found[2]
    assert recorded.replayed[name] > 0
    assert recorded.called[name] == 0


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    compiled.loaded()


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_clip_by_global_norm(dtype, size, members):
    for max_norm in (1e-3, 1e9):
        assert_same_bits(
            "clip_by_global_norm",
            lambda backend, a, most=max_norm: backend.clip_by_global_norm(a.first, max_norm=most),
            functools.partial(Arrays, dtype, members, size),
        )


def touched(of: Draw, kernel: str, vectors: int, width: int) -> Arguments:
    """A table, its gradient and its moments, and which of its vectors are touched."""
    params, grads, m, v = (of(vectors * width) for _ in range(4))
    marks = of.integers(2, *of.members, vectors).astype(np.float32)
    common = {"params": params, "grads": grads, "lr": np.array([0.1]), "state": np.array([4, 0, RUNNING])}
    common |= {"touched": apart(marks) if of.members else marks, "lr_factor": 0.5, "weight_decay": 0.1}
    if kernel == "adam":
        v[...] = np.abs(v)
        return common | {"m": m, "v": v, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True}
    has_momentum = kernel == "momentum"
    velocity = {"velocity": m, "momentum": 0.9} if has_momentum else {"velocity": None, "momentum": 0.0}
    return common | velocity | {"nesterov": has_momentum}


@pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])
@pytest.mark.parametrize("kernel", ["adam", "momentum", "sgd"])
def test_updates_of_touched_vectors(dtype, kernel, members):
    name = "adam" if kernel == "adam" else "sgd"
    arrays = ("params", "grads", *(("m", "v") if kernel == "adam" else ("velocity",)), "lr", "state")

    def in_numpy(be: NumPyBackend, **options: Any) -> None:
        positional = [options.pop(array) for array in arrays]
        getattr(be, name)(*positional, **options)

    for vectors, width in ((1, 1), (9, 7), (130, 33)):
        check_kernel(name, touched, members, dtype, kernel, vectors, width, in_numpy=in_numpy)


@pytest.mark.parametrize("special", [np.nan, np.inf, 1e-30])
def test_clip_of_a_gradient_that_is_not_finite_or_tiny_or_zero(dtype, special):
    def work(backend: Any, a: Arrays) -> None:
        backend.clip_by_global_norm(a.first, max_norm=1.0)
        a.second.fill(0)
        backend.clip_by_global_norm(a.second, max_norm=1.0)

    assert_same_bits("clip_by_global_norm", work, functools.partial(Arrays, dtype, 0, 40, special=special))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_penalize(dtype, size, members, mean):
    def work(backend: Any, a: Arrays) -> None:
        a.totals[..., 2, 1] = 0  # a batch without weight
        for batch in range(3):
            a.state[1] = batch
            backend.penalize(a.first, a.second, a.totals, a.state, alpha=0.3, mean=mean)

    assert_same_bits("penalize", work, functools.partial(Arrays, dtype, members, size))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("size", [1, 9, 1000])
def test_accumulate(dtype, size, members, mean):
    def work(backend: Any, a: Arrays) -> None:
        a.second.fill(np.nan)
        a.totals[..., 3:5, 1] = 0  # two batches without weight begin a group
        for batch in range(7):
            a.state[1] = batch
            a.first *= 1.25
            backend.accumulate(a.first, a.totals, a.state, group=3, mean=mean, out=a.second)

    assert_same_bits("accumulate", work, functools.partial(Arrays, dtype, members, size))


@pytest.mark.parametrize("halted", [RUNNING, 2])
@pytest.mark.parametrize("size", [1, 9, 2 * CHUNK + 5])
def test_average(dtype, size, halted):
    def work(backend: Any, a: Arrays) -> None:
        for step in (0, 3, 90):
            a.state[0] = step
            backend.average(a.first, a.state, decay=0.8, out=a.second)

    assert_same_bits("average", work, functools.partial(Arrays, dtype, 0, size, halted=halted))


def test_a_replayed_step_reads_what_the_counters_and_totals_are_then(dtype):
    """Recorded once and replayed for each batch, whole and in parts."""
    size, backend, numpy = 3 * CHUNK + 5, compiled.loaded(), NumPyBackend()

    def step(be: Any, a: Arrays) -> None:
        be.penalize(a.first, a.second, a.totals, a.state, alpha=0.3, mean=True)
        be.accumulate(a.second, a.totals, a.state, group=3, mean=True, out=a.first)
        be.clip_by_global_norm(a.first, max_norm=1.0)
        be.average(a.first, a.state, decay=0.8, out=a.second)

    wanted, whole, cut = (Arrays(dtype, 0, size) for _ in range(3))
    programs = []
    for arrays, divide in ((whole, lambda launch: [launch]), (cut, _in_parts)):
        recorder = LOOPS.programs.StepRecorder()
        launches = recorder.record(functools.partial(step, backend, arrays))
        programs.append(recorder.program([part for launch in launches for part in divide(launch)]))
    for batch in range(6):
        for a in (wanted, whole, cut):
            a.state[:2] = batch, batch
        step(numpy, wanted)
        for program in programs:
            program(1)
        assert whole.bytes() == wanted.bytes()
        assert cut.bytes() == wanted.bytes()


def _in_parts(launch: Any) -> list[Any]:
    """A launch as those of three parts of its rows, if they may be divided."""
    borders = sorted({0, launch.rows // 3, launch.rows // 2, launch.rows})
    return [launch.part(*ends) for ends in itertools.pairwise(borders)] if launch.rows else [launch]
