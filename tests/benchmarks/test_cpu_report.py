"""The tables and the picture of compare_cpu.py, from figures of an idle machine, of a busy one and of both."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

RESULTS = (
    Path(__file__).parents[2] / "benchmarks" / "results"
)  # the first were written before there were busy processes


def summary(median):
    return {"unit": "us", "median": median, "least": median, "most": median, "rounds": [median], "disturbed": 0}


def workload(*, idle=True, busy=True):
    """chainrule at 10 and 20 us, a peer at 30 and 30, the products at 5 and 5, and one that is not installed."""
    about = {"peak_mib": 1.0, "ready_s": 1.0, "loss_difference": 0.0}
    peers = {}
    for name, (alone, beside) in {"chainrule": (10, 20), "torch": (30, 30), "gemm": (5, 5)}.items():
        peers[name] = {
            **about,
            **(summary(alone) if idle else {}),
            **({"busy": {"1": summary(beside)}} if busy else {}),
        }
    peers["thinc"] = {"absent": "thinc is not installed"}
    return {"case": {"widths": [2, 3], "batch": 4, "loss": "squared_error", "steps": 5}, "steps": 5, "peers": peers}


def drawn(svg):
    """The words of a picture; it must be well-formed."""
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_load_has_its_own_figures_and_the_facts_of_the_process():
    from cpu_report import at_load

    found = workload()["peers"]
    assert at_load(found, 0)["chainrule"]["median"] == 10
    beside = at_load(found, 1)["chainrule"]
    assert (beside["median"], beside["rounds"], beside["peak_mib"]) == (20, [20], 1.0)
    assert at_load(found, 1)["thinc"]["absent"]
    assert "median" not in at_load(found, 2)["chainrule"]  # not the idle figure


def test_ratios_are_to_chainrule_at_the_same_load():
    from cpu_report import at_load, ratios, slowdown

    found = workload()["peers"]
    assert ratios(at_load(found, 0)) == {"chainrule": 1, "torch": 3, "gemm": 0.5}
    assert ratios(at_load(found, 1)) == {"chainrule": 1, "torch": 1.5, "gemm": 0.25}
    assert ratios(at_load(found, 1), others=True) == {"torch": 1.5}
    assert slowdown(found["chainrule"], 1) == 2
    assert slowdown(found["thinc"], 1) is None
    assert slowdown(workload(busy=False)["peers"]["chainrule"], 1) is None


def test_the_picture_has_a_group_of_bars_for_each_load():
    from cpu_report import picture

    texts = drawn(picture({"T": workload()}, [0, 1]))
    titles = [text for text in texts if text.startswith("T ")]
    assert titles == ["T  2-3, batch 4, idle", "T  2-3, batch 4, busy: 1 other process computing"]
    idle, busy = texts[: texts.index(titles[1])], texts[texts.index(titles[1]) :]
    assert "3.00" in idle
    assert "1.50" not in idle
    assert ("1.50" in busy, "0.25" in busy, "3.00" in busy) == (True, True, False)


def test_the_picture_of_an_idle_machine_says_nothing_of_loads():
    from cpu_report import picture

    texts = drawn(picture({"T": workload(busy=False)}))
    assert "T  2-3, batch 4" in texts
    assert not [text for text in texts if "idle" in text or "busy" in text]


@pytest.mark.parametrize("loads", [[0], [1], [0, 1]])
def test_tables_say_what_the_load_was(loads, capsys):
    from cpu_report import print_all, print_workload

    result = workload(idle=0 in loads, busy=1 in loads)
    for busy in loads:
        print_workload("T", result, busy)
    print_all({"T": result}, list(result["peers"]), loads)
    said = capsys.readouterr().out
    assert ("5 steps a round, idle\n" in said, "idle: microseconds" in said) == (0 in loads, 0 in loads)
    assert ("5 steps a round, busy: 1 other process computing\n" in said) == (1 in loads)
    assert ("30 (3.00)" in said, "30 (1.50)" in said) == (0 in loads, 1 in loads)
    assert "thinc is not installed" in said
    assert ("time on the idle machine" in said) == (len(loads) == 2)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*-cpu*.json")), ids=lambda path: path.name)
def test_every_stored_result_is_read(path, tmp_path, monkeypatch, capsys):
    import cpu_report

    monkeypatch.setattr(sys, "argv", ["cpu_report.py", str(path), "--svg", str(tmp_path / "cpu.svg")])
    cpu_report.main()
    content = json.loads(path.read_text(encoding="utf-8"))
    said = capsys.readouterr().out
    for name in content["workloads"]:
        assert f"\n{name}  " in said
    groups = len(content["workloads"]) * len(content.get("busy", [0]))
    assert (tmp_path / "cpu.svg").read_text(encoding="utf-8").count('class="group"') == groups


def test_the_report_refuses_results_of_another_benchmark(tmp_path, monkeypatch, capsys):
    import cpu_report

    path = tmp_path / "steps.json"
    path.write_text('{"benchmark": "steps"}', encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["cpu_report.py", str(path)])
    with pytest.raises(SystemExit):
        cpu_report.main()
    assert "is a result of steps, not of compare_cpu" in capsys.readouterr().err
