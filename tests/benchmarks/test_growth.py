"""Curves of growth: the exponent, the table of a curve, its picture."""

from __future__ import annotations

import json
import math
import sys
from xml.etree import ElementTree

import pytest


def test_the_exponent_of_growth_is_the_slope_of_the_logarithms():
    from growth import exponent

    assert exponent([10, 100, 1000], [0.3, 3, 30]) == pytest.approx(1)
    assert exponent([10, 100, 1000], [1, 100, 10_000]) == pytest.approx(2)
    assert math.isnan(exponent([10], [1]))


def test_a_curve_is_measured_in_processes_of_its_own(tmp_path, monkeypatch, capsys):
    import growth

    arguments = ["read_csv", "--scale", "0.001", "--rounds", "1", "--folder", str(tmp_path / "files")]
    outputs = {kind: tmp_path / f"growth.{kind}" for kind in ("json", "svg")}
    arguments += [part for kind, path in outputs.items() for part in (f"--{kind}", str(path))]
    monkeypatch.setattr(sys, "argv", ["growth.py", *arguments])
    growth.main()
    found = json.loads(outputs["json"].read_text())["curves"]["read_csv"]["now"]
    assert [point["size"] for point in found["points"]] == [10, 100, 1000]
    assert all(point["seconds"] > 0 for point in found["points"])
    assert f"{found['exponent']:.2f}" in capsys.readouterr().out
    words = [text.text for text in ElementTree.fromstring(outputs["svg"].read_text()).iter() if text.text]
    assert any("read_csv: n^" in word for word in words)
    assert "1000" in words


@pytest.mark.parametrize("name", ["evaluate_classes", "predict_to_csv"])
def test_curves_of_many_classes_do_their_work(name, tmp_path, monkeypatch, capsys):
    import growth_curves

    monkeypatch.setattr(growth_curves, "EVALUATED", 50)
    work = growth_curves.CURVES[name].prepare(30, tmp_path)
    assert work() == 0
    said = capsys.readouterr()
    assert ("accuracy" in said.out) if name == "evaluate_classes" else ("1 predictions" in said.err)


def test_an_unknown_curve_is_refused(monkeypatch, capsys):
    import growth

    monkeypatch.setattr(sys, "argv", ["growth.py", "read_cvs"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "got read_cvs" in capsys.readouterr().err


def test_lines_are_drawn_with_their_labels_apart():
    from lines import LINE, Line, draw_lines

    svg = draw_lines("t", "n", "size", "s", [Line("a", [(1, 1), (10, 10)]), Line("b & c", [(1, 2), (10, 10)], False)])
    texts = {text.text: float(text.get("y")) for text in ElementTree.fromstring(svg).iter() if text.get("y")}
    assert abs(texts["a"] - texts["b & c"]) >= LINE
