"""The contract: what a device must be able to do, and nothing else.

A :class:`Backend` is a constructor argument, never a global. Layers, losses, optimisers and the trainer
speak to the one that they were given, so the same mathematics runs wherever an implementation of this contract exists:
:mod:`~chainrule.backends.reference.backend` is the specification, the others are faster implementations of the same
methods. This file has memory and execution; the kernels are declared by topic, one file each, and an implementation
has them in files of the same names.

**Destination passing.** A kernel writes into the memory it is handed after the ``*``, or that its record of arguments
names as written, and returns None. Inside a training step nothing is allocated, and the host reads no number from the
device. What varies from step to step is read from device memory by the kernel that needs it, so a recorded step can be
replayed:

``state``   (3,) int64    ``state[STEP]``    updates since the run began, from 0
                          ``state[BATCH]``   the batch's number within the epoch, from 0
                          ``state[HALTED]``  the first step whose loss was not finite, or -1
``totals``  (m, 3) float64, one row per batch: ``totals[state[BATCH]]`` is written by the loss
                          ``[LOSS]``     scale * sum_i(w_i l_i)
                          ``[WEIGHT]``   sum_i(w_i): the loss is LOSS / WEIGHT for a mean, LOSS for a sum
                          ``[CORRECT]``  sum_i(w_i [row i predicted right]), written by ``count_correct``
``lr``      (m,) float64  the learning rate of each batch of this epoch: ``lr[min(state[BATCH], m - 1)]``

**Updates and batches.** Mostly every batch is an update, and both counters go up together. If gradients are
accumulated, ``group`` batches make one update, in the step of the last of them: ``state[STEP]`` stands still from batch
to batch of a group, ``state[BATCH]`` does not, and each batch of the group has the rate of its update in ``lr``. So
schedules, bias corrections and ``state[HALTED]`` count updates, totals count batches. What is to differ from batch to
batch, like a random mask, must depend on both numbers.

**Shapes.** ``n`` rows, ``n_in`` and ``n_out`` columns, ``k`` outputs of the net. A batch may be a row slice of a
longer buffer: all arrays are C-contiguous, except that ``matmul`` also takes transposed views.

**Model axis.** Several nets, the *members* of an ensemble, may be trained at once. Each method is declared for one net.
Handed arrays with one axis more in front, of length m, one entry for each member, it does for every member what it
does for one net: the same bits in the reference and on a GPU, equal to rounding in compiled loops. So rows are
(m, n, n_in), parameters (m, n_in, n_out) and (m, n_out), totals (m, batches, 3), the order of the rows (m, rows).
Members may lie apart, as their parameters do in an arena: only the axes behind the first are contiguous. An input
without that axis is shared by all (the targets of shared rows; features and their standardisation; ``lr``,
``state``, ``position``); what is written has it, but for ``state`` and ``position``. One member whose loss is not
finite halts all. ``mean_of_members`` alone is declared for all members together.

**Storage.** Under ``precision="bf16"`` the arrays that products read (x, W, y, z, dz, dlogits, and b beside a y) have
the dtype that ``storage`` names; logits with their b, all db and dW and whatever belongs to an optimiser keep the net's
own.

**Fusion across layers.** Two operations are one method if a device can do both in one pass over memory:

* ``dense``: product, bias and activation (a GEMM epilogue on a GPU);
* ``activation_backward``: activation gradient and its row sum, which is the bias gradient;
* ``matmul_activation_backward``: the gradient that leaves a layer and the activation gradient of the layer below
  (the DRELU epilogue of cublasLt, which needs ``signs``); two lines in the reference;
* each loss with its own gradient;
* ``scaled_dense``, ``encoded_dense`` and their gradients: factors of columns, or an encoding and factors, below a dense
  layer. A net binds to them if ``fuses`` says that this device has something faster than the layers one by one.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from chainrule.backends.contract.arrays import ActivationName as ActivationName  # noqa: PLC0414  (given on from here)
from chainrule.backends.contract.arrays import Array as Array  # noqa: PLC0414
from chainrule.backends.contract.arrays import MapsRows
from chainrule.backends.contract.batches import BatchContract
from chainrule.backends.contract.columns import ColumnContract
from chainrule.backends.contract.custom import CustomContract
from chainrule.backends.contract.embedding import EmbeddingContract
from chainrule.backends.contract.ensembles import EnsembleContract
from chainrule.backends.contract.layers import LayerContract
from chainrule.backends.contract.losses import LossContract
from chainrule.backends.contract.normalization import NormalizationContract
from chainrule.backends.contract.optimisers import OptimiserContract
from chainrule.backends.contract.piecewise import PiecewiseContract
from chainrule.backends.contract.predictions import PredictionContract
from chainrule.backends.contract.random import RandomContract
from chainrule.backends.contract.target_losses import TargetLossContract
from chainrule.backends.contract.transfers import Transfer
from chainrule.backends.contract.work import Work

STEP: Final = 0
BATCH: Final = 1
HALTED: Final = 2
RUNNING: Final = -1  # the value of state[HALTED] while all is well

LOSS: Final = 0
WEIGHT: Final = 1
CORRECT: Final = 2

PRECISIONS: Final = ("fp32", "tf32", "bf16")  # how float32 products may be computed on a device

# The bits of a bfloat16. NumPy has no such number; as a record, nothing computes with it by accident.
BF16: Final = np.dtype([("bf16", "<u2")])


class ReplayStep(Protocol):
    """What :meth:`Backend.capture` returns."""

    def __call__(self, times: int, *, unchanged: bool = False) -> None:
        """Do the step ``times`` times.

        ``unchanged`` promises that nothing has run since the last call that could change what the step launches. An
        implementation that would otherwise look, while the device has nothing to do, need not.
        """


class Backend(
    BatchContract,
    LayerContract,
    NormalizationContract,
    EmbeddingContract,
    ColumnContract,
    PiecewiseContract,
    LossContract,
    TargetLossContract,
    CustomContract,
    PredictionContract,
    EnsembleContract,
    OptimiserContract,
    RandomContract,
):
    """One device: its memory, its kernels, and how a step is executed on it."""

    name: str  # of the implementation: "numpy", "cupy", "guarded"
    device: str  # "cpu" or "cuda:N"
    precision: str = "fp32"
    narrow_kinds: str = (
        "biu"  # of NumPy's kinds of numbers: those of which 16 bits or fewer are converted batch by batch
    )
    queues: bool = True  # whether a call may return before its work is done
    runs_side_by_side: bool = False  # whether launches of a recorded step, and its twins, may run at the same time
    fuses: frozenset[str] = frozenset()  # of "scaled_dense", "encoded_dense": what is faster than the layers one by one
    working_set: int = 1 << 24  # elements of the widest activation that are worth computing at a time

    # ---- memory ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new C-contiguous array on this device, aligned to 64 bytes, its values undefined."""

    @abc.abstractmethod
    def upload(self, values: Any, dtype: Any = None) -> Array:
        """``values`` on this device, C-contiguous, *to be read only*.

        The same memory if the values already lie here in this dtype, a copy otherwise. An array that
        lives on another device is refused with DeviceError, never moved in silence; a NumPy array may go anywhere.
        """

    @abc.abstractmethod
    def assign(self, values: Any, *, out: Array) -> None:
        """Overwrite ``out`` with values from the host. Its address stays, so a recorded step sees them."""

    @abc.abstractmethod
    def download(self, array: Array) -> np.ndarray:
        """A NumPy copy of ``array``. Waits for the device: outside a step only."""

    def download_all(self, arrays: Sequence[Array]) -> list[np.ndarray]:
        """NumPy copies of all of these arrays, for which the host waits once."""
        return [self.download(array) for array in arrays]

    def returned(self, array: Array, *, like: Any) -> Any:
        """``array`` as the kind of array that ``like`` is, if that kind can live here; else a NumPy copy."""
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
        """Bytes that are still free for arrays; None if rows on the host cost nothing, as on a CPU."""
        return None

    def fingerprint(self) -> dict[str, str | int]:
        """What the bits of its results depend on: two machines that agree in it give the same bits."""
        return {"device": self.device, "precision": self.precision}

    def execution(self) -> dict[str, str | int]:
        """How the fit that this thread is in has been computed so far, for people: its ``implementation`` at least."""
        return {"implementation": self.name}

    def host_buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory of the host, its values undefined, for :meth:`send`: page-locked if a device reads it by itself."""
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

    def fitting(self, work: Work) -> contextlib.AbstractContextManager[None]:
        """A fit of so much work: within, an implementation may use what it takes from the process, and gives back."""
        return contextlib.nullcontext()

    def beside_others(self) -> contextlib.AbstractContextManager[None] | None:
        """What a thread enters for a fit beside which other threads of this process fit; None if they would only wait
        for each other: for the device, or for the GIL."""
        return None

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Wait until everything that was asked of the device is done."""

    def capture(self, step: Callable[[], None], *twins: Callable[[], None]) -> ReplayStep:
        """``replay(times)``, which does ``step()`` that many times.

        ``step`` obeys the law of the step, so an implementation may run it once, record what it launched and
        replay the record. Its ``twins`` do the same with other buffers. An implementation with ``runs_side_by_side``
        may take them in turn, the step first, so that one fills its buffer while another is at work. This default
        calls the step alone.
        """

        def replay(times: int, *, unchanged: bool = False) -> None:
            for _ in range(times):
                step()

        return replay

    def keep(self, step: MapsRows, *, operations: float) -> MapsRows:
        """``run(x, *outs)``, which does ``step(x, *outs)``, whose products take so many operations in all calls.

        The step obeys the law of the step, but that it may ``scale_and_shift``. It is called with arrays of the same
        shapes and dtypes each time, computes ``outs`` from x, and else launches the same kernels on the same memory: an
        implementation may record it for good. This default returns it as it is.
        """
        return step


# The names of all kernels: what a step is made of. All other methods are memory and execution.
KERNELS: Final = frozenset(
    name
    for topic in Backend.__bases__
    for name, value in vars(topic).items()
    if getattr(value, "__isabstractmethod__", False)
)
