"""A net as an ONNX file: reading it needs neither chainrule nor Python.

The file contains everything from raw features to predictions in the target's own units. It is run in onnxruntime and
compared with the net's own predictions before it takes its name.
"""

from chainrule.onnx.agreement import Agreement
from chainrule.onnx.write import export

__all__ = ["Agreement", "export"]
