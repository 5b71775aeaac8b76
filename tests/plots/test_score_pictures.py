"""Pictures of scores: every count and every row is in them, whatever the numbers are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from chainrule.plots.score_pictures import MOST_POINTS, draw_confusion, draw_predictions


def elements(picture: str, name: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(picture).iter() if e.tag.endswith(f"}}{name}")]


def test_confusion_matrix_shows_each_count_in_its_cell(rng):
    counts = np.array([[5, 0, 2], [0, 1234, 0], [1, 0, 0]])
    picture = draw_confusion(counts, ["a", "b", "c"])
    titles = [e[0].text for e in elements(picture, "path") if len(e)]
    assert titles == [
        "a as a: 5 (71.4% of its rows)",
        "a as c: 2 (28.6% of its rows)",
        "b as b: 1,234 (100.0% of its rows)",
        "c as a: 1 (100.0% of its rows)",
    ]
    cells = [re.findall(r"M([\d.]+) ([\d.]+)h", e.get("d"))[0] for e in elements(picture, "path") if len(e)]
    x, y = (np.unique([float(cell[i]) for cell in cells]) for i in (0, 1))
    placed = [(int(np.searchsorted(y, float(b))), int(np.searchsorted(x, float(a)))) for a, b in cells]
    assert placed == [(0, 0), (0, 2), (1, 1), (2, 0)], "true classes go down, predicted ones across"


def dots(picture: str) -> np.ndarray:
    (path,) = [e for e in elements(picture, "path") if e.get("class") == "dots"]
    return np.array(re.findall(r"M([\d.-]+) ([\d.-]+)h0", path.get("d")), float)


def test_predictions_plot_has_right_ones_on_the_line_and_high_ones_above():
    y = np.array([-2.0, 0.0, 7.0])
    picture = draw_predictions(y, np.array([-2.0, 0.0, 8.0]))
    at = dots(picture)
    line = [e for e in elements(picture, "path") if e.get("class") == "best"]
    (x0, y0), (x1, y1) = [tuple(map(float, p.split())) for p in re.findall(r"[\d.]+ [\d.]+", line[0].get("d"))]
    on_line = y0 + (at[:, 0] - x0) * (y1 - y0) / (x1 - x0)
    assert abs(at[:2, 1] - on_line[:2]).max() < 0.2
    assert at[2, 1] < on_line[2] - 5, "upwards is less y"
    assert (np.diff(at[:, 0]) > 0).all()


def test_predictions_plot_of_many_rows_is_binned_and_small(rng):
    y = rng.normal(size=50_000)
    picture = draw_predictions(y, y + rng.normal(size=50_000) / 3)
    assert "50,000 rows, counted in squares: darker is more" in picture
    assert len(picture) < 400_000
    assert not [e for e in elements(picture, "path") if e.get("class") == "dots"]
    assert "squares" not in draw_predictions(y[:MOST_POINTS], y[:MOST_POINTS])


@pytest.mark.parametrize(
    "y", [[0.0], [1e300, -1e300], [3.0, 3.0], [1e-320, 2e-320], [np.inf, 1.0], [np.nan, np.nan], [5e17, 5e17 + 64]]
)
def test_predictions_plot_counts_nan_inf_and_huge_numbers_as_left_out(y):
    y = np.array(y)
    picture = draw_predictions(y, y)
    assert "nan" not in picture
    assert "inf" not in picture
    out = int((~np.isfinite(y) | (abs(y) >= 1e300)).sum())
    assert len(dots(picture)) == len(y) - out
    assert (f"{out} beyond the picture left out" in picture) == bool(out)


def test_predictions_plot_has_a_panel_per_column(rng):
    y = rng.normal(size=(20, 11))
    picture = draw_predictions(y, y, [f"t{j}" for j in range(11)])
    titles = [e.text for e in elements(picture, "text") if e.get("class") == "title"]
    assert titles == [*(f"t{j}" for j in range(8)), "t8 (and 2 more)"]
