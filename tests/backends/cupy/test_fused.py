"""The table of operations: each a function in the file of its topic, with the contract's own signature."""

from __future__ import annotations

import inspect
from types import FunctionType

import numpy as np
import pytest

from chainrule.backends.contract.backend import Backend
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.fused import FusedBackend
from chainrule.backends.reference.backend import ReferenceBackend
from chainrule.errors import DeviceError
from emulation.backend import EmulatedBackend

QUESTIONS = {"signs_per_row"}  # which launch nothing
OPERATIONS = {
    name: value
    for name, value in vars(FusedBackend).items()
    if isinstance(value, FunctionType) and name not in QUESTIONS
}

# What a step does not contain, or is made of two operations that are fused.
LEFT_TO_THE_REFERENCE = {
    "copy_columns", "scale_and_shift", "first_nonfinite",
    "scaled_dense", "scaled_dense_backward", "encoded_dense", "encoded_dense_backward",
}  # fmt: skip # a list of names
# What a device and its emulation provide.
OF_THE_DEVICE = {"empty", "upload", "assign", "download", "running", "synchronize"}


def test_every_method_of_the_contract_has_its_place():
    contract = {name for name in dir(Backend) if getattr(getattr(Backend, name), "__isabstractmethod__", False)}
    assert set(OPERATIONS) == contract - LEFT_TO_THE_REFERENCE - OF_THE_DEVICE


def topic_of(function: FunctionType) -> str:
    return function.__module__.rpartition(".")[2]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_stands_in_a_file_of_the_name_that_the_reference_has_for_its_topic(operation):
    function, reference = OPERATIONS[operation], getattr(ReferenceBackend, operation)
    assert function.__name__ == reference.__name__ == operation
    assert topic_of(function).endswith(topic_of(reference))  # layer_normalization and batch_normalization


def test_each_source_stands_beside_the_operations_that_launch_its_kernels():
    topics = {topic_of(function) for function in OPERATIONS.values()}
    # Products launch what stands beside their folder; optimisers have two sources.
    beside = topics - {"predictions", "custom"} | {"gemm", "clipping_and_averages"}
    assert {source.removesuffix(".cu").removesuffix("_backward") for source in kernels.sources()} == beside


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_the_signature_of_the_contract(operation):
    """``**options`` passed on by a decorator must not hide an argument of another name or default."""

    def parameters(function):
        found = list(inspect.signature(function).parameters.values())[1:]
        return [(parameter.name, parameter.kind, parameter.default) for parameter in found]

    assert parameters(OPERATIONS[operation]) == parameters(getattr(Backend, operation))


@with_fallback
def fill(self: Launcher, value: float, *, out: np.ndarray) -> None:
    if out.dtype != np.float32:
        raise NotFusedError(f"fill of {out.dtype}")
    self.tick(np.zeros(3, np.int64))


@pytest.mark.parametrize("backend", ["emulated"], indirect=True)
def test_arguments_that_are_not_fused_go_to_the_reference_and_never_into_a_record(backend):
    out = np.zeros(3)
    fill(backend, 2.0, out=out)
    assert out.tolist() == [2.0] * 3
    with pytest.raises(DeviceError, match="fill of float64 has no fused kernel and cannot be part of a recorded step"):
        backend.record(lambda: fill(backend, 3.0, out=out))
    assert out.tolist() == [2.0] * 3
    launches = backend.record(lambda: fill(backend, 3.0, out=np.zeros(3, np.float32)))
    assert [launch.key[0] for launch in launches] == ["tick"]


def test_an_error_of_the_reference_is_not_taken_for_one_of_the_kernels():
    """It is raised by itself, not while another is being handled."""
    with pytest.raises(ValueError, match="could not convert") as caught:
        fill(EmulatedBackend(), "text", out=np.zeros(3))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("backend", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_arguments_without_a_kernel_fall_back_to_the_reference_outside_of_recorded_steps(backend, memory, rng):
    """Complex numbers, labels of another dtype."""
    x, W, b = (rng.normal(size=s) + 1j for s in ((3, 4), (4, 2), (2,)))
    y, db = memory.output((3, 2), np.complex128), memory.output((2,), np.complex128)
    complex_x, complex_W, complex_b = memory.array(x), memory.array(W), memory.array(b)
    z, totals, state = memory.array(rng.normal(size=(3, 4))), memory.output((2, 3), np.float64), memory.state()
    numbers, wide = memory.output((3, 4), np.int64), memory.array([0, 1, 2], np.int64)
    plain, dlogits = {"scale": 1.0, "mean": True}, memory.output((3, 4), np.float64)
    batch = lambda targets: LossBatch(z, targets, None, state, totals, dlogits)
    for step in (
        lambda: backend.dense(complex_x, complex_W, complex_b, "tanh", z=y, y=y),
        lambda: backend.activation_backward("tanh", y, y, dz=y, db=db),
        lambda: backend.activate("sigmoid", y, out=y),
        lambda: backend.softmax_cross_entropy(batch(wide), **plain),
        lambda: backend.focal_loss(batch(wide), gamma=2.0, **plain),
        lambda: backend.elementwise_loss(batch(numbers), "sigmoid_cross_entropy", **plain),
        lambda: backend.elementwise_loss(batch(numbers), "squared_error", **plain),
        lambda: backend.quantile_loss(batch(numbers[:, :2]), levels=(0.2, 0.8), **plain),
        lambda: backend.gaussian_nll(batch(numbers[:, :2]), **plain),
        lambda: backend.exp(complex_x, out=memory.output((3, 4), np.complex128)),
        lambda: backend.quantiles(complex_x, count=2, out=memory.output((3, 4), np.complex128)),
        lambda: backend.mean_and_variance(complex_x, out=memory.output((3, 4), np.complex128)),
        lambda: backend.count_correct(z, wide, None, state, totals=totals),
        lambda: backend.argmax(z, out=wide),
        lambda: backend.positive(z, out=numbers),
        lambda: backend.softmax(complex_x, out=memory.output((3, 4), np.complex128)),
    ):
        with pytest.raises(DeviceError, match="recorded step"):
            backend.record(step)
        if backend.name == "emulated":  # CuPy has no matmul of some of these
            step()
