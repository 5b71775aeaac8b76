"""The guard refuses what a GPU would refuse, stall on or corrupt; a test backend is worth what it refuses."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DeviceError, GuardError

ONES = np.ones((2, 3))


@pytest.fixture
def be() -> cr.GuardedBackend:
    return cr.GuardedBackend()


@pytest.fixture
def a(be):
    """(2, 3) float64."""
    return be.upload(np.arange(6.0).reshape(2, 3))


HOST_READS = {
    "float": lambda a: float(a[0, 0]),
    "int": lambda a: int(a[0, 0]),
    "complex": lambda a: complex(a[0, 0]),
    "bool": lambda a: bool(a[0, 0]),
    "if": lambda a: 1 if a.sum() > 0 else 0,
    "index": lambda a: [1, 2][a[0, 0].astype(np.int64)],
    "item": lambda a: a[0, 0].item(),
    "tolist": lambda a: a.tolist(),
    "iteration": list,
    "in": lambda a: 1.0 in a,
    "np.asarray": np.asarray,
    "np.array": np.array,
    "np.isfinite(...).all()": lambda a: bool(np.isfinite(a).all()),
    "np.testing": lambda a: np.testing.assert_array_equal(a, a),
}


@pytest.mark.parametrize("read", HOST_READS)
def test_the_host_may_not_read(a, read):
    with pytest.raises(GuardError, match="reads device memory"):
        HOST_READS[read](a)


MIXTURES = {
    "a + numpy": lambda g: g.a + ONES,
    "numpy + a": lambda g: ONES + g.a,
    "a += numpy": lambda g: g.a.__iadd__(ONES),
    "a[...] = numpy": lambda g: g.a.__setitem__(..., ONES),
    "a[numpy]": lambda g: g.a[np.array([0, 1])],
    "a[numpy, :]": lambda g: g.a[np.array([0, 1]), :],
    "np.add(out=a)": lambda g: np.add(ONES, ONES, out=g.a),
    "np.add(out=numpy)": lambda g: np.add(g.a, g.a, out=np.empty((2, 3))),
    "xp.where": lambda g: g.be.xp.where(g.a > 0, g.a, ONES),
    "xp.matmul": lambda g: g.be.xp.matmul(g.a, ONES.T),
    "a kernel's input": lambda g: g.be.matmul(g.a, ONES.T, out=g.be.empty((2, 2), "float64")),
    "a kernel's output": lambda g: g.be.matmul(g.a, g.a.T, out=np.empty((2, 2))),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_host_memory_may_not_be_mixed_in(be, a, mixture):
    with pytest.raises(GuardError, match=r"NumPy array|foreign"):
        MIXTURES[mixture](SimpleNamespace(be=be, a=a))


SCATTERED = {
    "a ufunc": lambda g: np.add(g.a.T, 1, out=g.a.T),
    "every second column": lambda g: np.multiply(g.a[:, ::2], 2, out=g.a[:, ::2]),
    "a reduction": lambda g: g.be.xp.sum(g.a, axis=1, out=g.a[:, 0]),
    "a product": lambda g: g.be.matmul(g.a, g.a.T, out=g.be.empty((2, 2), "float64").T),
    "a bias gradient": lambda g: g.be.activation_backward(
        "relu", g.a, g.a, dz=g.a, db=g.be.empty((3, 2), "float64")[:, 0]
    ),
}


@pytest.mark.parametrize("case", SCATTERED)
def test_results_may_not_be_written_to_scattered_memory(be, a, case):
    with pytest.raises(GuardError, match="not contiguous"):
        SCATTERED[case](SimpleNamespace(be=be, a=a))


@pytest.mark.parametrize("name", ["saved", "dy", "dz"])
def test_a_gradient_of_another_shape_is_not_broadcast(be, a, name):
    """NumPy would: one row for all rows. A fused kernel would read what lies behind it."""
    arrays = {"saved": a, "dy": a, "dz": be.empty((2, 3), "float64")} | {name: a[:1]}
    with pytest.raises(GuardError, match=r"arrays of one shape(?s:.*)\(1, 3\)"):
        be.activation_backward("relu", arrays["saved"], arrays["dy"], dz=arrays["dz"], db=be.empty((3,), "float64"))


def test_where_is_refused(be, a):
    with pytest.raises(GuardError, match=r"where=.*does not exist in CuPy"):
        be.xp.add(a, a, out=a, where=a > 0)


def test_a_method_that_the_guard_does_not_know_is_no_attribute(a):
    with pytest.raises(AttributeError, match="add it if CuPy's ndarray has it"):
        a.ctypes  # noqa: B018 - the attribute access is the test


def test_what_a_device_allows(be, a):
    b = (2 * a - 1)[:, ::2] / a.sum(axis=1).reshape(2, 1)
    np.testing.assert_allclose(be.download(b), (2 * np.arange(6.0).reshape(2, 3) - 1)[:, ::2] / [[3], [12]])
    assert (len(a), a.shape, a.ndim, a.size, a.dtype) == (2, (2, 3), 2, 6, np.float64)
    assert "shape=(2, 3)" in repr(a)
    assert isinstance(GuardError("x"), DeviceError)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_new_memory_is_poisoned(be, dtype):
    got = be.download(be.empty((3,), dtype))
    assert np.isnan(got).all() if got.dtype.kind == "f" else (got == np.iinfo(dtype).min).all()


DEPARTURES = {
    "empty": lambda g: g.be.empty((2,), "float32"),
    "upload": lambda g: g.be.upload([1.0]),
    "assign": lambda g: g.be.assign(ONES, out=g.a),
    "download": lambda g: g.be.download(g.a),
    "first_nonfinite": lambda g: g.be.first_nonfinite(g.a),
    "synchronize": lambda g: g.be.synchronize(),
}


@pytest.mark.parametrize("departure", DEPARTURES)
def test_a_step_may_not_leave_the_device(be, a, departure):
    def act() -> None:
        DEPARTURES[departure](SimpleNamespace(be=be, a=a))

    act()  # outside a step there is nothing wrong with it
    with pytest.raises(GuardError, match="within a recorded step"):
        be.capture(act)(1)
    act()  # nor after a step that failed


def test_what_the_host_varies_from_step_to_step_is_frozen(be, a):
    """A learning rate from a Python variable: right on a CPU that calls the step, wrong on a GPU that replays it."""
    rates = itertools.count(1)

    def step() -> None:
        be.fill(next(rates), out=a)

    replay = be.capture(step)
    for _ in range(3):
        replay(2)
        np.testing.assert_array_equal(be.download(a), ONES)
    assert next(rates) == 2, "the step ran again instead of its record"


def test_a_python_branch_on_the_step_number_is_frozen(be):
    state, calls = be.upload(np.array([0, 0, -1])), []

    def step() -> None:
        calls.append(None)
        if len(calls) == 1:
            be.tick(state)

    be.capture(step)(5)
    assert be.download(state).tolist() == [5, 5, -1]


def test_what_lies_in_device_memory_varies(be, a):
    x, position = be.empty((4, 1), "float64"), be.upload(np.array([0]))
    rows, order = be.upload(np.arange(4.0)[:, None]), be.upload(np.array([2, 0, 3, 1]))
    seen = []

    def step() -> None:
        be.gather([rows], order, position, stride=1, out=[x[:1]])

    replay = be.capture(step)
    for _ in range(4):
        replay(1)
        seen.append(float(be.download(x)[0, 0]))
    assert seen == [2, 0, 3, 1]


def test_what_a_kernel_calls_itself_is_recorded_once(be, rng):
    """``dense`` is a product, a sum and an activation: were the product recorded as well, it would undo the sum."""
    x, W, b = (rng.normal(size=shape) for shape in [(5, 2), (2, 3), (3,)])
    arrays, y = [be.upload(v) for v in (x, W, b)], be.empty((5, 3), "float64")
    be.capture(lambda: be.dense(*arrays, "relu", z=y, y=y))(3)
    np.testing.assert_allclose(be.download(y), np.maximum(x @ W + b, 0))


def test_half_a_step_is_not_replayed(be, a):
    state, failures = be.upload(np.array([0, 0, -1])), [True]

    def step() -> None:
        be.tick(state)
        if failures:
            be.download(state)
        be.fill(1.0, out=a)

    replay = be.capture(step)
    with pytest.raises(GuardError):
        replay(1)
    failures.clear()
    be.assign([0, 0, -1], out=state)
    replay(3)
    assert be.download(state).tolist() == [3, 3, -1]
    np.testing.assert_array_equal(be.download(a), ONES)
