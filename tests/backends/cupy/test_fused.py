"""The table of operations: each a function in the file of its topic, with the contract's own signature."""

from __future__ import annotations

import inspect
from types import FunctionType

import numpy as np
import pytest

from chainrule.backends.contract.backend import Backend
from chainrule.backends.cupy import custom, kernels
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.fused import FusedBackend
from chainrule.errors import DeviceError
from emulation.backend import EmulatedBackend

OPERATIONS = {name: value for name, value in vars(FusedBackend).items() if isinstance(value, FunctionType)}

# What a step does not contain, or is made of two operations that are fused.
LEFT_TO_THE_REFERENCE = {"copy_columns", "scale_and_shift", "first_nonfinite", "matmul_activation_backward"}
# What a device and its emulation provide.
OF_THE_DEVICE = {"empty", "upload", "assign", "download", "running", "synchronize"}


def test_every_method_of_the_contract_has_its_place():
    contract = {name for name in dir(Backend) if getattr(getattr(Backend, name), "__isabstractmethod__", False)}
    assert set(OPERATIONS) == contract - LEFT_TO_THE_REFERENCE - OF_THE_DEVICE


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_stands_in_the_file_of_its_topic_beside_its_kernels(operation):
    function = OPERATIONS[operation]
    assert function.__name__ == operation
    topic = function.__module__.rpartition(".")[2]
    assert topic == custom.__name__.rpartition(".")[2] or f"{topic}.cu" in kernels.sources()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_the_signature_of_the_contract(operation):
    """``**options`` passed on by a decorator must not hide an argument of another name or default."""

    def parameters(function):
        found = list(inspect.signature(function).parameters.values())[1:]
        return [(parameter.name, parameter.kind, parameter.default) for parameter in found]

    assert parameters(OPERATIONS[operation]) == parameters(getattr(Backend, operation))


@with_fallback
def fill(be: Launcher, value: float, *, out: np.ndarray) -> None:
    if out.dtype != np.float32:
        raise NotFusedError(f"fill of {out.dtype}")
    be.tick(np.zeros(3, np.int64))


def test_arguments_that_are_not_fused_go_to_the_reference_and_never_into_a_record():
    backend, out = EmulatedBackend(), np.zeros(3)
    fill(backend, 2.0, out=out)
    assert out.tolist() == [2.0] * 3
    with pytest.raises(DeviceError, match="fill of float64 has no fused kernel and cannot be part of a recorded step"):
        backend.record(lambda: fill(backend, 3.0, out=out))
    assert out.tolist() == [2.0] * 3
    launches = backend.record(lambda: fill(backend, 3.0, out=np.zeros(3, np.float32)))
    assert [launch.key[0] for launch in launches] == ["tick"]


def test_an_error_of_the_reference_is_not_taken_for_one_of_the_kernels(monkeypatch):
    """It is raised by itself, not while another is being handled."""
    with pytest.raises(ValueError, match="could not convert") as caught:
        fill(EmulatedBackend(), "text", out=np.zeros(3))
    assert caught.value.__context__ is None
