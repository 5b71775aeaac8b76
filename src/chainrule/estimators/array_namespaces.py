"""Where arrays live: an array library and a device of it. Answers live where the questions do."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.utils._array_api import get_namespace_and_device

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn before 1.9 has no such rule

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Nothing."""


NUMBERS = "biuf"  # kinds of NumPy dtypes that other libraries have too; text stays NumPy's

__all__ = ["NUMBERS", "ArrayNamespace", "check_same_namespace", "is_on_gpu", "namespace_of", "on_host"]


class ArrayNamespace(NamedTuple):
    """A namespace of the array API standard, and one of its devices."""

    xp: Any
    device: Any

    def to_device(self, values: np.ndarray) -> Any:
        """``values`` from the host as an array that lives here."""
        return self.xp.asarray(values, device=self.device)


def namespace_of(X: Any) -> ArrayNamespace | None:
    """Where ``X`` lives, if that is not NumPy and scikit-learn is set to ``array_api_dispatch=True``."""
    if not get_config()["array_api_dispatch"] or not hasattr(X, "dtype") or type(X) is np.ndarray:
        return None
    xp, known, device = get_namespace_and_device(X)
    return ArrayNamespace(xp, device) if known and "numpy" not in xp.__name__ else None


def is_on_gpu(X: Any) -> bool:
    """Whether these are numbers in a GPU's memory, whose library they may be."""
    return hasattr(X, "__cuda_array_interface__")


def on_host(values: Any) -> Any:
    """An array of another library as a NumPy array; all else (lists, frames, NumPy arrays, None) as it is."""
    namespace = namespace_of(values)
    if namespace is None and not is_on_gpu(values):
        return values
    if hasattr(values, "detach"):  # torch
        return values.detach().cpu().numpy()
    if hasattr(values, "get"):  # CuPy
        return values.get()
    if (
        namespace is not None and namespace.xp.__name__ == "array_api_strict"
    ):  # it pretends that its other devices are far away
        values = values.to_device(namespace.xp.Device("CPU_DEVICE"))
    return np.asarray(values)
