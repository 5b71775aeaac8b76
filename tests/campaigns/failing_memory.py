"""Memory that fails on purpose: the n-th array that NumPy asks for, or all that goes beyond a limit.

The first by a memory handler, which NumPy asks for the data of every array, temporaries within a ufunc included (NEP
49); the second by the limit of a forked process, as ``ulimit -v`` sets it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import subprocess
import sys
import tempfile
import traceback
import unittest
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from emulation.compiled import compiler

if sys.platform != "linux":  # for pytest, tests that could not be collected else are skipped, with this reason
    raise unittest.SkipTest("memory is limited and accounted for as on Linux: RLIMIT_AS, /proc")

SOURCE = """
#include <stdint.h>
#include <stdlib.h>
static long left = -1, asked = 0;
static int fails() { asked++; return left >= 0 && left-- == 0; }
static void *get(void *, size_t n) { return fails() ? 0 : malloc(n ? n : 1); }
static void *zeros(void *, size_t n, size_t size) { return fails() ? 0 : calloc(n ? n : 1, size ? size : 1); }
static void *resize(void *, void *old, size_t n) { return fails() ? 0 : realloc(old, n ? n : 1); }
static void put(void *, void *old, size_t) { free(old); }
static struct {
  char name[127];
  uint8_t version;
  void *context, *(*get)(void *, size_t), *(*zeros)(void *, size_t, size_t), *(*resize)(void *, void *, size_t);
  void (*put)(void *, void *, size_t);
} handler = {"fails on purpose", 1, 0, get, zeros, resize, put};
extern "C" void *the_handler() { return &handler; }
extern "C" void fail_at(long n) { left = n; }
extern "C" void count_anew() { asked = 0; }
extern "C" long asked_for() { return asked; }
"""
SET_HANDLER = 304  # its place in NumPy's table of functions
NAME = b"mem_handler"


@functools.cache
def library() -> ctypes.CDLL:
    """The handler, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "memory.cpp", Path(folder) / "memory.so"
        source.write_text(SOURCE)
        subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", str(built), str(source)], check=True)
        found = ctypes.CDLL(str(built))
    found.the_handler.restype = ctypes.c_void_p
    found.fail_at.argtypes = [ctypes.c_long]
    found.asked_for.restype = ctypes.c_long
    return found


def _set_handler(capsule: object) -> object:
    """NumPy asks this handler from now on; the one before."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(np._core.multiarray._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[SET_HANDLER])(capsule)


@contextlib.contextmanager
def failing_at(n: int) -> Iterator[Callable[[], int]]:
    """The ``n``-th array from now on, from 0, cannot be had (-1: all can); how many have been asked for."""
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    handler = library()
    before = _set_handler(new(handler.the_handler(), NAME, None))
    handler.count_anew()
    handler.fail_at(n)
    try:
        yield handler.asked_for
    finally:
        handler.fail_at(-1)
        _set_handler(before)


def in_a_process(work: Callable[[], int], said: Path, *, room: int | None = None) -> int:
    """The exit code of ``work`` in a forked process, which may take ``room`` more bytes; its stderr goes to a file."""
    import resource

    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings(action="ignore"):  # of threads, which the child does not need
        child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            if room is not None:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + room
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
