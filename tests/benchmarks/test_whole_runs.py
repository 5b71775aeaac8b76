"""Figures of whole fits and whole commands: parallel_fits.py and shared_machine.py."""

from __future__ import annotations

import pytest


def test_fits_at_once_are_compared_with_the_same_in_series():
    from parallel_fits import line
    from parallel_fits import summary as of_fits

    def answers(*seconds, loss=1.0):
        return [{"seconds": one, "losses": [1.0, loss], "disturbed": False} for one in seconds]

    found = of_fits({"series": answers(2.0, 4.0, 3.0), "at_once": answers(3.0, 6.0, 9.0)})
    assert (found["series"]["median"], found["at_once"]["median"], found["ratio"]) == (3, 6, 2)
    assert "above 1.1; the same losses" in line("S", "chainrule", found)
    found = of_fits({"series": answers(2.0), "at_once": answers(2.2, loss=1.5)})
    assert found["loss_difference"] == 0.5
    said = line("S", "chainrule", found)
    assert "losses differ by 5.0e-01" in said
    assert "above" not in said
    assert "absent: no numba" in line("S", "chainrule", {"absent": "no numba"})


@pytest.mark.parametrize(("busy", "cores", "factor"), [(4, 2, 2.5), (1, 2, 1.0), (2, 2, 1.5), (4, 8, 1.0), (1, 1, 2.0)])
def test_the_fair_share_of_a_machine(busy, cores, factor):
    from shared_machine import fair_factor

    assert fair_factor(busy, cores) == factor


def test_the_command_beside_busy_processes_is_compared_with_its_fair_share():
    from shared_machine import compare
    from shared_machine import summary as of_runs

    def runs(*seconds, stopped=0):
        answers = [{"seconds": s, "cpu_seconds": s, "stopped": False, "disturbed": False} for s in seconds]
        return of_runs([answer | {"stopped": i < stopped} for i, answer in enumerate(answers)])

    found = compare(runs(10.0, 12.0, 8.0), runs(50.0, 60.0, 40.0), 4, 2)
    assert (found["slowdown"], found["fair_factor"], found["ratio"], found["lower_bound"]) == (5, 2.5, 2, False)
    assert compare(runs(10.0), runs(50.0, stopped=1), 4, 2)["lower_bound"]
    assert compare(runs(10.0), runs(60.0, 60.0, 40.0, stopped=2), 4, 2)["lower_bound"]
    assert not compare(runs(10.0), runs(60.0, 50.0, 40.0, stopped=1), 4, 2)["lower_bound"]  # the median ended


def test_the_generated_table_is_one_that_the_command_can_read(tmp_path):
    from shared_machine import write_table

    import chainrule as cr

    write_table(tmp_path / "table.csv", 50)
    table = cr.read_table(tmp_path / "table.csv", target="y")
    assert len(table) == 50
    again = tmp_path / "again.csv"
    write_table(again, 50)
    assert again.read_bytes() == (tmp_path / "table.csv").read_bytes()
