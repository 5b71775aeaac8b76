"""One of each kind of what must not change a fit, and that the campaign sees a fit that is another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("polars", reason="Polars is not installed")

from campaigns import invariances, problems


@pytest.mark.parametrize(("kind", "invariant"), invariances.ALL, ids=[f.__name__ for _, f in invariances.ALL])
def test_fit_is_the_same(kind, invariant, tmp_path):
    first = invariances.ALL.index((kind, invariant))
    counts, findings = invariances.run([first], tmp_path)
    assert findings == {}
    assert counts[kind] == 1


@pytest.mark.parametrize("loss", problems.LOSSES)
def test_another_fit_is_seen_for_every_loss(loss):
    """One row weighs a tenth more."""
    problem = problems.draw(np.random.default_rng(0), (loss,), eval_set=0.0)
    problem = problem.with_options(max_iter=5, hidden_layer_sizes=(4,), solver="adam", shrink=False)
    weights = np.ones(len(problem.y))
    said = problems.say(problem.but(weights=weights))
    weights[0] = 1.1
    other = problems.say(problem.but(weights=weights))
    assert problems.difference(said, said, unit=problem.deviation) is None
    found = problems.difference(said, other, unit=problem.deviation)
    assert "loss off by" in found
    assert ("predict_proba off by" if problem.is_of_classes else "predict off by") in found


@pytest.mark.parametrize(
    ("change", "words"),
    [({"factor": 0.5}, "factor"), ({"best": 3}, "best epoch"), ({"messages": ("It did not converge.",)}, "messages")],
)
def test_what_a_fit_says_besides_is_compared(change, words):
    said = problems.Said({"predict": np.ones(3)}, {"loss": [1.0]}, 1.0, 2, ())
    assert words in problems.difference(said, replace(said, **change))


def test_numbers_are_compared_in_units_of_the_target():
    said = problems.Said({"predict": np.array([1e-30, 2e-30])}, {}, None, None, ())
    other = problems.Said({"predict": np.array([1e-30, 2.1e-30])}, {}, None, None, ())
    assert problems.difference(said, other) is None
    assert "predict off by 5.0e-02" in problems.difference(said, other, unit=1e-30)
