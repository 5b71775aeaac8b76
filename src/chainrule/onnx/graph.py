"""An ONNX graph while it is written: nodes in the order in which they run, and the numbers they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import OptionError

OPSET = 17
IR_VERSION = 8  # the one that belongs to this opset: every onnxruntime since 1.12 reads it


class Graph:
    """Nodes and constants. A value is known by its name, which is what the methods return.

    Parameters
    ----------
    dtype : of constants that are not told otherwise, "float32" or "float64"
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._onnx = import_onnx()
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._scalars: dict[tuple[str, float], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: np.dtype, columns: int) -> str:
        """What comes in: (n, columns), any n."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._type(dtype), ["n", columns]))
        return name

    def output(self, name: str, value: str, dtype: np.dtype, shape: Sequence[int]) -> None:
        """What goes out: (n, \\*shape), under a name of its own."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._type(dtype), ["n", *shape]))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The output of one more node, or a tuple of them."""
        stem = f"{operator.lower()}{len(self._nodes)}"
        names = [stem] if outputs == 1 else [f"{stem}.{i}" for i in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, name=stem, **attributes))
        return stem if outputs == 1 else tuple(names)

    def constant(self, name: str, values: np.ndarray, dtype: np.dtype | None = None) -> str:
        """An array, by default in the dtype of the graph."""
        array = np.ascontiguousarray(values, dtype or self.dtype)
        self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def scalar(self, value: float, dtype: np.dtype | None = None) -> str:
        """A number; the same number twice is one constant."""
        kind = dtype or self.dtype
        key = (str(kind), value)
        if key not in self._scalars:
            self._scalars[key] = self.constant(f"scalar{len(self._scalars)}", np.asarray(value), kind)
        return self._scalars[key]

    def integers(self, values: Sequence[int] | int) -> str:
        """Whole numbers that an operator takes as an input: a shape, an axis."""
        return self.constant(f"integers{len(self._constants)}", np.asarray(values), np.dtype(np.int64))

    def cast(self, value: str, source: np.dtype, target: np.dtype) -> str:
        """``value`` in another dtype; itself where it has it already."""
        return value if source == target else str(self.node("Cast", value, to=self._type(target)))

    def serialize(self, name: str, *, producer_version: str, metadata: dict[str, str]) -> bytes:
        """The file's bytes, found sound by ``onnx.checker``, types and shapes included."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="chainrule",
            producer_version=producer_version,
        )  # fmt: skip
        helper.set_model_props(model, metadata)
        content: bytes = model.SerializeToString()
        self._onnx.checker.check_model(content, full_check=True)
        return content

    def _type(self, dtype: np.dtype) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def import_onnx() -> Any:
    """The package onnx; OptionError where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise OptionError("the package onnx is not installed", hint="pip install 'chainrule[onnx]'") from error
    return onnx
