"""Busy processes: when they compute, that they end, and what of the machine counts as other work."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_numbers_of_busy_processes():
    from compare_cpu import busy_counts

    assert (busy_counts("1"), busy_counts("0,1"), busy_counts("0,2,2")) == ([1], [0, 1], [0, 2])
    for text in ("", "a", "0,", "-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected numbers of busy processes"):
            busy_counts(text)


def test_each_load_is_measured_in_each_round_among_its_processes(monkeypatch):
    """The order of turns, with workers that answer at once, and which processes are busy in each."""
    import compare_cpu

    turns = []

    class Worker:
        def __init__(self, name, *_):
            self.name = name

        def ask(self, do, **_):
            return {"seconds": 1.0} if do == "run" else {"losses": [1.0]}

        def close(self):
            pass

    def turn(worker, busy, *_, **__):
        turns.append((worker.name, busy.count, len(busy.processes)))
        return {"seconds": 2.0 if busy.count else 1.0, "disturbed": False}

    monkeypatch.setattr(compare_cpu, "Process", Worker)
    monkeypatch.setattr(compare_cpu, "turn", turn)
    monkeypatch.setattr(compare_cpu, "await_quiet", lambda **_: None)
    case = compare_cpu.Case((2, 1), 4, "squared_error", 10)
    found = compare_cpu.measure(case, ["chainrule", "torch"], 2, 1.0, None, (), [0, 1])["peers"]
    one_round = [("chainrule", 0, 0), ("torch", 0, 0), ("chainrule", 1, 1), ("torch", 1, 1)]
    assert turns == one_round * 2
    assert found["torch"]["median"] == 1e5
    assert found["torch"]["busy"]["1"]["median"] == 2e5
    assert found["torch"]["busy"]["1"]["rounds"] == [2e5, 2e5]


def test_variables_that_override_threads_or_kernels_are_set_aside():
    from processes import overriding

    kept = {"PATH": "/bin", "CHAINRULE_COMPILED": "1", "JAX_PLATFORMS": "cpu"}
    overridden = {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_THREAD_TIMEOUT": "4", "OMP_NUM_THREADS": "1"}
    assert overriding({**kept, **overridden}) == overridden


def test_other_work_is_neither_ours_nor_that_of_busy_processes(monkeypatch):
    import processes

    class Busy:
        def __init__(self):
            self.had = 5.0

        def seconds(self):
            return self.had

    readings = iter([(100.0, 1000.0), (110.0, 1020.0), (110.0, 1020.0)])
    monkeypatch.setattr(processes, "_used_and_all", lambda: next(readings))
    busy = Busy()
    watch = processes.Watch(busy)
    busy.had = 11.0  # 6 of the 10 seconds; QUIET allows 2 of 20 to others
    assert watch.disturbed(own_seconds=1.0)
    assert not watch.disturbed(own_seconds=3.0)


def ended(pid):
    """Whether the process is no more, or soon: half a minute is for a machine that is busy itself."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # dead, and not yet collected by whoever inherited it
            return True
        time.sleep(0.05)
    return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc, which Linux has")


@needs_proc
def test_busy_processes_compute_until_the_block_ends_however_it_ends():
    from busy import BusyProcesses

    pids = []

    def measurement():
        with BusyProcesses(2) as busy:
            pids.extend(process.pid for process in busy.processes)
            deadline = time.monotonic() + 30
            while busy.seconds() < 0.05 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert busy.seconds() >= 0.05
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measurement()
    assert len(pids) == 2
    assert all(ended(pid) for pid in pids)


@needs_proc
def test_busy_processes_do_not_outlive_a_benchmark_that_is_killed(benchmarks):
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from busy import BusyProcesses\n"
        "with BusyProcesses(1) as busy: print(busy.processes[0].pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(benchmarks)], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    gone = ended(pid)
    if not gone:
        os.kill(pid, signal.SIGKILL)
    assert gone


def test_a_busy_process_that_ends_early_spoils_the_measurement():
    from busy import BusyProcesses

    def measurement():
        with BusyProcesses(1) as busy:
            busy.processes[0].kill()
            busy.processes[0].wait()

    with pytest.raises(RuntimeError, match="not as busy as said"):
        measurement()
