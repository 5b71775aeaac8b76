"""The contract: what a device must be able to do, and nothing else.

A :class:`Backend` is a constructor argument, never a global. Layers, losses, optimisers and the trainer
speak to the one that they were given, so the same mathematics runs wherever a body of this contract exists (its part
about losses stands in :mod:`~chainrule.backends.contract.losses`):
:mod:`~chainrule.backends.reference.backend` is the specification, the others are faster bodies of the same methods.

**Destination passing.** A kernel writes into the memory it is handed after the ``*`` and returns None. Inside a
training step nothing is allocated, and no number on the device is looked at by the host. What varies
from step to step is read from device memory by the kernel that needs it, so a recorded step can be replayed:

``state``   (3,) int64    ``state[STEP]``    updates since the run began, from 0
                          ``state[BATCH]``   the batch's number within the epoch, from 0
                          ``state[HALTED]``  the first step whose loss was not finite, or -1
``totals``  (m, 3) float64, one row a batch: ``totals[state[BATCH]]`` is written by the loss
                          ``[LOSS]``     scale * sum_i w_i l_i
                          ``[WEIGHT]``   sum_i w_i: the loss is LOSS / WEIGHT for a mean, LOSS for a sum
                          ``[CORRECT]``  sum_i w_i [row i predicted right], written by ``count_correct``
``lr``      (m,) float64  the learning rate of each batch of this epoch: ``lr[min(state[BATCH], m - 1)]``

**Updates and batches.** Mostly every batch is an update, and both counters go up together. Where gradients are
accumulated, ``group`` batches make one update, in the step of the last of them: ``state[STEP]`` stands still from batch
to batch of a group, ``state[BATCH]`` does not, and each batch of the group has the rate of its update in ``lr``. So
schedules, bias corrections and ``state[HALTED]`` count updates, totals count batches. What is to differ from batch to
batch, like a random mask, must depend on both numbers.

**Shapes.** ``n`` rows, ``n_in`` and ``n_out`` columns, ``k`` outputs of the net. ``matmul``, ``dense``,
``activation_backward`` and their fusion act on the last two axes, so a leading *model axis* (several nets trained at
once) may stand before them. A batch may be a row slice of a longer buffer: all arrays are C-contiguous, except that
``matmul`` also takes transposed views.

**Storage.** Under ``precision="bf16"`` the arrays that products read (x, W, y, z, dz, dlogits, and b beside a y) have
the dtype that ``storage`` names; logits with their b, all db and dW and whatever belongs to an optimiser keep the net's
own.

**Fusion across layers.** Two operations are one method where a device can do both in one pass over memory:

* ``dense``: product, bias and activation (a GEMM epilogue on a GPU);
* ``activation_backward``: activation gradient and its row sum, which is the bias gradient;
* ``matmul_activation_backward``: the gradient that leaves a layer and the activation gradient of the layer below
  (the DRELU_BGRAD epilogue of cublasLt); two lines in the reference;
* each loss with its own gradient.
"""

from __future__ import annotations

import abc
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.arrays import ActivationName as ActivationName  # noqa: PLC0414  (given on from here)
from chainrule.backends.contract.arrays import Array as Array  # noqa: PLC0414
from chainrule.backends.contract.layers import LayerContract
from chainrule.backends.contract.losses import LossContract
from chainrule.backends.contract.optimisers import OptimiserContract
from chainrule.backends.contract.transfers import Transfer

STEP: Final = 0
BATCH: Final = 1
HALTED: Final = 2
RUNNING: Final = -1  # the value of state[HALTED] while all is well

LOSS: Final = 0
WEIGHT: Final = 1
CORRECT: Final = 2

# Of the standardisation: a difference of doubles can overflow where one of them is at least 2^970; and from
# FAR * limit on, a number is bent to the limit, to the last bit.
HALVED_ABOVE: Final = 2.0**960
FAR: Final = 1e9

PRECISIONS: Final = ("fp32", "tf32", "bf16")  # how float32 products may be computed on a device

# The bits of a bfloat16. NumPy has no such number; as a record, nothing computes with it by accident.
BF16: Final = np.dtype([("bf16", "<u2")])


