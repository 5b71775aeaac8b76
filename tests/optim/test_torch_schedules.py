"""Schedules over whole runs against PyTorch's own, in float64.

The numbers were written once by ``benchmarks/golden/make_torch_schedules.py``; PyTorch is not needed here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.rates import RatesOfRun

GOLDEN = json.loads((Path(__file__).parent / "torch_schedules.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['kind']} {c['options']}")
def test_rates(case: dict[str, Any]) -> None:
    schedule = getattr(cr, case["kind"])(GOLDEN["lr"], **case["options"])
    want = [float.fromhex(rate) for rate in case["rates"]]
    if "metric" not in case:
        got = schedule.rates(0, len(want), len(want)).tolist()
    else:  # two updates an epoch
        rates, got = RatesOfRun(schedule, ["loss"]), []
        for epoch, value in enumerate(case["metric"]):
            first, second = rates.rates(2 * epoch, 2, 2 * len(want))
            assert first == second
            got.append(first)
            rates.end_epoch(epoch + 1, {"loss": value})
    np.testing.assert_allclose(got, want, rtol=1e-12)
