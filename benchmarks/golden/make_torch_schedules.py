"""Write the numbers that ``tests/optim/test_torch_schedules.py`` compares with: PyTorch's own, as hex floats.

    python benchmarks/golden/make_torch_schedules.py        # needs torch, not chainrule

A run of ``total`` updates each; of Plateau, one rate per epoch and the metric that it monitored. Names and options are
chainrule's; the calls say what PyTorch calls them.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.optim import lr_scheduler

TARGET = Path(__file__).parents[2] / "tests" / "optim" / "torch_schedules.json"
LR = 0.3
METRIC = [5, 4, 4.5, 4.2, 4.1, 3.95, 4, 4, 4, 4, 3.94, 3, 3, 3, 3, 3, 3, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]


def a_run(make: Any, total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    schedule, rates = make(optimizer), []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def of_one_cycle(total: int, warmup: float, start_factor: float, end_factor: float) -> list[float]:
    """PyTorch's own number of steps; it refuses to be stepped once more, so the last rate is read, then no step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    schedule = lr_scheduler.OneCycleLR(
        optimizer,
        LR,
        total_steps=total,
        pct_start=warmup,
        div_factor=start_factor,
        final_div_factor=end_factor,
        cycle_momentum=False,
    )
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def of_plateau(**options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    schedule = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=options["factor"],
        patience=options["patience"] - 1,
        threshold=options["min_delta"],
        threshold_mode="abs",
        min_lr=options["lowest"],
        eps=0,
    )
    rates = []
    for value in METRIC:
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step(value)
    return rates


def main() -> None:
    cases: list[dict[str, Any]] = []

    def case(kind: str, options: dict[str, Any], rates: list[float], **more: Any) -> None:
        cases.append({"kind": kind, "options": options, "rates": [rate.hex() for rate in rates], **more})

    for total, warmup, start_factor, end_factor in [(50, 0.3, 25.0, 1e4), (37, 0.1, 10.0, 100.0), (8, 0.5, 2.0, 1.0)]:
        options = {"warmup": warmup, "start_factor": start_factor, "end_factor": end_factor}
        case("OneCycle", options, of_one_cycle(total, **options))
    for total, factor, at in [(40, 0.1, (0.5, 0.75)), (9, 0.5, (1 / 3, 2 / 3)), (10, 0.3, (0.7,))]:
        milestones = [round(p * total) for p in at]
        rates = a_run(lambda o, m=milestones, f=factor: lr_scheduler.MultiStepLR(o, m, gamma=f), total)
        case("Step", {"factor": factor, "at": list(at)}, rates)
    for total, factor in [(40, 0.01), (7, 0.5)]:
        rates = a_run(lambda o, g=factor ** (1 / total): lr_scheduler.ExponentialLR(o, gamma=g), total)
        case("Exponential", {"factor": factor}, rates)
    for factor, patience, min_delta, lowest in [(0.1, 3, 0.0, 0.0), (0.5, 2, 0.02, 0.05), (0.3, 1, 0.0, 1e-3)]:
        options = {"factor": factor, "patience": patience, "min_delta": min_delta, "lowest": lowest}
        case("Plateau", options, of_plateau(**options), metric=METRIC)
    TARGET.write_text(json.dumps({"lr": LR, "cases": cases}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
