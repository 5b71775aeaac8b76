"""Custom activations: trained on every backend, checked before they are used, remembered by name."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import GradientError, ModelFileError, OptionError

SOFTSIGN = cr.CustomActivation("softsign", lambda xp, z: z / (1 + abs(z)), lambda xp, z: 1 / (1 + abs(z)) ** 2)
TANH = cr.CustomActivation("my tanh", lambda xp, z: xp.tanh(z), lambda xp, z: 1 - xp.tanh(z) ** 2)


def net_with(activation: cr.CustomActivation, **options: object) -> cr.Network:
    return cr.Network([cr.Dense(9), activation, cr.Dense(8), activation, cr.Dense(3)], 4, seed=2, **options)


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(37, 4)), rng.integers(0, 3, 37)


def test_gradients(backend, rows):
    report = cr.check_gradients(net_with(SOFTSIGN, backend=backend), *rows)
    assert not report.complex_step, "abs is not analytic"
    assert max(report.central_difference.values()) <= 1e-6
    assert len(str(report).splitlines()) == 1 + 6


def test_custom_activation_trains_as_the_built_in_one(backend, rows):
    """Step by step, through ragged batches; its steps are not recorded on any backend."""
    ours = net_with(TANH, backend=backend, dtype="float64")
    theirs = cr.Network(
        [cr.Dense(9), cr.Activation("tanh"), cr.Dense(8), cr.Activation("tanh"), cr.Dense(3)],
        4,
        seed=2,
        backend=backend,
        dtype="float64",
    )
    for net in (ours, theirs):
        cr.Trainer(net, cr.Adam(1e-2), batch_size=8, epochs=4).fit(*rows)
    for name, value in theirs.parameter_arena.download().items():
        np.testing.assert_allclose(ours.parameter_arena.download()[name], value, rtol=1e-9, atol=1e-12)


def test_custom_activation_with_a_wrong_derivative_is_refused_by_its_point():
    almost = cr.CustomActivation(
        "almost tanh", lambda xp, z: xp.tanh(z), lambda xp, z: xp.where(z > 3.5, 0.1, 1 - xp.tanh(z) ** 2)
    )
    expected = (
        r"derivative of almost tanh at z = (3\.5\d*): expected (\S+) by central difference of its value, got 0\.1;"
    )
    with pytest.raises(GradientError, match=expected) as caught:
        net_with(almost)
    at, slope = re.search(expected, str(caught.value)).groups()
    assert float(slope) == pytest.approx(1 - math.tanh(float(at)) ** 2, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda xp, z: z.sum(), r"value of f fails: ShapeError: .* expected an array of shape \(257,\), got \(\)"),
        (lambda xp, z: 1.0, "got float"),
        (lambda xp, z: z.no_such_method(), "value of f fails: AttributeError"),
        (lambda z: z, "value of f fails: TypeError"),
    ],
)
def test_custom_activation_functions_that_fail_are_refused(value, message):
    with pytest.raises(OptionError, match=message):
        net_with(cr.CustomActivation("f", value, lambda xp, z: z))


def test_custom_activation_refuses_what_is_no_function():
    with pytest.raises(OptionError, match="derivative of f: expected a function"):
        cr.CustomActivation("f", abs, 3)
    with pytest.raises(OptionError, match="name: expected a string, got ''"):
        cr.CustomActivation("", abs, abs)


def test_load_asks_for_the_custom_activation_of_a_net(tmp_path, rows):
    net = net_with(SOFTSIGN)
    net.save(tmp_path / "m")
    again = cr.load(tmp_path / "m", device="cpu", custom=[TANH, SOFTSIGN])
    np.testing.assert_array_equal(again.predict_proba(rows[0]), net.predict_proba(rows[0]))
    with pytest.raises(ModelFileError, match="custom activation, 'softsign'") as caught:
        cr.load(tmp_path / "m", device="cpu", custom=[TANH])
    assert "custom=[it]" in str(caught.value.hint)
