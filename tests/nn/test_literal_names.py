"""Names that a type checker and an editor's completion know are just those that the tables at run time hold."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

import chainrule as cr
from chainrule.backends.contract.backend import ActivationName
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.layers.initializers import InitializerName
from chainrule.nn.losses.names import KINDS, LOSSES, LossName
from chainrule.nn.mlp import NORMALIZATIONS, NormalizationName
from chainrule.onnx.activations import ACTIVATE


@pytest.mark.parametrize(
    ("literal", "table"),
    [
        pytest.param(LossName, LOSSES, id="loss"),
        pytest.param(ActivationName, ACTIVATIONS, id="activation"),
        pytest.param(ActivationName, ACTIVATE, id="activation in onnx"),
        pytest.param(NormalizationName, NORMALIZATIONS, id="normalization"),
    ],
)
def test_a_literal_type_lists_the_names_of_its_table(literal, table):
    assert sorted(get_args(literal)) == sorted(table)


def test_every_kind_of_loss_has_a_name_and_every_initializer_is_used():
    assert set(KINDS) <= set(get_args(LossName))
    assert {activation.initializer for activation in ACTIVATIONS.values()} == set(get_args(InitializerName))


@pytest.mark.parametrize("function", [cr.MLP.__init__, cr.Network.__init__])
def test_nets_take_their_options_by_literal_types(function):
    hints = get_type_hints(function)
    assert LossName in get_args(hints["loss"])
    if function is cr.MLP.__init__:
        assert ActivationName in get_args(hints["activation"])
        assert NormalizationName in get_args(hints["normalization"])
