"""Every line that `explain` prints is right, and a wrong one is seen."""

from __future__ import annotations

import pytest

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES
from chainrule.verify.explain import explain


def test_the_published_lesson():
    found = explain([100, 200, 10], activation="relu", loss="squared_error", batch=32)
    assert [(line.name, line.formula, line.shapes) for line in found.lines if line.part == "backward"] == [
        ("dz1", "2 (z1 - t) / (32 * 10)", "(32,10)"),
        ("dW1", "y0.T @ dz1", "(200,32) @ (32,10) = (200,10)"),
        ("db1", "sum_rows(dz1)", "(32,10) -> (10)"),
        ("dy0", "dz1 @ W1.T", "(32,10) @ (10,200) = (32,200)"),
        ("dz0", "dy0 * [y0 > 0]", "(32,200)"),
        ("dW0", "x.T @ dz0", "(100,32) @ (32,200) = (100,200)"),
        ("db0", "sum_rows(dz0)", "(32,200) -> (200)"),
    ]
    assert all(line.right for line in found.lines)
    assert "only y0.T @ dz1 has that shape" in found.rule


@pytest.mark.parametrize("widths", [[3, 2], [5, 4, 3, 2]])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_line_is_right(activation, loss, widths):
    widths = [*widths[:-1], LOSSES[loss].outputs_for(widths[-1])]
    for line in explain(widths, activation=activation, loss=loss, batch=7).lines:
        assert line.right, line


@pytest.mark.parametrize(
    ("activation", "y0", "dz0"),
    [
        ("tanh", "tanh(z0)", "dy0 * (1 - y0^2)"),
        ("softplus", "log(1 + exp(z0))", "dy0 * (1 - exp(-y0))"),
        ("silu", "z0 / (1 + exp(-z0))", "dy0 * (s + z0 s (1 - s)) where s = 1 / (1 + exp(-z0))"),
        (
            "gelu",
            "z0 (1 + erf(z0 / sqrt(2))) / 2",
            "dy0 * ((1 + erf(z0 / sqrt(2))) / 2 + z0 exp(-z0^2 / 2) / sqrt(2 pi))",
        ),
    ],
)
def test_derivatives_are_written_in_what_they_are_functions_of(activation, y0, dz0):
    lines = explain([4, 3, 2], activation=activation, loss="squared_error", batch=5).lines
    formulas = {line.name: line.formula for line in lines}
    assert (formulas["y0"], formulas["dz0"]) == (y0, dz0)


@pytest.mark.parametrize(
    ("method", "wrong"), [("matmul_activation_backward", {"dz0", "dW0", "db0"}), ("activate", {"y0"})]
)
def test_a_wrong_kernel_shows_in_its_lines(monkeypatch, method, wrong):
    right = getattr(NumPyBackend, method)

    def scaled(self, *args, out, **options):
        right(self, *args, out=out, **options)
        out *= 1.001
        if "db" in options:
            options["db"] *= 1.001

    dense = NumPyBackend.dense
    if method == "activate":  # the forward pass of the net, not the one that it is checked with
        monkeypatch.setattr(NumPyBackend, "dense", lambda *a, z, y: (dense(*a, z=z, y=y), y.__imul__(1.001))[0])
    else:
        monkeypatch.setattr(NumPyBackend, method, scaled)
    found = {
        line.name
        for line in explain([5, 4, 3], activation="tanh", loss="squared_error", batch=6).lines
        if not line.right
    }
    assert wrong <= found
