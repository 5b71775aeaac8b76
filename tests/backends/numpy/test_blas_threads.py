"""One thread for NumPy's BLAS: counted, restored, and sane after a fork."""

from __future__ import annotations

import linecache
import os
import subprocess
import sys
import threading

import pytest

from chainrule.backends.numpy import blas, blas_threads
from chainrule.backends.numpy.blas_threads import can_limit, single_thread


@pytest.fixture(params=["this BLAS", "simulated", "simulated, per thread"])
def count(request, monkeypatch):
    """How to ask for the number of threads and to set it; 3 at first."""
    if request.param == "this BLAS":
        found = blas.find()
        functions = None if found is None else found.thread_functions()
        if functions is None:
            pytest.skip("the threads of NumPy's BLAS cannot be limited here")
        old = functions.get()
        functions.set(3)
        if functions.get() != 3:
            functions.set(old)
            pytest.skip("this BLAS uses no more threads than the machine has")
        yield functions
        functions.set(old)
        return
    per_thread = request.param.endswith("per thread")
    held = threading.local() if per_thread else type("Process", (), {})()
    functions = blas.ThreadFunctions(
        lambda: getattr(held, "number", 3), lambda number: setattr(held, "number", number), per_thread
    )
    monkeypatch.setattr(blas_threads, "_functions", lambda: functions)
    yield functions


def test_one_thread_within_and_the_old_number_afterwards(count):
    assert can_limit()
    with single_thread():
        assert count.get() == 1
        if not count.per_thread:
            assert count.get() == 1
    assert count.get() == 3


def test_nested(count):
    with single_thread():
        with single_thread():
            assert count.get() == 1
        assert count.get() == 1, "the outer one still holds it"
    assert count.get() == 3


def test_again_after_the_end(count):
    for number in (3, 2):
        count.set(number)
        with single_thread():
            assert count.get() == 1
        assert count.get() == number


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_restores(count, error):
    with pytest.raises(error), single_thread(), single_thread():
        raise error
    assert count.get() == 3


def may_be_taken(lock) -> bool:
    """By another thread."""
    taken = []

    def take():
        taken.append(lock.acquire(timeout=10))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def test_ctrl_c_at_any_moment(count):
    """Raised once, at each line in turn and at the beginning of each function."""

    def enter_and_leave(moment: int) -> bool:
        """Whether there are so many moments."""
        left = moment

        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != blas_threads.__file__:
                return None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            # Python looks for no signal at a `try`, nor between the end of a `with` and its __exit__.
            if event == "call" or (event == "line" and line != "try:" and not line.startswith("with ")):
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        old = sys.gettrace()
        try:
            sys.settrace(trace)
            with single_thread(), single_thread():
                pass
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(old)
        return left <= 0

    moment = 1
    while enter_and_leave(moment):
        assert count.get() == 3, moment
        assert may_be_taken(blas_threads._state.lock), moment
        moment += 1
    assert moment > 30


def test_blocks_of_several_threads_that_overlap(count):
    """The first ends before the second: the number is restored by whoever is last."""
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    seen = {}

    def first():
        with single_thread():
            first_is_in.set()
            assert second_is_in.wait(60)
        seen["first, after its block"] = count.get()
        first_is_out.set()

    def second():
        assert first_is_in.wait(60)
        with single_thread():
            second_is_in.set()
            assert first_is_out.wait(60)
            seen["second, in its block"] = count.get()
        seen["second, after its block"] = count.get()

    threads = [threading.Thread(target=body) for body in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    shared = 3 if count.per_thread else 1
    assert seen == {"first, after its block": shared, "second, in its block": 1, "second, after its block": 3}
    assert count.get() == 3


def test_many_threads(count):
    wrong = []

    def body():
        for _ in range(200):
            with single_thread():
                if count.get() != 1:
                    wrong.append(count.get())

    threads = [threading.Thread(target=body) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert count.get() == 3


def test_a_number_that_somebody_else_sets_meanwhile_stays(count):
    with single_thread():
        count.set(2)
    assert count.get() == 2


def test_a_block_within_has_one_thread_whatever_somebody_set(count):
    with single_thread():
        count.set(2)
        with single_thread():
            assert count.get() == 1
        assert count.get() == 1
    assert count.get() == 2, "the number of somebody else, not that from before it"


def test_a_process_with_one_thread_is_left_with_one(count):
    count.set(1)
    with single_thread():
        assert count.get() == 1
    assert count.get() == 1


@pytest.mark.parametrize("why", ["no BLAS", "a BLAS that does not tell"])
def test_without_a_number_to_set_it_does_nothing(why, monkeypatch):
    unknown = None if why == "no BLAS" else blas.Blas("accelerate", "", 64, object(), "", "")
    monkeypatch.setattr(blas, "find", lambda: unknown)
    assert not can_limit()
    with single_thread(), single_thread():
        pass


FORKED = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # of forking with threads, which is what is tested
from chainrule.backends.numpy import blas, blas_threads
from chainrule.backends.numpy.blas_threads import single_thread

found = blas.find()
functions = None if found is None else found.thread_functions()
if functions is None:
    sys.exit(77)
functions.set(2)

def in_child(body):
    child = os.fork()
    if child == 0:
        try:
            body()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def sane():
    assert functions.get() == 2, functions.get()
    with single_thread():
        assert functions.get() == 1
    assert functions.get() == 2, functions.get()
"""
CASES = {
    "not held": "in_child(sane)",
    "held by the thread that forks": """
with single_thread():
    in_child(sane)
    assert functions.get() == 1, "the parent still holds it"
""",
    "the child leaves the block that it was forked in": """
with single_thread():
    child = os.fork()
if child == 0:
    os._exit(0 if functions.get() == 2 and not blas_threads._state.of_process.held else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
    "the child has set its own number when it leaves": """
with single_thread():
    child = os.fork()
    if child == 0:
        functions.set(1)
if child == 0:
    os._exit(0 if functions.get() == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
    "held by another thread": """
inside, done = threading.Event(), threading.Event()
def hold():
    with single_thread():
        inside.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
in_child(sane)
assert functions.get() == 1
done.set()
thread.join()
""",
    "the number set by somebody else": """
with single_thread():
    functions.set(4)
    def kept():
        assert functions.get() == 4, functions.get()
    in_child(kept)
functions.set(2)
""",
    "while others go in and out": """
end = threading.Event()
def flicker():
    while not end.is_set():
        with single_thread():
            pass
threads = [threading.Thread(target=flicker) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    in_child(sane)
end.set()
for thread in threads:
    thread.join()
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.parametrize("case", CASES)
def test_a_forked_child_has_no_holder_and_the_number_from_before(case):
    code = FORKED + CASES[case] + "\nassert functions.get() == 2, functions.get()\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )
    if done.returncode == 77:
        pytest.skip("the threads of NumPy's BLAS cannot be limited here")
    assert done.returncode == 0, done.stderr
