"""A matrix product by rows, as the contract has it: what is multiplied, how exactly, and what is done to the result."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from chainrule.backends.capture.memory import Span, spans
from chainrule.backends.contract.arrays import Array
from chainrule.errors import DeviceError, ShapeError

Dtype: TypeAlias = Literal["float32", "float64", "bf16"]
Epilogue: TypeAlias = Literal["none", "bias", "relu_bias", "relu_aux_bias", "drelu", "drelu_bgrad"]

ITEM_SIZES: Final = {"float32": 4, "float64": 8, "bf16": 2}  # bytes of an element
LARGEST_ALIGNMENT: Final = 16  # bytes per load; slices of one array that differ beyond it are one product, tuned once
SIGNS_MULTIPLE: Final = 128  # bits, of which a row of signs is a multiple
EPILOGUES: Final[tuple[Epilogue, ...]] = ("none", "bias", "relu_bias", "relu_aux_bias", "drelu", "drelu_bgrad")

# The results that can be written, by the operands' dtype and the precision. The table of types under cublasLtMatmul()
# in NVIDIA's documentation of cuBLAS has these rows.
RESULTS: Final = {
    ("float32", "fp32"): ("float32",),
    ("float32", "tf32"): ("float32",),
    ("bf16", "bf16"): ("float32", "bf16"),
    **{("float64", precision): ("float64",) for precision in ("fp32", "tf32", "bf16")},
}


def alignment(address: int) -> int:
    """The largest power of two, at most 16, of which an address is a multiple."""
    return min(address & -address, LARGEST_ALIGNMENT) or LARGEST_ALIGNMENT


class ProductArrays(NamedTuple):
    """What a :class:`MatrixProduct` reads and writes."""

    a: Array
    b: Array
    out: Array
    bias: Array | None = None
    signs: Array | None = None

    @property
    def present(self) -> tuple[Array, ...]:
        """Those that there are."""
        return tuple(array for array in self if array is not None)

    def spans(self, epilogue: Epilogue) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """The memory that is read, and what is written."""
        bias, signs = (() if array is None else spans(array) for array in (self.bias, self.signs))
        reads, writes = spans(self.a) + spans(self.b), spans(self.out)
        if epilogue == "drelu_bgrad":
            return reads + signs, writes + bias
        if epilogue == "relu_aux_bias":
            return reads + bias, writes + signs
        return reads + bias + signs, writes


class MatrixProduct(NamedTuple):
    """What is to be multiplied, by rows:   out = epilogue(op(a) @ op(b)),   op(a) (m, k), op(b) (k, n), out (m, n).

    Parameters
    ----------
    a_transposed, b_transposed : the array is a transposed view: memory holds (k, m) for a, (n, k) for b, by rows.
    lda, ldb, ldout : elements from the start of a row *in memory* to that of the next.
    operands : dtype of a and b.
    result : dtype of out: float32 or bf16 for bf16 operands, else that of the operands.
    precision : how float32 is multiplied; "bf16" goes with bf16 operands. float64 ignores it.
    epilogue : none            out = x                    x = op(a) @ op(b), added up in float32, or float64
               bias            out = x + bias             bias (n,), of the dtype of out
               relu_bias       out = max(x + bias, 0)     the documentation does not say whether a nan stays a nan
               relu_aux_bias   the same, and signs = [out > 0]; of 0 and of a nan it does not say which
               drelu           out = x [signs]
               drelu_bgrad     the same, and bias = sum_rows(out), written
    a_alignment, b_alignment, out_alignment : bytes, of the address of every row in memory, as :func:`alignment` says.
    members : how many such products there are, one for each member of an ensemble.
    a_stride, b_stride, out_stride, bias_stride : elements from the array of a member to that of the next; 0 if shared.
    signs_step, signs_stride : bits from a row of signs to the next, a multiple of 128, and from a member to the next.

    cublasLt takes a bias of the result's dtype only: bf16 for a bf16 result.
    """

    m: int
    n: int
    k: int
    a_transposed: bool
    b_transposed: bool
    lda: int
    ldb: int
    ldout: int
    operands: Dtype = "float32"
    result: Dtype = "float32"
    precision: str = "fp32"
    epilogue: Epilogue = "none"
    a_alignment: int = LARGEST_ALIGNMENT
    b_alignment: int = LARGEST_ALIGNMENT
    out_alignment: int = LARGEST_ALIGNMENT
    members: int = 1
    a_stride: int = 0
    b_stride: int = 0
    out_stride: int = 0
    bias_stride: int = 0
    signs_step: int = 0
    signs_stride: int = 0

    @property
    def of_one(self) -> MatrixProduct:
        """The product of one member."""
        return self._replace(members=1, a_stride=0, b_stride=0, out_stride=0, bias_stride=0, signs_stride=0)

    @property
    def has_bias(self) -> bool:
        """Whether there is a bias, or a bias gradient in its place."""
        return self.epilogue not in {"none", "drelu"}

    @property
    def has_signs(self) -> bool:
        """Whether there are signs, written or read."""
        return self.epilogue in {"relu_aux_bias", "drelu", "drelu_bgrad"}

    def __str__(self) -> str:
        a, b = "a.T" if self.a_transposed else "a", "b.T" if self.b_transposed else "b"
        return (
            f"{a} @ {b}, ({self.m}, {self.k}) @ ({self.k}, {self.n}), {self.operands} to {self.result} "
            f"in {self.precision}, epilogue {self.epilogue}" + (f", {self.members} times" if self.members > 1 else "")
        )

    def check(self) -> None:
        """Refuse what cannot be: ShapeError for extents, DeviceError for dtypes."""
        rows = {
            "lda": self.m if self.a_transposed else self.k,
            "ldb": self.k if self.b_transposed else self.n,
            "ldout": self.n,
        }
        if min(self.m, self.n, self.k) < 1:
            raise ShapeError(f"an empty product: {self}")
        for name, length in rows.items():
            if getattr(self, name) < length:
                raise ShapeError(f"{name}={getattr(self, name)} is less than a row of {length} elements: {self}")
        if (self.operands, self.precision) not in RESULTS:
            raise DeviceError(f"operands of {self.operands} are not multiplied in {self.precision}: {self}")
        results = RESULTS[self.operands, self.precision]
        if self.result not in results:
            raise DeviceError(f"operands of {self.operands} give {' or '.join(results)}, not {self.result}: {self}")
        if self.members > 1 and self.out_stride < self.m * self.ldout:
            raise ShapeError(f"results of members overlap: {self}")
        if self.members > 1 and self.bias_stride * ITEM_SIZES[self.result] % LARGEST_ALIGNMENT:
            raise ShapeError(f"biases of members begin {self.bias_stride} elements apart, not at 16 bytes: {self}")
        if self.epilogue not in EPILOGUES:
            raise DeviceError(f"there is no epilogue {self.epilogue!r}, only {', '.join(EPILOGUES)}")
        if self.has_signs and (self.signs_step < self.n or self.signs_step % SIGNS_MULTIPLE):
            raise ShapeError(
                f"expected rows of signs of at least {self.n} bits, a multiple of {SIGNS_MULTIPLE}, "
                f"got {self.signs_step}: {self}"
            )
