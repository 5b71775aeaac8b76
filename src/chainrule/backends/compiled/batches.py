"""What goes into a batch: rows by their number, copies, counters."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.compiled.calls import call, each_member
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def gather(
    self: NumPyBackend, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
) -> None:
    loops = LOOPS.batches
    has_members = order.ndim == 2
    for source, batch in zip(sources, out, strict=True):
        rank = batch.ndim - has_members
        if rank > 2:
            raise NotCompiledError(f"rows of {rank - 1} dimensions")
        take = loops.gather if rank == 2 else loops.gather_numbers
        for of_source, of_order, of_batch in each_member((source, rank), (order, 1), (batch, rank)):
            call(take, of_source, of_order, position, stride, 0, of_batch)
    call(loops.advance, position)


@with_fallback
def tick(self: NumPyBackend, state: Array, *, updates: int = 1) -> None:
    call(LOOPS.batches.tick, state, updates)
