"""The model axis of every method of the contract: k nets at once get what k calls give, wherever members lie."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.backend import Backend
from chainrule.backends.contract.members import RANKS
from chainrule.backends.numpy.backend import NumPyBackend
from model_axis.arrays import Arrays, placed
from model_axis.case import WITHOUT_MODEL_AXIS
from model_axis.of_layers import layer_cases
from model_axis.of_training import training_cases

MEMBERS = (1, 2, 5)
# Whether members lie apart matters from the second on, to any number of them alike.
FEWER = [(1, True), (2, False), (5, True), (5, False)]  # on what is slow
CASES = [*layer_cases(), *training_cases()]
CLOSE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-14}}  # of compiled loops


def methods() -> set[str]:
    declared = [c for c in Backend.__mro__ if c.__module__.startswith("chainrule.backends.contract.")]
    return {name for c in declared for name, value in vars(c).items() if inspect.isfunction(value) and name[0] != "_"}


def test_every_method_of_the_contract_has_a_case_or_a_reason_to_have_no_model_axis():
    tested = {case.method for case in CASES}
    excused = {name for names in WITHOUT_MODEL_AXIS.values() for name in names}
    assert not tested & excused
    assert tested | excused == methods()
    assert set(RANKS) <= tested


@pytest.mark.parametrize("method", sorted({case.method for case in CASES}))
def test_members_at_once_get_what_each_gets_alone(backend, memory, rng, dtype, method):
    of_loops = isinstance(backend, CompiledBackend)
    is_quick = of_loops or type(backend) is NumPyBackend
    placements = list(itertools.product(MEMBERS, (False, True))) if is_quick else FEWER
    for case in (case for case in CASES if case.method == method):
        arrays = Arrays(case, max(MEMBERS), dtype, rng)
        alone = [arrays.of_member(memory, j) for j in range(max(MEMBERS))]
        for j, member in enumerate(alone):
            case.call(backend, member, j)
        for k, apart in placements:
            together = arrays.of_all(memory, k, apart=apart)
            case.call(backend, together, 0)
            what = f"{case.name}, {k} members {'apart' if apart else 'one behind the other'}"
            arrays.compare(memory, together, alone[:k], CLOSE[dtype] if of_loops else None, what)
    assert LOOPS.is_loaded or not of_loops


def test_values_from_the_host_reach_members_that_lie_apart(backend, memory, rng, dtype):
    given = rng.normal(size=(3, 4, 5)).astype(dtype)
    out = placed(memory, given.shape, dtype, apart=True)
    backend.assign(given, out=out)
    np.testing.assert_array_equal(backend.download(out), given)
