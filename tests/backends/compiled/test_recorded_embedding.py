"""Embedding as compiled loops: NumPy's bits, called and recorded, of one net and of several."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.contract.arrays import CodeTable, EmbeddingPlan, Run
from replays import Arguments, Draw, apart, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

# Between the tables in their flat array, and before and behind them, is other memory.
PLANS = {
    "a table of one vector": EmbeddingPlan((), (CodeTable(0, 1, 1, 2, 0),)),
    "numbers alone": EmbeddingPlan((Run(0, 3, 0),), ()),
    "numbers between": EmbeddingPlan(
        (Run(0, 2, 0), Run(3, 4, 2)),
        (CodeTable(2, 5, 3, 1, 3), CodeTable(4, 130, 9, 20, 6), CodeTable(5, 2, 1, 1191, 15)),
    ),
}
ROWS = [1, 2, 9, 130, 1001]
MEMBERS = pytest.mark.parametrize("members", [(), (3,)], ids=["one net", "3 members"])
CASES = pytest.mark.parametrize("case", PLANS)
SIZE = 1200  # of all tables


def codes_of(of: Draw, n: int, plan: EmbeddingPlan, more: int) -> np.ndarray:
    drawn = [of.integers(table.rows + more, *of.members, n) for table in plan.tables]
    return np.stack([*drawn, np.zeros((*of.members, n))], axis=-1)[..., : len(drawn)].astype(np.int32)


def width_of(plan: EmbeddingPlan) -> int:
    return plan.plain + sum(table.width for table in plan.tables)


def embed(of: Draw, n: int, case: str, x_of: str, has_means: bool) -> Arguments:
    plan = PLANS[case]
    drawn = codes_of(of, n, plan, int(has_means))
    x = of.shared(n, 6) if x_of == "all" else of(n, 6)
    for t, table in enumerate(plan.tables):
        x[..., table.column] = drawn[..., t] if x_of == "each" else drawn.reshape(-1, n, drawn.shape[-1])[0, :, t]
    means, codes = of(width_of(plan)) if has_means else None, np.zeros_like(drawn)
    return {"x": x, "tables": of(SIZE), "means": means, "plan": plan, "codes": codes, "y": of(n, width_of(plan))}


def gradient(of: Draw, n: int, case: str) -> Arguments:
    plan = PLANS[case]
    vectors = sum(table.rows for table in plan.tables)
    touched = apart(np.ones((*of.members, vectors), np.float32)) if of.members else np.ones(vectors, np.float32)
    return {
        "dy": of(n, width_of(plan)),
        "codes": codes_of(of, n, plan, 0),
        "plan": plan,
        "touched": touched,
        "dtables": of(SIZE),
    }


def means(of: Draw, case: str) -> Arguments:
    plan = PLANS[case]
    shares = of.shared(sum(table.rows for table in plan.tables))
    return {"tables": of(SIZE), "shares": shares, "plan": plan, "means": of(width_of(plan))}


@MEMBERS
@CASES
def test_embedding(members, dtype, case):
    for n in ROWS:
        for x_of in ("each", "all"):
            for has_means in (False, True):
                check_kernel("embed", embed, members, dtype, n, case, x_of, has_means)
        check_kernel("embed_backward", gradient, members, dtype, n, case)
    check_kernel("embed_means", means, members, dtype, case)
