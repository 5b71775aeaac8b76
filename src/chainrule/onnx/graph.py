"""An ONNX graph under construction: nodes in the order in which they run, and their constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import OptionError

OPSET = 17
LEARNING = "ai.onnx.ml"  # the operators on text; every onnxruntime has them
LEARNING_OPSET = 3
IR_VERSION = 8  # the one that belongs to this opset: every onnxruntime since 1.12 reads it


class Graph:
    """Nodes and constants. A value is identified by its name, which the methods return.

    Parameters
    ----------
    dtype : of constants by default, "float32" or "float64"
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.prefix = ""  # of the names of constants: of the member of an ensemble whose layers are being added
        self._onnx = import_onnx()
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._scalars: dict[tuple[str, float], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._taken: set[str] = set()

    def input(self, name: str, dtype: np.dtype, columns: int) -> str:
        """An input (n, columns), any n; text has dtype object. Inputs must be added before anything else."""
        self._taken.add(name)
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._type(dtype), ["n", columns]))
        return name

    def output(self, name: str, value: str, dtype: np.dtype, shape: Sequence[int]) -> None:
        """An output (n, \\*shape), under a name of its own; OptionError if an input has that name."""
        if name in self._taken:
            raise OptionError(
                f"a column of the table has the name {name!r}, which is that of an output of the file",
                hint="rename the column and train again",
            )
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._type(dtype), ["n", *shape]))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; its output, or a tuple of them."""
        stem = self._free(f"{operator.lower()}{len(self._nodes)}")
        names = [stem] if outputs == 1 else [self._free(f"{stem}.{i}") for i in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, name=stem, **attributes))
        return stem if outputs == 1 else tuple(names)

    def constant(self, name: str, values: np.ndarray, dtype: np.dtype | None = None) -> str:
        """An array, by default in the dtype of the graph."""
        name = self._free(self.prefix + name)
        array = np.ascontiguousarray(values, dtype or self.dtype)
        self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def scalar(self, value: float, dtype: np.dtype | None = None) -> str:
        """A number; equal numbers share one constant."""
        kind = dtype or self.dtype
        key = (str(kind), value)
        if key not in self._scalars:
            self._scalars[key] = self.constant(f"scalar{len(self._scalars)}", np.asarray(value), kind)
        return self._scalars[key]

    def codes(self, texts: str, code: Mapping[str, int], other: int) -> str:
        """int64 of the shape of ``texts``: the code of each text, ``other`` for one that is not among them."""
        return str(
            self.node(
                "LabelEncoder",
                texts,
                domain=LEARNING,
                keys_strings=list(code),
                values_int64s=list(code.values()),
                default_int64=other,
            )
        )

    def integers(self, values: Sequence[int] | int) -> str:
        """Whole numbers that an operator takes as an input: a shape, an axis."""
        return self.constant(f"integers{len(self._constants)}", np.asarray(values), np.dtype(np.int64))

    def cast(self, value: str, source: np.dtype, target: np.dtype) -> str:
        """``value`` in another dtype; itself if it has it already."""
        return value if source == target else str(self.node("Cast", value, to=self._type(target)))

    def serialize(self, name: str, *, producer_version: str, metadata: dict[str, str]) -> bytes:
        """The file's bytes, checked by ``onnx.checker``, types and shapes included."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == LEARNING for node in self._nodes):
            opsets.append(helper.make_opsetid(LEARNING, LEARNING_OPSET))
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="chainrule",
            producer_version=producer_version,
        )
        helper.set_model_props(model, metadata)
        content: bytes = model.SerializeToString()
        self._onnx.checker.check_model(content, full_check=True)
        return content

    def _free(self, name: str) -> str:
        """``name``, or a similar one if an input has it already."""
        while name in self._taken:
            name += "'"
        return name

    def _type(self, dtype: np.dtype) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def import_onnx() -> Any:
    """The package onnx; OptionError if it is not installed."""
    try:
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper

        import onnx
    except ImportError as error:
        raise OptionError("the package onnx is not installed", hint="pip install 'chainrule[onnx]'") from error
    return onnx
