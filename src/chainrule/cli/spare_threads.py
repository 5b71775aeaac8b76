"""A host that lets this process start no more threads: OpenBLAS would end it with SIGINT when NumPy is imported."""

from __future__ import annotations

import os
import sys
import threading

SETTINGS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
NOTE = (
    "note     not as many threads as cores can be started (ulimit -u, or a container's limit): products take one thread"
)


def settle_for_one_thread() -> None:
    """Have products take one thread if a thread for each core cannot be started. Before NumPy is imported.

    Whoever has chosen a number of threads keeps it, and so does a program that calls the command line as a function.
    """
    if "numpy" in sys.modules or any(name in os.environ for name in SETTINGS) or _can_start(_cores() - 1):
        return
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if sys.stderr is not None:
        print(NOTE, file=sys.stderr)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _can_start(count: int) -> bool:
    """Whether so many threads can run at once."""
    over, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # can't start new thread
        return False
    finally:
        over.set()
        for thread in started:
            thread.join()
    return True
