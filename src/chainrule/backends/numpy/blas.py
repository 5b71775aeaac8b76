"""What NumPy's OpenBLAS does on this processor: half of a run's speed, and part of what its bits depend on."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "OPENBLAS_CORETYPE"  # overrides OpenBLAS's own choice when it is loaded


def core_name() -> str:
    """The kernels in use, "Haswell" or "SkylakeX" say; empty if NumPy has another BLAS."""
    name = _function("get_corename")
    if name is None:
        return ""
    name.restype = ctypes.c_char_p
    return str(name().decode())


def threads() -> int:
    """How many threads a product may use, which decides how its sums are parted; 0 if NumPy has another BLAS."""
    count = _function("get_num_threads")
    return 0 if count is None else int(count())


def _function(name: str) -> Any:
    """A function of NumPy's OpenBLAS, or None."""
    for library in Path(np.__file__).parent.with_name("numpy.libs").glob("libscipy_openblas*"):
        try:
            loaded = ctypes.CDLL(str(library))  # the one that NumPy has loaded, not another
        except OSError:
            continue
        for symbol in (f"scipy_openblas_{name}64_", f"scipy_openblas_{name}", f"openblas_{name}"):
            function = getattr(loaded, symbol, None)
            if function is not None:
                return function
    return None
