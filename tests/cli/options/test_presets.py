"""Which preset a training has: what was typed, or "default" unless options describe a net or its updates."""

from __future__ import annotations

import pytest

from chainrule.cli.options import train_options
from chainrule.cli.options.parser import Parser
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.errors import OptionError


def resolved(*argv: str) -> TrainingOptions:
    parser = Parser(prog="chainrule train")
    train_options.add_arguments(parser)
    return TrainingOptions.of(parser.parse_args(["t.csv", *argv])).with_defaults()


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--epochs 9 --batch-size 32 --dropout 0.1 --members 3",
        "--loss huber --class-weight balanced --seed 3 --dtype float64",
        "--schedule cosine --optimizer adamw --accumulate 2",
        "--preset default --hidden 8 --lr 0.1 --activation tanh",
    ],
)
def test_the_preset_is_default_if_no_option_describes_a_net(options):
    assert resolved(*options.split()).preset == "default"


@pytest.mark.parametrize(
    "options",
    [
        "--preset none",
        "--hidden 8",
        "--activation tanh",
        "--normalization batch",
        "--residual",
        "--scaling robust",
        "--scaling standard",
        "--optimizer sgd",
        "--optimizer lbfgs",
        "--lr 0.01",
        "--schedule constant",
        "--warmup 0.1",
        "--weight-decay 0",
        "--clip-norm 1",
    ],
)
def test_there_is_no_preset_if_an_option_describes_a_net_or_its_updates(options):
    assert resolved(*options.split()).preset is None


@pytest.mark.parametrize(
    ("options", "scaling"),
    [
        ("", "robust"),
        ("--preset fast", "robust"),
        ("--preset fast --scaling robust", "robust"),
        ("--preset none", "standard"),
        ("--hidden 8", "standard"),
        ("--preset none --scaling robust", "robust"),
    ],
)
def test_the_scaling_that_is_used(options, scaling):
    assert resolved(*options.split()).net.scaling == scaling


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimizer sgd", "--preset best: expected --optimizer adam or adamw, got --optimizer sgd"),
        ("--residual", "expected no --normalization and no --residual, got --residual"),
        ("--normalization layer", "expected no --normalization and no --residual, got --normalization layer"),
        ("--scaling standard", "expected --scaling robust, got --scaling standard"),
    ],
)
def test_what_the_net_of_a_preset_cannot_have_is_refused(options, message):
    with pytest.raises(OptionError, match=message) as refused:
        resolved("--preset", "best", *options.split())
    assert refused.value.hint == "--preset none for a net of your own"


@pytest.mark.parametrize(
    ("options", "valid"),
    [
        ("", 0.0),
        ("--preset best", 0.0),
        ("--preset none", 0.2),
        ("--hidden 8", 0.2),
        ("--patience 3", 0.2),
        ("--metrics roc_auc", 0.2),
        ("--monitor valid_accuracy", 0.2),
        ("--valid 0.3", 0.3),
        ("--valid 0 --preset none", 0.0),
    ],
)
def test_rows_are_held_out_for_a_plain_net_and_for_options_about_them(options, valid):
    assert resolved(*options.split()).data.valid == valid
