"""The contract: what a device must be able to do, and nothing else.

A :class:`Backend` is a constructor argument, never a global. Layers, losses, optimisers and the trainer
speak to the one that they were given, so the same mathematics runs wherever a body of this contract exists (its part
about losses stands in :mod:`~chainrule.backends.loss_contract`):
:mod:`~chainrule.backends.reference` is the specification, the others are faster bodies of the same methods.

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
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from chainrule.backends.loss_contract import LossContract
from chainrule.backends.transfers import Transfer

# An array of the backend's own kind. NumPy's and CuPy's array types share no static base class, and a
# type parameter on every layer would say no more than this name does.
Array: TypeAlias = Any

ActivationName: TypeAlias = Literal["identity", "relu", "tanh", "sigmoid"]

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


class Backend(LossContract):
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
    def standardize(self, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
        """z = (x - mean) / scale,   out = z / sqrt(1 + (z / limit)^2).   x, out (n, n_in); mean, scale (n_in,).

        The second step keeps abs(out) below ``limit`` and hardly touches what is far below it; inf leaves it out.
        Computed in the wider dtype of ``x`` and ``mean``, then rounded to that of ``out``: large values with
        small differences (a year, a time stamp) keep their digits.
        """

    @abc.abstractmethod
    def first_nonfinite(self, x: Array) -> int | None:
        """Flat index of the first nan or inf in ``x``, or None. Looks at the device: outside a step only."""

    # ---- layers ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def matmul(self, a: Array, b: Array, *, out: Array) -> None:
        """out = a @ b.   a (..., m, k), b (..., k, n), out (..., m, n).

        ``a`` and ``b`` may be transposed views; ``out`` overlaps neither. For entries of mixed signs the error per
        element is at most 8 u (|a| @ |b|), u the unit roundoff of the precision in use; sums of one sign lose more.
        """

    @abc.abstractmethod
    def activate(self, activation: ActivationName, z: Array, *, out: Array) -> None:
        """out = act(z), element by element; ``out`` may be ``z``.

        identity  z          relu  max(z, 0)          tanh  tanh(z)          sigmoid  1 / (1 + exp(-z))
        A nan stays a nan, through relu too.
        """

    @abc.abstractmethod
    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        """z = x @ W + b,   y = act(z).   x (n, n_in), W (n_in, n_out), b (n_out,), z and y (n, n_out).

        ``b`` has the dtype of ``y``. ``z`` may be ``y`` (and is, for an activation whose derivative is a function of
        its output: no memory is spent on what the way back does not read).
        """

    @abc.abstractmethod
    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        """dz = dy * act'(saved),   db = sum_rows(dz).   saved, dy, dz (n, n_out), db (n_out,).

        ``saved`` is the output y. ``dz`` may be ``dy``. With y = act(z):
        identity  act' = 1    relu  act' = [y > 0], 0 at the kink    tanh  act' = 1 - y^2    sigmoid  act' = y (1 - y)
        """

    @abc.abstractmethod
    def matmul_activation_backward(
        self, dz: Array, W: Array, activation: ActivationName, saved: Array, *, out: Array, db: Array
    ) -> None:
        """out = (dz @ W.T) * act'(saved),   db = sum_rows(out).

        The way back across the border of two dense layers: dz (n, n_out) and W (n_in, n_out) belong to the upper
        one, ``activation``, ``saved``, ``out`` (n, n_in) and ``db`` (n_in,) to the lower.
        """

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

    # ---- optimisers -----------------------------------------------------------------------------
    # Flat arrays of one length: slices of the arenas. `lr_factor` and `weight_decay` belong to the slice's
    # parameter group. Nothing is updated once state[HALTED] is set: the weights stay as the failing step found them.

    @abc.abstractmethod
    def sgd(
        self, params: Array, grads: Array, velocity: Array | None, lr: Array, state: Array, *,
        lr_factor: float, momentum: float, nesterov: bool, weight_decay: float,
    ) -> None:  # fmt: skip
        """Gradient descent with momentum.

        g = grads + weight_decay * params;   v = momentum * v + g;
        params -= lr * (g + momentum * v  if nesterov  else  v)

        ``velocity`` is None when momentum is 0. Source: Sutskever et al. 2013, in the form of torch.optim.SGD.
        """

    @abc.abstractmethod
    def adam(
        self, params: Array, grads: Array, m: Array, v: Array, lr: Array, state: Array, *,
        lr_factor: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    ) -> None:  # fmt: skip
        """Adam, and AdamW where the decay is decoupled.   t = state[STEP] + 1.

        coupled: g = grads + weight_decay * params;     decoupled: g = grads, params -= lr * weight_decay * params
        m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
        params -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

        Source: Kingma, Ba 2015, algorithm 1; Loshchilov, Hutter 2019, algorithm 2.
        """

    @abc.abstractmethod
    def clip_by_global_norm(self, grads: Array, *, max_norm: float) -> None:
        """grads *= min(max_norm, norm) / norm,   norm = sqrt(sum g^2); unchanged where norm is 0.

        No branch on the norm, so no look from the host. Source: Pascanu, Mikolov, Bengio 2013, algorithm 1.
        """

    @abc.abstractmethod
    def tick(self, state: Array) -> None:
        """state[STEP] += 1,   state[BATCH] += 1: the end of a step."""
