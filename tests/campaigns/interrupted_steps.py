"""Ctrl-C in the midst of long steps: a fit of a big net, divided among threads, ends soon with all its threads.

A case is a process of its own that trains the net of the benchmarks' workload L, whose epoch takes seconds, and is
sent an INT at some moment. Then the fit has ended, its net can be used, and another fit runs.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from campaigns.tally import Tally

TITLE = "Ctrl-C in steps of 0.2 s"
CASES = 10

SECONDS = 5.0  # for an answer, at most: on an idle machine it takes a step, on a busy one several times as long
SCRIPT = """
import time, numpy as np, chainrule as cr
from chainrule.backends.compiled import backend as compiled
X = np.random.default_rng(0).normal(size=(20_500, 784)).astype(np.float32)
y = np.arange(len(X)) % 10
net = cr.MLP([784, 2048, 2048, 10], backend=compiled.loaded())
class Told(cr.Callback):
    def on_start(self, record):
        print("begun", flush=True)
run = cr.Trainer(net, batch_size=1024, epochs=1000, threads=2, callbacks=[Told()]).fit(X, y)
print(run.stopped, time.monotonic(), flush=True)
assert np.isfinite(net.predict_proba(X[:10])).all()
run = cr.Trainer(net, batch_size=1024, epochs=1, threads=2).fit(X[:2048], y[:2048])
print(run.stopped, flush=True)
"""


def outcome(number: int) -> str:
    """ "answered", or what went wrong."""
    rng = random.Random(f"interrupted {number}")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "begun\n":
            return f"it did not begin: exit code {process.wait()}"
        time.sleep(rng.uniform(1, 8))
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        rest, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        return "it hangs"
    finally:
        process.kill()
        process.wait()
    if process.returncode or rest.split()[::2] != ["interrupted", "completed"]:
        return f"exit code {process.returncode}: {rest}"
    took = float(rest.split()[1]) - sent
    print(f"interrupted_steps {number}: answered after {took:.2f} s", file=sys.stderr)
    return "answered" if took < SECONDS else f"answered after {took:.1f} s"


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were answered in time, and what went wrong, by number."""
    tally = Tally("answered")
    for number in numbers:
        tally.add(number, outcome(number))
    return tally.result()
