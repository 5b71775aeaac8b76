"""The model axis of every method of the contract: k nets at once get what k calls give, wherever members lie."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.contract.backend import Backend
from chainrule.backends.contract.members import RANKS
from model_axis.case import WITHOUT_MODEL_AXIS, Case, values
from model_axis.of_layers import layer_cases
from model_axis.of_training import training_cases

CASES = [*layer_cases(), *training_cases()]
CLOSE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-14}}  # of compiled loops
GAP = 4  # elements on either side of an array of a member that lies apart from the next one's


def methods() -> set[str]:
    declared = [c for c in Backend.__mro__ if c.__module__.startswith("chainrule.backends.contract.")]
    return {name for c in declared for name, value in vars(c).items() if inspect.isfunction(value) and name[0] != "_"}


def test_every_method_of_the_contract_has_a_case_or_a_reason_to_have_no_model_axis():
    tested = {case.method for case in CASES}
    excused = {name for names in WITHOUT_MODEL_AXIS.values() for name in names}
    assert not tested & excused
    assert tested | excused == methods()
    assert set(RANKS) <= tested


class Arrays:
    """The arrays of a call on k members, and of the calls of each by itself."""

    def __init__(self, case: Case, k: int, dtype: str, rng: np.random.Generator) -> None:
        self.written = {name: (shape, kind or dtype) for name, (shape, kind) in case.written.items()}
        self.shared = case.shared
        self.values = {
            name: values(rng, shape if name in case.shared else (k, *shape), kind, dtype)
            for name, (shape, kind) in case.read.items()
        }
        self.k, self.dtype = k, dtype

    def of_all(self, memory: Any, *, apart: bool) -> SimpleNamespace:
        arrays = self._of_step(memory)
        for name, given in self.values.items():
            if name in self.shared:
                arrays[name] = memory.array(given)
            else:
                arrays[name] = _placed(memory, given.shape, given.dtype, apart)
                for j in range(self.k):
                    arrays[name][j][...] = memory.array(given[j])
        for name, (shape, dtype) in self.written.items():
            arrays[name] = _placed(memory, (self.k, *shape), dtype, apart)
        return SimpleNamespace(**arrays)

    def of_member(self, memory: Any, j: int) -> SimpleNamespace:
        arrays = self._of_step(memory)
        for name, given in self.values.items():
            arrays[name] = memory.array(given if name in self.shared else given[j])
        for name, (shape, dtype) in self.written.items():
            arrays[name] = memory.output(shape, dtype)
        return SimpleNamespace(**arrays)

    def compare(self, memory: Any, together: Any, alone: list[Any], close: dict[str, float] | None, what: str) -> None:
        """Every array, those that are only read too; to the bit, or if it is said as close as that."""
        for name in [*self.values, *self.written, "state", "position"]:
            ours = memory.backend.download(getattr(together, name))
            for j, member in enumerate(alone):
                found = ours if name in (*self.shared, "state", "position") else ours[j]
                expected = memory.backend.download(getattr(member, name))
                if close and expected.dtype.kind == "f":
                    np.testing.assert_allclose(found, expected, err_msg=f"{what}: {name} of member {j}", **close)
                else:
                    np.testing.assert_array_equal(found, expected, err_msg=f"{what}: {name} of member {j}")

    def _of_step(self, memory: Any) -> dict[str, Any]:
        edges = np.array([0, 0, 0, -1, 0, -0.5, 0.5]), np.array([1, 1, 1, 1, 0.5, 1, 2])
        limits = np.array([-np.inf] * 3 + [0, 0.1, 0, 0]), np.array([np.inf] * 3 + [1, 1, 0.9, 1])
        of_pieces = (memory.array(part, self.dtype) for part in (*edges, *limits))
        columns, first = memory.array([0, 1, 2, 0, 0, 2, 2], np.int64), memory.array([3, 5, 5, 7], np.int64)
        return {
            "state": memory.state(step=3, batch=1),
            "lr": memory.array([0.1, 0.05]),
            "position": memory.array([1], np.int64),
            "pieces": Pieces(columns, *of_pieces, first),
        }


def _placed(memory: Any, shape: tuple[int, ...], dtype: Any, apart: bool) -> Any:
    """Memory for k arrays: behind each other, or apart as ranges of the members of an arena."""
    if not apart:
        return memory.output(shape, dtype)
    size = int(np.prod(shape[1:]))
    return memory.output((shape[0], size + 2 * GAP), dtype)[:, GAP : GAP + size].reshape(shape)


@pytest.mark.parametrize("method", sorted({case.method for case in CASES}))
def test_members_at_once_get_what_each_gets_alone(backend, memory, rng, dtype, method):
    of_loops = isinstance(backend, CompiledBackend)
    for case in (case for case in CASES if case.method == method):
        for k in (1, 2, 5):
            arrays = Arrays(case, k, dtype, rng)
            alone = [arrays.of_member(memory, j) for j in range(k)]
            for j, member in enumerate(alone):
                case.call(backend, member, j)
            for apart in (False, True):
                together = arrays.of_all(memory, apart=apart)
                case.call(backend, together, 0)
                what = f"{case.name}, {k} members {'apart' if apart else 'one behind the other'}"
                arrays.compare(memory, together, alone, CLOSE[dtype] if of_loops else None, what)
    assert LOOPS.is_loaded or not of_loops


def test_values_from_the_host_reach_members_that_lie_apart(backend, memory, rng, dtype):
    given = rng.normal(size=(3, 4, 5)).astype(dtype)
    out = _placed(memory, given.shape, dtype, apart=True)
    backend.assign(given, out=out)
    np.testing.assert_array_equal(backend.download(out), given)
