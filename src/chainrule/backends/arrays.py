"""What an array is called here."""

from __future__ import annotations

from typing import Any, TypeAlias

# An array of the backend's own kind. NumPy's and CuPy's array types share no static base class, and a
# type parameter on every layer would say no more than this name does.
Array: TypeAlias = Any
