"""Training curves of any length: as few points as a picture shows, and the same picture."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from chainrule.plots import curves
from chainrule.plots.curves import Curve, draw_curves


def lines(picture: str) -> list[list[tuple[float, float]]]:
    """The points of each curve."""
    paths = re.findall(r'stroke-linejoin="round" d="M([^"]*)"', picture)
    return [[tuple(map(float, point.split())) for point in path.split("L")] for path in paths]


def covered(points: list[tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Between which heights a line runs in each column of pixels, its ways into the columns beside included."""
    found: dict[int, list[float]] = {}
    for (x, y), (right, to) in itertools.pairwise(points):
        for column in {int(x), int(right)}:
            found.setdefault(column, []).extend((y, to))
    return {column: (min(heights), max(heights)) for column, heights in found.items()}


@pytest.mark.parametrize("epochs", [3_000, 40_000])
def test_curves_of_many_epochs_cover_the_same_pixels_with_few_points(rng, monkeypatch, epochs):
    values = np.exp(-np.arange(epochs) / epochs * 5) + 0.05 * rng.random(epochs)
    values[epochs // 3] = 4.0
    values[epochs // 2 : epochs // 2 + 50] = np.nan
    values[epochs // 4] = np.inf
    panels = [("loss", [Curve("train", values.tolist())])]
    thinned = draw_curves(panels)
    monkeypatch.setattr(curves, "PER_PIXEL", math.inf)
    whole = draw_curves(panels)
    (few,), (all_points,) = lines(thinned), lines(whole)
    assert len(all_points) == epochs - 51
    assert len(few) <= 4 * 377
    assert len(thinned) < 24_000
    assert set(few) <= set(all_points)
    assert (few[0], few[-1]) == (all_points[0], all_points[-1])
    assert covered(few) == covered(all_points)


def test_curves_of_a_few_hundred_epochs_have_every_point(rng):
    (points,) = lines(draw_curves([("loss", [Curve("train", rng.random(900).tolist())])]))
    assert len(points) == 900
