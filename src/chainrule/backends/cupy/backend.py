"""The CUDA body: the reference kernels run by CuPy, eagerly.

Each array operation is one launch on the device's current stream; no kernel looks at device memory from the host, so
launches queue up and the host runs ahead. Fused kernels, planned products and recorded steps are faster bodies of the
same methods.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.base import Array
from chainrule.backends.numpy.backend import as_host_array
from chainrule.backends.reference import ReferenceBackend
from chainrule.errors import DataError, DeviceError

LARGEST_ITEM = 16  # bytes, of complex128; long double does not exist on a GPU


class CuPyBackend(ReferenceBackend):
    """CuPy on one CUDA device."""

    name = "cupy"

    def __init__(self, index: int = 0, *, precision: str = "fp32") -> None:
        import cupy

        if precision != "fp32":
            raise DeviceError(f"products in {precision} are not built yet", hint='use precision="fp32"')
        if os.environ.get("CUPY_TF32", "0") not in {"", "0"}:
            raise DeviceError("CUPY_TF32 is set, so float32 products would silently be TF32", hint="unset CUPY_TF32")
        self.xp = cupy
        self.index = index
        self.device = f"cuda:{index}"
        self.precision = precision

    def __repr__(self) -> str:
        return f"<chainrule backend {self.name} on {self.device}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.index,)  # a module cannot be pickled, the number of a device can

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self.xp.cuda.Device(self.index):
            yield

    def synchronize(self) -> None:
        with self.running():
            self.xp.cuda.get_current_stream().synchronize()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self.running():
            return self.xp.empty(shape, dtype)  # CuPy's pool aligns to 512 bytes

    def upload(self, values: Any, dtype: Any = None) -> Array:
        if not (isinstance(values, self.xp.ndarray) or hasattr(values, "__cuda_array_interface__")):
            values = as_host_array(values)
            if values.dtype.kind not in "biufc" or values.dtype.itemsize > LARGEST_ITEM:
                raise DataError(f"an array of dtype {values.dtype} cannot live on a GPU")
        with self.running():
            array = self.xp.asarray(values)
            if array.device.id != self.index:
                raise DeviceError(
                    f"the array lives on cuda:{array.device.id} and the net on {self.device}",
                    hint="copy it across first",
                )
            return self.xp.asarray(array, dtype=dtype, order="C")

    def assign(self, values: Any, *, out: Array) -> None:
        with self.running():
            out[...] = self.xp.asarray(np.ascontiguousarray(values, dtype=out.dtype))

    def download(self, array: Array) -> np.ndarray:
        with self.running():
            host: np.ndarray = self.xp.asnumpy(array)
            return host
