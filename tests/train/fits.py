"""Nets for the tasks of conftest, and what is compared of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.nn.evaluation import Evaluator


def make_net(task: Any, backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP(task.widths, **({"loss": task.loss, "backend": backend, "seed": 2} | options))


def weights(net: cr.Network) -> dict[str, list]:
    return {name: value.tolist() for name, value in net.parameter_arena.download().items()}


def evaluate(net: cr.Network, rows: tuple[np.ndarray, ...]) -> dict[str, float]:
    return Evaluator(net, net.upload_rows(*rows))()
