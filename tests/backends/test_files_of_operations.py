"""An operation is found by its file: the contract declares it in a topic's file, and so do backends compute it."""

from __future__ import annotations

import inspect

import pytest

from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.contract.backend import Backend
from chainrule.backends.guarded import GuardedBackend
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.backend import ReferenceBackend

CONTRACT = "chainrule.backends.contract."
TOPICS = [c for c in Backend.__mro__ if c.__module__.startswith(CONTRACT) and c is not Backend]


def test_each_topic_of_the_contract_is_a_file_of_its_own():
    assert len({topic.__module__ for topic in TOPICS}) == len(TOPICS) == 13


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.__module__.removeprefix(CONTRACT))
@pytest.mark.parametrize("backend", [ReferenceBackend, NumPyBackend, CompiledBackend, GuardedBackend])
def test_a_kernel_is_computed_in_a_file_of_its_topics_name(backend, topic):
    file = topic.__module__.removeprefix(CONTRACT)
    kernels = [name for name, value in vars(topic).items() if inspect.isfunction(value) and name[0] != "_"]
    assert kernels
    for name in kernels:
        found = getattr(backend, name).__module__
        if (backend, name) != (GuardedBackend, "activation_backward"):  # whose shapes are checked before
            assert found.rpartition(".")[2] == file, (name, found)
