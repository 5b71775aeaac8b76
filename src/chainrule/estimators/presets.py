"""Which preset a fit has if the user chose none, and what contradicts one that was chosen."""

from __future__ import annotations

from typing import get_args

import numpy as np

from chainrule.errors import OptionError
from chainrule.estimators.parameters import Parameters
from chainrule.options import one_of
from chainrule.plain_text import show
from chainrule.train.recipe import Preset, is_auto

# What a preset would choose: parameters that describe another net, or another training, are for a plain net. (Those
# that a preset takes as they are, such as max_iter, batch_size, dropout or n_members, do not describe one.)
LEFT_TO_A_PRESET = {
    "activation": "auto",
    "alpha": "auto",
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-8,
    "hidden_layer_sizes": "auto",
    "learning_rate": "cosine",
    "learning_rate_init": "auto",
    "normalization": None,
    "solver": "adam",
    "standardize": True,
    "warm_start": False,
    "weight_decay": "auto",
}
CANNOT_BE_OTHERS = ("solver", "normalization", "standardize", "beta_2")  # in the net, and the training, of a preset


def preset_of(parameters: Parameters, *, one_epoch: bool) -> Preset | None:
    """The preset of a first fit; None for a plain net.

    "auto" is "default" unless the parameters describe a net or a training of the user's own, or the fit is one of
    several that train the same net: a ``partial_fit`` (``one_epoch``), or a warm start.
    """
    preset = parameters.preset
    if preset is None:
        return None
    if str(preset) == "none":
        raise OptionError("preset: expected None for a plain net, got 'none'", hint="preset=None")
    if not is_auto(preset):
        one_of("preset", preset, (*get_args(Preset), "auto"))
        return preset  # type: ignore[return-value]
    is_plain = one_epoch or any(not _equal(getattr(parameters, name), left) for name, left in LEFT_TO_A_PRESET.items())
    return None if is_plain else "default"


def refuse_what_contradicts(preset: Preset, parameters: Parameters) -> None:
    """OptionError for what the net and the training of a preset cannot have, rather than ignoring it."""
    for name in CANNOT_BE_OTHERS:
        given, expected = getattr(parameters, name), LEFT_TO_A_PRESET[name]
        if not _equal(given, expected):
            raise OptionError(
                f"{name}: expected {expected!r} with preset={preset!r}, got {show(given)}",
                hint="preset=None for a net of your own",
            )


def _equal(value: object, default: object) -> bool:
    """Whether a parameter was left at its default; values are arrays, lists, or numbers of other libraries too."""
    return value is default or (isinstance(value, bool | np.bool_ | int | float | str) and bool(value == default))
