"""The CPU: the reference kernels on NumPy, with what only a host can do.

A host may read its own memory for free, so scalars are read where the reference takes array detours; flat arrays are
worked through in pieces that stay in the cache; intermediate results reuse one buffer per thread.
"""

from __future__ import annotations

import contextlib
import platform

import numpy as np

from chainrule.backends.contract.work import Work
from chainrule.backends.numpy import batches, blas, embedding, layers, losses, memory, optimisers, piecewise, random
from chainrule.backends.numpy.blas_threads import single_thread
from chainrule.backends.reference.backend import ReferenceBackend

SMALL_PRODUCT = 1e9  # operations: some ten milliseconds of one core


class NumPyBackend(ReferenceBackend):
    """NumPy on the CPU: which file computes what; what is not listed is the reference's."""

    name = "numpy"
    device = "cpu"
    queues = False
    working_set = 1 << 20  # products of fewer rows run slower, activations beyond a few MiB leave the cache
    xp = np
    reason = ""  # why it is not the compiled implementation that was chosen

    def __repr__(self) -> str:
        return f"<chainrule backend {self.name} on {self.device}>"

    empty = memory.empty
    upload = memory.upload
    assign = memory.assign
    download = memory.download
    _scratch = memory.scratch
    _parts = memory.parts
    _rows = memory.rows_before

    gather = batches.gather
    first_nonfinite = batches.first_nonfinite
    tick = batches.tick

    matmul = layers.matmul

    embed = embedding.embed
    embed_backward = embedding.embed_backward

    piecewise_linear = piecewise.piecewise_linear
    piecewise_linear_backward = piecewise.piecewise_linear_backward

    _record = losses.record

    accumulate = optimisers.accumulate
    average = optimisers.average
    _learning_rate = optimisers.learning_rate
    _bias_corrected = optimisers.bias_corrected
    _subtract = optimisers.subtract
    _update_touched = optimisers.update_touched

    uniform = random.uniform
    dropout = random.dropout
    _fill_words = random.fill_words

    # ---- execution --------------------------------------------------------------------------------

    def running(self) -> contextlib.AbstractContextManager[None]:
        # The types of numpy call errstate a class of its own; it is the context manager asked for.
        return np.errstate(all="ignore")

    def fitting(self, work: Work) -> contextlib.AbstractContextManager[None]:
        # BLAS's threads wait for each other by spinning. In small products that gains little on an idle machine, and on
        # a busy one it takes many times as long.
        small = work.largest < SMALL_PRODUCT or work.threads == 1
        return single_thread() if small else super().fitting(work)

    def fingerprint(self) -> dict[str, str | int]:
        numbers = {"numpy": np.__version__, "processor": platform.machine()}
        return {**super().fingerprint(), **numbers, "blas": blas.core_name(), "blas threads": blas.threads()}

    def execution(self) -> dict[str, str | int]:
        found: dict[str, str | int] = {"implementation": f"NumPy: {self.reason}" if self.reason else "NumPy"}
        return {**found, "blas threads": threads} if (threads := blas.threads()) else found

    def synchronize(self) -> None:
        """Nothing is ever under way: a NumPy call returns when it is done."""
