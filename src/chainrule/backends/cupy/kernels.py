"""The CUDA sources beside this file, and how their kernels are called: by the names of their parameters.

A source is compiled once for each *variant*, a choice of the two types that its text leaves open::

    variant     REAL     STORED
    float32     float    float      float32 nets in fp32 and tf32
    float64     double   double
    bf16        float    bf16       what products read is stored in bf16, all else in float32

The signature in the source is the only one there is: it says which types a call must pass and, by ``const``, which
arrays it only reads.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from chainrule.backends.capture.memory import Span, address, spans
from chainrule.backends.contract.backend import BF16, Array
from chainrule.errors import ShapeError

HERE = Path(__file__).parent

VariantName: TypeAlias = Literal["float32", "float64", "bf16"]

VARIANTS: Final[dict[str, dict[str, str]]] = {
    "float32": {"REAL": "float", "STORED": "float"},
    "float64": {"REAL": "double", "STORED": "double"},
    "bf16": {"REAL": "float", "STORED": "bf16"},
}

# The variant for arrays of a dtype, by the name that it also has in the description of a product.
VARIANT_OF: Final[dict[np.dtype, VariantName]] = {
    np.dtype(np.float32): "float32",
    np.dtype(np.float64): "float64",
    BF16: "bf16",
}
ACCESS: Final = 16  # bytes, the most that a thread moves at once

# What is compiled between common.cuh and a source: device functions that it shares or that would make it too long.
HEADERS: Final[dict[str, str]] = {
    "layers.cu": "activations.cuh",
    "optimisers.cu": "flat_arrays.cuh",
    "clipping_and_averages.cu": "flat_arrays.cuh",
    "batch_normalization.cu": "columns.cuh",
    "batch_normalization_backward.cu": "columns.cuh",
    "columns.cu": "columns.cuh",
}

_DTYPES: Final[dict[str, np.dtype]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "bf16": BF16,
    "int": np.dtype(np.int32),
    "u32": np.dtype(np.uint32),
    "i64": np.dtype(np.int64),
    "u64": np.dtype(np.uint64),
}

# The dtypes that a `void*` parameter may point to, each by its number in common.cuh.
_KINDS: Final[tuple[Any, ...]] = (
    *("float32", "float64", BF16, "float16", "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64"),
    "int64",
)
KINDS: Final[dict[np.dtype, int]] = {np.dtype(kind): number for number, kind in enumerate(_KINDS)}

_KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\s*\(([^)]*)\)', re.DOTALL)
_PARAMETER = re.compile(r"(const )?\s*([\w ]+?)\s*(\*)?\s*(?:__restrict__)?\s*(\w+)$")


class Parameter(NamedTuple):
    """One parameter of a kernel, as its source declares it."""

    name: str
    type: str  # "float", "i64", "REAL", "void", ...
    is_array: bool
    is_const: bool

    def dtype(self, variant: str) -> np.dtype | None:
        """The dtype that a call must pass; None for ``void*``, which takes any."""
        return _DTYPES.get(VARIANTS[variant].get(self.type, self.type))


class BoundArguments(NamedTuple):
    """Arguments in the order of the signature, and the memory that they name."""

    values: tuple[Any, ...]  # NumPy scalars of the exact types; an address for an array
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    arrays: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """A kernel: its name, the source that holds it, its parameters in order."""

    kernel: str
    source: str
    parameters: tuple[Parameter, ...]

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(parameter.name for parameter in self.parameters)

    @functools.cached_property
    def _dtypes(self) -> dict[str, tuple[np.dtype | None, ...]]:
        return {variant: tuple(parameter.dtype(variant) for parameter in self.parameters) for variant in VARIANTS}

    def bind(self, variant: str, arguments: dict[str, Any]) -> BoundArguments:
        """The arguments of a launch; ShapeError if a name or dtype is not the signature's."""
        if arguments.keys() != self._names:
            expected = ", ".join(p.name for p in self.parameters)
            raise ShapeError(f"expected {self.kernel}({expected}), got {self.kernel}({', '.join(arguments)})")
        values: list[Any] = []
        reads: list[Span] = []
        writes: list[Span] = []
        arrays: list[Array] = []
        for parameter, dtype in zip(self.parameters, self._dtypes[variant], strict=True):
            value = arguments[parameter.name]
            if not parameter.is_array:
                assert dtype is not None, parameter
                values.append(dtype.type(value))
            elif value is None:
                values.append(np.uint64(0))
            else:
                if dtype is not None and value.dtype != dtype:
                    raise ShapeError(f"{self.kernel}: {parameter.name}: expected {dtype}, got {value.dtype}")
                values.append(np.uint64(address(value)))
                (reads if parameter.is_const else writes).extend(spans(value))
                arrays.append(value)
        return BoundArguments(tuple(values), tuple(reads), tuple(writes), tuple(arrays))


def source_text(source: str) -> str:
    """What is compiled for ``source``: the common part, its header if it has one, then its own.

    Joined here rather than by ``#include``, because CuPy keeps compiled kernels under the hash of the text alone.
    """
    parts = [HEADERS[source], source] if source in HEADERS else [source]
    return (HERE / "common.cuh").read_text() + "".join(
        f'\n#line 1 "{part}"\n{(HERE / part).read_text()}' for part in parts
    )


def sources() -> list[str]:
    """The names of the sources."""
    return sorted(path.name for path in HERE.glob("*.cu"))


@functools.cache
def signatures() -> dict[str, Signature]:
    """Every kernel of every source, by name. Threads that come first may each read the sources, and find the same."""
    found = {}
    for source in sources():
        text = re.sub(r"//[^\n]*", "", (HERE / source).read_text())
        for kernel, declared in _KERNEL.findall(text):
            parameters = tuple(_parameter(kernel, part) for part in declared.split(","))
            found[kernel] = Signature(kernel, source, parameters)
    return found


def _parameter(kernel: str, declared: str) -> Parameter:
    match = _PARAMETER.match(" ".join(declared.split()))
    if match is None:
        raise ValueError(f"{kernel}: the parameter {declared!r} cannot be read")
    const, kind, star, name = match.groups()
    return Parameter(name, kind.strip(), star is not None, const is not None)


def options(variant: str) -> tuple[str, ...]:
    """What the compiler is told."""
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in VARIANTS[variant].items()))
