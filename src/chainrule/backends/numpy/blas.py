"""Which kernels NumPy's OpenBLAS runs on this processor: half of a run's speed, and part of what its bits depend on."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

VARIABLE = "OPENBLAS_CORETYPE"  # overrides OpenBLAS's own choice when it is loaded


def core_name() -> str:
    """The kernels in use, "Haswell" or "SkylakeX" say; empty where NumPy has another BLAS."""
    for library in Path(np.__file__).parent.with_name("numpy.libs").glob("libscipy_openblas*"):
        try:
            loaded = ctypes.CDLL(str(library))  # the one that NumPy has loaded, not another
        except OSError:
            continue
        for symbol in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename", "openblas_get_corename"):
            name = getattr(loaded, symbol, None)
            if name is not None:
                name.restype = ctypes.c_char_p
                return str(name().decode())
    return ""
