"""Programs that write too much, do not end, leave others behind, or are not there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from gpu_check import running
from gpu_check.running import run


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_output_of_a_program_and_how_it_ended(tmp_path):
    ended = run(python("import os, sys; print(os.getcwd()); sys.exit('no device')"), 60, os.environ, folder=tmp_path)
    assert (ended.code, ended.stdout.split("\n")[:2]) == (1, [str(tmp_path), "no device"])
    assert ended.why == "exit 1"
    ended = run(python("import os; os.abort()"), 60, os.environ, apart=True)
    assert (ended.stdout, ended.why) == ("", "ended by SIGABRT")
    assert run(["/no/such/program"], 60, os.environ).code == 127


def test_of_a_long_output_the_beginning_and_the_end_are_kept():
    ended = run(python("print('first'); print('x' * 10_000_000); print('last')"), 60, os.environ)
    assert ended.stdout.startswith("first\n")
    assert ended.stdout.endswith("last\n")
    assert "bytes left out ..." in ended.stdout
    assert len(ended.stdout) < 1.1 * (running.HEAD + running.TAIL) * running.BLOCK


@pytest.mark.parametrize("ignores", [True, False])
def test_a_program_that_does_not_end_is_ended_with_what_it_started(monkeypatch, ignores):
    monkeypatch.setattr(running, "GRACE", 0.5)
    source = "import signal, subprocess, sys, time; "
    source += "signal.signal(signal.SIGTERM, signal.SIG_IGN); " * ignores
    source += "p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    ended = run(python(source), 1, os.environ)
    assert ended.timed_out
    assert ended.why.startswith("stopped after ")
    assert ended.seconds < 10
    deadline = time.monotonic() + 5
    while is_running(int(ended.stdout)):
        assert time.monotonic() < deadline, "its child is still there"
        time.sleep(0.05)


def test_what_a_program_leaves_behind_does_not_hold_the_answer_back():
    """A process of a session of its own keeps the pipe open."""
    source = "import subprocess; print(subprocess.Popen(['sleep', '30'], start_new_session=True).pid)"
    ended = run(python(source), 20, os.environ)
    os.kill(int(ended.stdout), 9)
    assert (ended.code, ended.timed_out) == (0, False)
    assert ended.seconds < 10


def test_an_interruption_ends_the_program(monkeypatch):
    """Ctrl-C comes while it is waited for."""
    wait, processes = running.subprocess.Popen.wait, []

    def interrupted(process, timeout=None):
        if process not in processes:
            processes.append(process)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(running.subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "60"], 60, os.environ)
    assert processes[0].returncode == -15
