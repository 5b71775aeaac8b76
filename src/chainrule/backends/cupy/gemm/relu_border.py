"""The border of two dense layers with a ReLU between them: shapes and dtypes, and how many bytes its signs take."""

from __future__ import annotations

from typing import NamedTuple

from chainrule.backends.cupy.gemm.matrix_product import SIGNS_MULTIPLE, Dtype


def signs_bytes(width: int) -> int:
    """Bytes for a bit for each of so many columns, as cublasLt wants them."""
    return -(-width // SIGNS_MULTIPLE) * SIGNS_MULTIPLE // 8


class ReluBorder(NamedTuple):
    """The border of two dense layers: y = max(x @ W + b, 0), and back out = (dz @ V.T) * [y > 0], db = sum_rows(out).

    x (rows, n_in), W (n_in, width), y and out (rows, width), V (width, n_out), dz (rows, n_out), all ``stored``; db
    ``real``. An ``n_in`` of 0 is the way back alone.
    """

    rows: int
    n_in: int
    width: int
    n_out: int
    stored: Dtype
    real: Dtype
    precision: str

    @property
    def backward(self) -> ReluBorder:
        """Its way back."""
        return self._replace(n_in=0)

    def __str__(self) -> str:
        """As it is on file."""
        return "relu across a border: " + " ".join(f"{name}={value}" for name, value in self._asdict().items())
