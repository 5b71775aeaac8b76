"""A GPU's rules without a GPU: a backend on NumPy that refuses what a CUDA device would refuse, stall on or corrupt.

It runs the reference kernels, the very text that CuPy runs, on arrays that are locked: no ``float()``, ``bool()``,
``.item()`` or ``np.asarray`` (an implicit copy to the host), no NumPy array mixed in, no result written to memory that
is not contiguous, no ``where=`` (CuPy has none). A step is recorded when it first runs and then replayed *from the
record*, as a CUDA graph is: allocation, upload and download within it are refused, and whatever the host would vary
from step to step stays frozen, so that a trainer which relies on it computes something else and its test fails.

::

    net = cr.MLP([4, 8, 2], backend=cr.GuardedBackend())      # code that trains here is fit for a GPU
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from chainrule.backends.contract.backend import ActivationName, Array, Backend, ReplayStep
from chainrule.backends.contract.transfers import DeferredTransfer, Transfer
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.backend import ReferenceBackend
from chainrule.errors import GuardError

SHAPE_FROM_DATA = {"nonzero", "flatnonzero", "argwhere", "unique", "compress", "extract"}


class GuardedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that behaves as if it lay on a device: it can be computed with, and not read by the host."""

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    def __repr__(self) -> str:
        return f"GuardedArray(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        return len(self._host)

    def __getitem__(self, key: Any) -> GuardedArray:
        if any(isinstance(k, GuardedArray) and k.dtype == bool for k in (key if isinstance(key, tuple) else (key,))):
            raise GuardError("a boolean mask as an index: how many elements it picks is known to the device alone")
        return GuardedArray(np.asarray(self._host[_unlock(key)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_unlock(key)] = _unlock(value)

    def __getattr__(self, name: str) -> Any:
        if name in {"shape", "dtype", "ndim", "size", "nbytes", "itemsize", "flags"}:
            return getattr(self._host, name)
        if name in {"T", "real", "imag"}:
            return _lock(getattr(self._host, name))
        if name in {"reshape", "swapaxes", "astype", "sum", "max", "argmax", "all", "any", "fill", "sort", "view"}:
            return _on_device(getattr(self._host, name))
        raise AttributeError(f"GuardedArray has no {name!r}: add it if CuPy's ndarray has it")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        if "where" in options:
            raise GuardError(f"{ufunc.__name__}(where=...) does not exist in CuPy")
        for target in out:
            if not (isinstance(target, GuardedArray) and _is_contiguous(target._host)):
                raise GuardError(f"{ufunc.__name__} would write to memory that is foreign or not contiguous")
        if out:
            options["out"] = tuple(_unlock(target) for target in out)
        result = getattr(ufunc, method)(*_unlock(inputs), **options)
        return out[0] if out else _lock(result)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise GuardError(
            f"the host reads device memory {self!r}: on a GPU this waits for the device, and a recorded step "
            "cannot do it",
            hint="keep the value on the device, or call backend.download() outside the step",
        )

    __float__ = __int__ = __bool__ = __index__ = __complex__ = _refuse
    __iter__ = __array__ = __contains__ = item = tolist = _refuse


def _is_contiguous(array: np.ndarray) -> bool:
    """Whether it is, or the parts of each member are: those may lie apart."""
    return array.flags.c_contiguous or (array.ndim > 1 and len(array) > 0 and array[0].flags.c_contiguous)


def _lock(value: Any) -> Any:
    return GuardedArray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def _unlock(value: Any) -> Any:
    """The host memory behind guarded arrays, and nothing that a device could not reach."""
    if isinstance(value, GuardedArray):
        return value._host
    if isinstance(value, tuple | list):
        return type(value)(_unlock(v) for v in value)
    if isinstance(value, np.ndarray):
        raise GuardError(
            f"a NumPy array of shape {value.shape} is mixed with device arrays", hint="backend.upload() it first"
        )
    return value


def _on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if function.__name__ in SHAPE_FROM_DATA:
            raise GuardError(f"{function.__name__}: the shape of its result is known to the device alone")
        if "where" in options:
            raise GuardError(f"{function.__name__}(where=...) does not exist in CuPy")
        out = options.get("out")
        if out is not None and not (isinstance(out, GuardedArray) and _is_contiguous(out._host)):
            raise GuardError(f"{function.__name__} would write to memory that is foreign or not contiguous")
        return _lock(function(*_unlock(args), **{name: _unlock(v) for name, v in options.items()}))

    return call


class GuardedModule:
    """NumPy as an array module of guarded arrays."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return found if isinstance(found, type | np.ufunc) else _on_device(found)


def _refuse_other_shapes(kernel: str, **arrays: Array) -> None:
    """NumPy broadcasts a gradient of the wrong shape in silence; a fused kernel reads beyond its end."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise GuardError(
            f"{kernel}: expected arrays of one shape, got {', '.join(f'{n} {s}' for n, s in shapes.items())}"
        )


def _poison(dtype: np.dtype) -> Any:
    if dtype.kind in "fc":
        return np.nan
    return True if dtype.kind == "b" else np.iinfo(dtype).min


class GuardedBackend(ReferenceBackend):
    """The reference kernels under a guard; for tests of code that is to run on a GPU.

    >>> net = cr.MLP([4, 8, 2], backend=cr.GuardedBackend())
    >>> net.predict(np.ones((1, 4))).shape
    (1,)
    >>> float(net.parameter_arena.flat[0])
    Traceback (most recent call last):
    chainrule.errors.GuardError: the host reads device memory GuardedArray(shape=(), dtype=float32): ...

    Raises
    ------
    GuardError   for what a CUDA device would refuse, stall on or corrupt: see :mod:`chainrule.backends.guarded`.
    """

    name = "guarded"
    device = "cpu"
    narrow_kinds = "biuf"
    xp = GuardedModule()

    def __init__(self) -> None:
        self._host = NumPyBackend()
        self._record_of_step: list[Callable[[], None]] | None = None
        self._depth = 0
        self._under_way: list[DeferredTransfer] = []

    def __repr__(self) -> str:
        return "<chainrule backend guarded>"

    def _outside_step(self, what: str) -> None:
        if self._record_of_step is not None:
            raise GuardError(f"{what} within a recorded step", hint="do it once, before the step is captured")

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        self._outside_step(f"allocation of {shape}")
        memory = self._host.empty(shape, dtype)
        # Poison: memory that is read before it was written shows as nan, or as an index out of range.
        memory.fill(_poison(memory.dtype))
        return GuardedArray(memory)

    def upload(self, values: Any, dtype: Any = None) -> Array:
        self._outside_step("upload")
        if isinstance(values, GuardedArray):
            return GuardedArray(np.ascontiguousarray(values._host, dtype=dtype))
        return GuardedArray(np.array(self._host.upload(values), dtype=dtype, order="C"))

    def assign(self, values: Any, *, out: Array) -> None:
        self._outside_step("upload")
        out._host[...] = np.asarray(values)

    def download(self, array: Array) -> np.ndarray:
        self._outside_step("download")
        return np.array(array._host)

    def send(self, host: np.ndarray, *, out: Array) -> Transfer:
        self._outside_step("upload")
        if (host.shape, host.dtype) != (out.shape, out.dtype) or not (
            host.flags.c_contiguous and out.flags.c_contiguous
        ):
            raise GuardError(
                f"{host.shape} of {host.dtype} is sent to {out!r}: expected the same shape and dtype, both contiguous"
            )
        self._under_way = [transfer for transfer in self._under_way if not transfer.is_done]
        for other in self._under_way:
            if np.shares_memory(other.host, host):
                raise GuardError("a buffer is sent that is still on its way", hint="Transfer.wait() first")
            if np.shares_memory(other.memory, out._host) and not other.is_joined:
                raise GuardError("two copies are on their way to the same memory", hint="Transfer.join() first")
        self._under_way.append(DeferredTransfer(host, out._host, _poison(out.dtype)))
        return self._under_way[-1]

    def running(self) -> contextlib.AbstractContextManager[None]:
        return self._host.running()

    def synchronize(self) -> None:
        self._outside_step("synchronisation")

    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        _refuse_other_shapes("activation_backward", saved=saved, dy=dy, dz=dz)
        super().activation_backward(activation, saved, dy, dz=dz, db=db)

    def capture(self, step: Callable[[], None], *twins: Callable[[], None]) -> ReplayStep:
        record: list[Callable[[], None]] = []

        def replay(times: int, *, unchanged: bool = False) -> None:
            if times and not record:
                self._record_of_step = record
                try:
                    step()
                except BaseException:
                    record.clear()  # half a step is no step to replay
                    raise
                finally:
                    self._record_of_step = None
                times -= 1
            for _ in range(times):
                for launch in record:
                    launch()

        return replay


def _recorded(kernel: Callable[..., None]) -> Callable[..., None]:
    """``kernel``, written down with its arguments when a step calls it (what it calls itself is part of it)."""

    @functools.wraps(kernel)
    def call(self: GuardedBackend, *args: Any, **options: Any) -> None:
        if self._record_of_step is not None and self._depth == 0:
            self._record_of_step.append(functools.partial(call, self, *args, **options))
        self._depth += 1
        try:
            kernel(self, *args, **options)
        finally:
            self._depth -= 1

    return call


_NOT_KERNELS = {"empty", "upload", "assign", "download", "running", "synchronize", "capture", "first_nonfinite"}
for _name in Backend.__abstractmethods__ - _NOT_KERNELS:
    setattr(GuardedBackend, _name, _recorded(getattr(GuardedBackend, _name)))
