"""Nets and trainers for tests of checkpoints: 40 rows, so 6 batches per epoch, the last one ragged."""

from __future__ import annotations

from typing import Any

import chainrule as cr


def make_net(task: Any, backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP(task.widths, loss=task.loss, seed=2, backend=backend, **options)


def weights(net: cr.Network) -> bytes:
    return net.backend.download(net.parameter_arena.flat).tobytes()


def trainer(net: cr.Network, **options: Any) -> cr.Trainer:
    return cr.Trainer(net, **{"optimizer": cr.Adam(0.01), "batch_size": 7, "epochs": 4, "seed": 5} | options)


def without_time(history: cr.History) -> dict[str, list[float]]:
    return {name: values for name, values in history.items() if name != "seconds"}