class Backend(LayerContract, LossContract, OptimiserContract):
    """One device: its memory, its kernels, and how a step is executed on it."""

    name: str  # the body: "numpy", "cupy", "guarded"
    device: str  # "cpu" or "cuda:N"
    precision: str = "fp32"
    keeps_narrow_features: bool = False  # features of up to 16 bits stay as they came and are converted batch by batch
    working_set: int = 1 << 24  # elements of the widest activation that are worth computing at a time

    # ---- memory ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new C-contiguous array on this device, aligned to 64 bytes, its values undefined."""

    @abc.abstractmethod
    def upload(self, values: Any, dtype: Any = None) -> Array:
        """``values`` on this device, C-contiguous, *to be read only*.

        The same memory where the values already lie here in this dtype, a copy otherwise. An array that
        lives on another device is refused with DeviceError, never moved in silence; a NumPy array may go anywhere.
        """

    @abc.abstractmethod
    def assign(self, values: Any, *, out: Array) -> None:
        """Overwrite ``out`` with values from the host. Its address stays, so a recorded step sees them."""

    @abc.abstractmethod
    def download(self, array: Array) -> np.ndarray:
        """A NumPy copy of ``array``. Waits for the device: outside a step only."""

    def returned(self, array: Array, *, like: Any) -> Any:
        """``array`` as the kind of array that ``like`` is, where that kind can live here; else a NumPy copy."""
        return array if type(like) is type(array) else self.download(array)

    def storage(self, dtype: Any) -> np.dtype:
        """The dtype of what products read: activations, their gradients and the weights that a product sees.

        ``dtype`` itself, except that a device with ``precision="bf16"`` keeps BF16 for float32. Parameters, their
        gradients, moments and logits always have ``dtype``: bf16 has 8 bits, too few for a small update to move a
        weight. Source: Micikevicius et al. 2018, section 3.1.
        """
        kept: np.dtype = np.dtype(dtype)
        return kept

    def free_memory(self) -> int | None:
        """Bytes that are still free for arrays; None where rows on the host cost nothing, as on a CPU."""
        return None

    def fingerprint(self) -> dict[str, str | int]:
        """What the bits of its results depend on: two machines that agree in it give the same bits."""
        return {"device": self.device, "precision": self.precision}

    def host_buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory of the host, its values undefined, for :meth:`send`: page-locked where a device reads it by itself."""
        return np.empty(shape, dtype)

    def send(self, host: np.ndarray, *, out: Array) -> Transfer:
        """Begin to copy a host buffer to ``out``, of its shape and dtype. Outside a step only.

        The copy comes after all work that was asked for before, and runs beside what is asked for from now on:
        until ``Transfer.join()`` such work must not touch ``out``, until ``Transfer.wait()`` the host leaves the buffer
        as it is.
        """
        self.assign(host, out=out)
        return Transfer()

    # ---- execution ------------------------------------------------------------------------------

    @abc.abstractmethod
    def running(self) -> contextlib.AbstractContextManager[None]:
        """Work within: this device is current, and floating point overflows quietly, as on a GPU."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Wait until everything that was asked of the device is done."""

    def capture(self, step: Callable[[], None]) -> Callable[[int], None]:
        """``replay(times)``, which does ``step()`` that many times.

        ``step`` obeys the law of the step, so a body may run it once, record what it launched and replay the
        record. This default calls it.
        """

        def replay(times: int) -> None:
            for _ in range(times):
                step()

        return replay

    # ---- elements -------------------------------------------------------------------------------

    @abc.abstractmethod
    def fill(self, value: float, *, out: Array) -> None:
        """out = value, everywhere."""

    @abc.abstractmethod
    def copy(self, source: Array, *, out: Array) -> None:
        """out = source, converted to the dtype of ``out``; the shapes are equal."""

    @abc.abstractmethod
    def copy_columns(self, source: Array, columns: Sequence[int], *, out: Array) -> None:
        """out[:, j] = source[:, j] for these columns, converted to the dtype of ``out``. Outside a step only."""

    @abc.abstractmethod
    def apply(self, function: Callable[..., Array], *arrays: Array, out: Array) -> None:
        """out = function(xp, *arrays), a function of the user's own in operations of the array module ``xp``.

        ShapeError where it returns another shape than that of ``out``. What it allocates is its own affair, so a device
        does not record a step that calls it.
        """

    @abc.abstractmethod
    def standardize(self, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
        """z = (x - mean) / scale,   out = z / sqrt(1 + (z / limit)^2).   x, out (n, n_in); mean, scale (n_in,).

        The second step keeps abs(out) below ``limit`` and hardly touches what is far below it; inf leaves it out.
        Computed in the wider dtype of ``x`` and ``mean``, then rounded to that of ``out``: large values with
        small differences (a year, a time stamp) keep their digits.

        x and mean are finite, scale is above 0 and may be inf, which makes z 0. Right up to the largest double: where
        |mean| > ``HALVED_ABOVE``, x, mean and scale are halved (which is exact), so that no difference overflows; and z
        is clipped to ``FAR * limit``, so that no square does, where z / sqrt(1 + (z / limit)^2) is the limit already.
        """

    @abc.abstractmethod
    def scale_and_shift(self, x: Array, scale: Array, shift: Array, *, out: Array) -> None:
        """out = x scale + shift.   x, out (n, k), which may be one memory; scale, shift (k,). Outside a step only.

        A product and a sum, each rounded once in the widest dtype of these, then rounded to that of ``out``.
        """

    @abc.abstractmethod
    def first_nonfinite(self, x: Array) -> int | None:
        """Flat index of the first nan or inf in ``x``, or None. Looks at the device: outside a step only."""

    # ---- batches and random numbers -------------------------------------------------------------

    @abc.abstractmethod
    def gather(
        self, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
    ) -> None:
        """The next batch: out[a][i] = sources[a][order[position * stride + i]] in the dtype of out[a]; position += 1.

        ``order`` (rows,) int64, values in range; ``position`` (1,) int64, a counter of its own: that the next batch can
        be fetched while the optimiser still works on this one, neither may touch what the other reads. All of a batch
        is one call, so that it can be one launch; the ragged last batch has fewer rows in ``out`` than ``stride``.
        """

    @abc.abstractmethod
    def uniform(
        self, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
    ) -> None:
        """out.flat[e] = low + (high - low) * u_e,   u_e = (word e of Philox >> 8) / 2^24 in [0, 1).

        Word e is word e % 4 of Philox4x32-10 with counter (e // 4, *counter) and this key. Computed in float64 with
        one rounding an operation (no fused multiply-add), then rounded to ``out``: the same bits on every body.
        """

    @abc.abstractmethod
    def permutation(self, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
        """out = 0 .. n-1 in the order of (word e of Philox, e), words as in ``uniform``.   out (n,) int64, n < 2^32."""
