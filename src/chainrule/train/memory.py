"""How much of the device's memory a fit needs, and what to do if there is less."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from chainrule.backends.contract.backend import Backend
from chainrule.errors import OutOfMemoryError
from chainrule.host_memory import MIN_CHECKED, free_host_memory, free_under_limits
from chainrule.nn.borders import signs_at_borders
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.layers.base import Memory, walk
from chainrule.nn.network import Network
from chainrule.optim.base import Optimizer
from chainrule.train.epoch_memory import WORD, words
from chainrule.train.feeding.batch_plan import batch_buffers, bytes_of_batch_row, plan_batches
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import streaming_bytes

# Shares of what is free that are left to the kernels: on a device the workspaces of products and a little scratch; on
# the host intermediate results as wide as a layer, at most about as much as the layers' own outputs and gradients.
KERNEL_SHARE, HOST_KERNEL_SHARE = 1 / 8, 1 / 2
TOTALS_BYTES = 8 * 3  # of each batch of an epoch, in float64
BATCH_BYTES = WORD.itemsize + TOTALS_BYTES  # with its learning rate
ORDER_BYTES = 8  # of each resident row: its place in the order of the epoch


def bytes_per_row(net: Network, rows: Rows | HostRows) -> int:
    """Bytes that one row of a batch takes while a net is trained; of an ensemble, one row of each member.

    batch buffer    x as gathered, targets, weights; and x as the first layer reads it, if that differs
    each layer      what its ``memory`` says; a dense one y and dz, and z if its activation keeps that, or signs
    """
    formats = [f for memory in _layers_memory(net) for f in memory.rows.values()]
    formats += signs_at_borders(net.fused_nodes, net.backend, net.dtype, None).values()
    return _buffer_bytes_per_row(net, rows) + net.members * sum(f.nbytes for f in formats)


def _buffer_bytes_per_row(net: Network, rows: Rows | HostRows) -> int:
    exact, pending = bool(net.codes()), bool(rows.pending)
    return net.members * bytes_of_batch_row(net.backend, rows.formats, pending=pending, dtype=net.dtype, exact=exact)


def _layers_memory(net: Network) -> Iterator[Memory]:
    for node in walk(net.fused_nodes):
        yield net.memory_of(node, training=True)


def bytes_of_batches(net: Network, rows: Rows | HostRows, size: int, free: int | None) -> int:
    """Bytes of all that a fit lays out for batches of ``size`` rows, beside the net and the rows themselves."""
    size, k = min(size, len(rows)), net.members
    order = streaming_bytes(rows, size, free, k) if isinstance(rows, HostRows) else k * ORDER_BYTES * len(rows)
    count = plan_batches(len(rows), size).count
    batches = WORD.itemsize * words(count) + k * TOTALS_BYTES * count
    fixed = sum(
        k * sum(f.nbytes for f in memory.fixed.values()) + sum(f.nbytes for f in memory.constants.values())
        for memory in _layers_memory(net)
    )
    buffer = size * _buffer_bytes_per_row(net, rows)
    more = (batch_buffers(net.backend, buffer, free) - 1) * buffer
    return size * bytes_per_row(net, rows) + more + fixed + batches + order


def bytes_of_net(
    net: Network,
    optimizer: Optimizer,
    *,
    keeps_best: bool,
    keeps_aside: bool = False,
    ema: bool = False,
    accumulates: bool = False,
) -> int:
    """Bytes of parameters, gradients and moments, and of what else has their size: the weights of the best epoch, those
    of an epoch that may turn out to be the best, the weight EMA, and accumulated gradients."""
    layout, be = net.parameter_arena.layout, net.backend
    storage = be.storage(net.dtype)
    arenas = 2 + len(optimizer.moment_names()) + keeps_best + keeps_aside + ema + accumulates
    factors = layout.size * storage.itemsize if storage != net.dtype else 0
    return net.members * (arenas * layout.size * net.dtype.itemsize + factors)


def largest_batch(net: Network, rows: Rows | HostRows, size: int, free: int) -> int:
    """The largest batch of fewer than ``size`` rows that fits in ``free`` bytes; 0 if not even one row does.

    The kernels keep their share of what is free.
    """
    size, room = min(size, len(rows)), _room(net.backend, free)
    # Smaller batches are more of them, each with its totals: below this size that costs more than it saves.
    least = max(1, math.isqrt(BATCH_BYTES * len(rows) // bytes_per_row(net, rows)))
    sizes = range(min(least, size), size)
    fit = bisect.bisect_right(sizes, room, key=lambda n: bytes_of_batches(net, rows, n, free))
    return sizes[fit - 1] if fit else 0


def batch_hint(net: Network, rows: Rows | HostRows, size: int, free: int | None, net_bytes: int) -> str:
    """What to do if there is no memory for batches of ``size`` rows; ``free`` as :func:`free_at_start` returned it."""
    row = f"each row of a batch takes {bytes_per_row(net, rows):,} bytes"
    if net.backend.free_memory() is None:
        free = free_host_memory(free)
    if free is None or bytes_of_batches(net, rows, size, free) <= _room(net.backend, free):
        return f"use a smaller batch: {row}"
    if largest := largest_batch(net, rows, size, free):
        return f"batches of up to {largest:,} rows fit: {row}"
    return f"not even one row fits beside the net, which takes {net_bytes:,} bytes to train: use a smaller net"


def refuse_what_cannot_fit(net: Network, rows: Rows | HostRows, size: int, free: int | None) -> None:
    """OutOfMemoryError for batches that the host would promise and not have; ``free`` as in :func:`batch_hint`.

    Linux hands out memory that it does not have, and kills the process that writes to it. Devices refuse by themselves.
    """
    numbers = 8 * min(size, len(rows)) * (net.n_in + sum(net.widths)) + 8 * len(rows)
    if numbers * net.dtype.itemsize < MIN_CHECKED or net.backend.free_memory() is not None:  # nearly all fits end here
        return
    needed = bytes_of_batches(net, rows, size, free)
    left = free_host_memory(free)
    if left is not None and needed > left:
        raise OutOfMemoryError("cpu", needed=needed, free=left)


def _room(backend: Backend, free: int) -> float:
    return free * (1 - (HOST_KERNEL_SHARE if backend.free_memory() is None else KERNEL_SHARE))


def free_at_start(backend: Backend) -> int | None:
    """Bytes that are free for arrays, before a fit lays out its own; None if no limit is set, as usual on a CPU."""
    free = backend.free_memory()
    return free if free is not None else free_under_limits()
