"""The model axis of each method: which of its arrays have an entry for each member of an ensemble.

The rules: :mod:`~chainrule.backends.contract.backend`, "Model axis". What is not listed acts element by element.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

# {method: {argument: its dimensions for one net}}.
RANKS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "matmul": {"a": 2, "b": 2, "out": 2},
        "dense": {"x": 2, "W": 2, "b": 1, "z": 2, "y": 2, "signs": 2},
        "scaled_dense": {"x": 2, "scale": 1, "W": 2, "b": 1, "z": 2, "y": 2},
        "scaled_dense_backward": {"x": 2, "scale": 1, "W": 2, "dz": 2, "dW": 2, "dscale": 1, "dx": 2},
        "activation_backward": {"saved": 2, "dy": 2, "dz": 2, "db": 1},
        "matmul_activation_backward": {"dz": 2, "W": 2, "saved": 2, "out": 2, "db": 1, "signs": 2},
        "layer_norm": {"x": 2, "gain": 1, "bias": 1, "mean": 1, "inverse_std": 1, "y": 2},
        "layer_norm_backward": {
            "dy": 2, "x": 2, "gain": 1, "mean": 1, "inverse_std": 1, "dx": 2, "dgain": 1, "dbias": 1,
        },
        "batch_norm": {
            "x": 2, "gain": 1, "bias": 1, "mean": 1, "inverse_std": 1, "running_mean": 1, "running_var": 1, "y": 2,
        },
        "batch_norm_inference": {"x": 2, "gain": 1, "bias": 1, "mean": 1, "var": 1, "y": 2},
        "batch_norm_backward": {
            "dy": 2, "x": 2, "gain": 1, "mean": 1, "inverse_std": 1, "dx": 2, "dgain": 1, "dbias": 1,
        },
        "join_columns": {"left": 2, "right": 2, "out": 2},
        "take_columns": {"source": 2, "out": 2},
        "add_columns": {"source": 2, "out": 2},
        "scale_columns": {"x": 2, "scale": 1, "out": 2},
        "scale_columns_backward": {"dy": 2, "x": 2, "scale": 1, "dx": 2, "dscale": 1},
        "piecewise_linear": {"x": 2, "y": 2},
        "piecewise_linear_backward": {"dy": 2, "y": 2, "dx": 2},
        "encoded_dense": {"x": 2, "scale": 1, "W": 2, "b": 1, "z": 2, "y": 2, "piece": 2, "fraction": 2},
        "encoded_dense_backward": {
            "x": 2, "scale": 1, "W": 2, "dz": 2, "piece": 2, "fraction": 2, "dW": 2, "dscale": 1, "dx": 2,
        },
        "embed": {"x": 2, "tables": 1, "means": 1, "codes": 2, "y": 2},
        "embed_backward": {"dy": 2, "codes": 2, "touched": 1, "dtables": 1},
        "embed_means": {"tables": 1, "means": 1},
        "sgd": {"params": 1, "grads": 1, "velocity": 1, "touched": 1, "factors": 1},
        "adam": {"params": 1, "grads": 1, "m": 1, "v": 1, "touched": 1, "factors": 1},
        "clip_by_global_norm": {"grads": 1},
        "penalize": {"params": 1, "grads": 1, "totals": 2},
        "accumulate": {"grads": 1, "totals": 2, "out": 1},
        "dropout": {"x": 2, "out": 2},
    }
)  # fmt: skip # a table


def over_members(kernel: Callable[..., None]) -> Callable[..., None]:
    """``kernel``, which is written for one net, and does the same for each member if arrays have the model axis."""
    ranks = RANKS[kernel.__name__]
    parameters = list(inspect.signature(kernel).parameters.values())[1:]
    positional = [ranks.get(parameter.name) for parameter in parameters]
    # What is read may be shared, what is written has an entry for each member: the last that stands behind the `*`, as
    # one before it or one with a default may be None. A kernel that has none updates its first array.
    written = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name in ranks]
    last = written[-1] if written else ""
    rank = ranks[last] if written else positional[0]

    @functools.wraps(kernel)
    def call(self: Any, *args: Any, **options: Any) -> None:
        has_all = options[last] if last else args[0]
        if has_all.ndim == rank:
            kernel(self, *args, **options)
            return
        for j in range(len(has_all)):
            of_member = (_entry(value, of_one, j) for value, of_one in zip(args, positional, strict=False))
            kernel(self, *of_member, **{name: _entry(value, ranks.get(name), j) for name, value in options.items()})

    return call


def losses_over_members(loss: Callable[..., None]) -> Callable[..., None]:
    """``loss``, a kernel whose first argument is a LossBatch, for each member if that has the model axis."""

    @functools.wraps(loss)
    def call(self: Any, batch: Any, *args: Any, **options: Any) -> None:
        if batch.logits.ndim == 2:
            loss(self, batch, *args, **options)
            return
        for member in batch.members():
            loss(self, member, *args, **options)

    return call


def _entry(value: Any, rank: int | None, j: int) -> Any:
    """That of member ``j``; the value itself if it is shared, or no array of a member."""
    return value if rank is None or value is None or value.ndim == rank else value[j]
