"""What a notebook prints of a net and its parts: one line that says what it is."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


def test_repr_of_an_mlp():
    net = cr.MLP([64, 100, 100, 10], activation="tanh", normalization="batch", dropout=0.1, residual=True)
    assert repr(net) == (
        "<MLP 64 -> 100 -> 100 -> 10, batch_norm, tanh, dropout, residual, softmax_cross_entropy, "
        "18,010 parameters, float32 on cpu>"
    )
    assert repr(cr.MLP([2, 3])) == "<MLP 2 -> 3, softmax_cross_entropy, 9 parameters, float32 on cpu>"


def test_repr_of_a_network_with_a_quantile_loss_and_an_activation_of_ones_own():
    own = cr.CustomActivation("square", lambda _, z: z * z, lambda _, z: 2 * z)
    net = cr.Network([cr.Dense(4), own, cr.Dense(2)], 3, loss=cr.Quantile([0.1, 0.9]), dtype="float64")
    assert repr(net) == (
        "<Network 3 -> 4 -> 2, custom_activation, Quantile(levels=(0.1, 0.9)), 26 parameters, float64 on cpu>"
    )


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (cr.Dense(256, "relu"), "Dense(256, 'relu')"),
        (cr.Dense(10), "Dense(10)"),
        (cr.Dense(10, start=cr.Start("zero")), "Dense(10, start=Start(weights='zero'))"),
        (
            cr.Dense(9, "selu", start=cr.Start(bias_std=1, rows=3)),
            "Dense(9, 'selu', start=Start(bias_std=1.0, rows=3))",
        ),
        (cr.Activation("gelu"), "Activation('gelu')"),
        (cr.Dropout(), "Dropout(0.5)"),
        (cr.LayerNorm(), "LayerNorm()"),
        (cr.BatchNorm(momentum=0.2), "BatchNorm(momentum=0.2)"),
        (cr.Residual([cr.Dense(8, "relu"), cr.Dense(8)]), "Residual([Dense(8, 'relu'), Dense(8)])"),
        (cr.Concatenate([cr.Dense(8)]), "Concatenate([Dense(8)])"),
        (cr.Scale(), "Scale()"),
        (cr.PiecewiseLinear([(0.0, 1.0, 2.5), (), (0, 1)]), "PiecewiseLinear(3 fractions of 2 columns)"),
        (cr.Embedding([1], [3], shares=[[0.2, 0.3, 0.5]]), "Embedding(columns=(1,), counts=(3,), widths=(3,))"),
        (cr.CustomActivation("sine", lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z)), "CustomActivation('sine')"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_repr_of_a_layer(layer, expected):
    assert repr(layer) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (cr.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy()"),
        (cr.SoftmaxCrossEntropy(label_smoothing=0.1), "SoftmaxCrossEntropy(label_smoothing=0.1)"),
        (cr.Huber(delta=2.0, reduction="sum"), "Huber(reduction='sum', delta=2.0)"),
        (cr.Quantile(), "Quantile(levels=(0.1, 0.5, 0.9))"),
        (cr.Quantile([0.5], reduction="sum"), "Quantile(reduction='sum', levels=(0.5,))"),
    ],
    ids=str,
)
def test_repr_of_a_loss(loss, expected):
    assert repr(loss) == expected


def test_repr_of_a_gradient_report(rng):
    report = cr.check_gradients(cr.MLP([4, 5, 3], activation="tanh"), rng.normal(size=(8, 4)), np.arange(8) % 3)
    exact, rough = max(report.complex_step.values()), max(report.central_difference.values())
    assert repr(report) == (
        f"<GradientReport 4 parameters, largest error {exact:.1e} by complex step, {rough:.1e} by central difference>"
    )
