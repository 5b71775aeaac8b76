"""A net to an ONNX file, checked and written in one piece, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.backends import backend as make_backend
from chainrule.errors import DataError, OptionError, first_line
from chainrule.files.writing import write_atomically
from chainrule.nn.network import Network
from chainrule.onnx.agreement import Agreement, compare, import_runtime
from chainrule.onnx.cases import cases_of
from chainrule.onnx.graph import Graph, import_onnx
from chainrule.onnx.layers import check_preparation, features, logits_of
from chainrule.onnx.outputs import add_outputs
from chainrule.options import one_of
from chainrule.version import __version__

INPUT_DTYPES = ("float32", "float64")
METADATA = "chainrule"  # the key of metadata_props, which are strings: JSON
LARGEST = 2**31 - 2**20  # bytes of parameters: protobuf ends at 2 GiB


def export(
    net: Network, path: str | Path, *, input_dtype: str | None = None, rows: Any = None, unchecked: bool = False
) -> Agreement | None:
    """Write ``net`` as an ONNX file (opset 17): raw features in, predictions in the target's own units out.

    Input ``X`` (n, n_in), any n, raw features: standardisation is in the file. A net that was trained on a table has
    one input (n, 1) for each of its columns instead, under the column's name: numbers, nan if missing, or strings, ""
    if missing; see :mod:`chainrule.onnx.columns`. Outputs, with the shapes of ``predict``: ``label`` (int64, class
    numbers) and ``probabilities``; ``prediction`` for a regression; ``mean`` and ``variance`` for gaussian_nll. Numbers
    are computed and returned in the net's dtype, those of a regression whose targets were standardised in float64. Of
    an ensemble the layers of each member are in the file, and the outputs are the mean of their predictions.
    Names of classes and features, the loss and chainrule's version are JSON in the metadata under ``chainrule``.

    The file is run in onnxruntime and compared with the net on the CPU before it takes its name: on 256 random rows
    within three standard deviations of the training mean, and on ``rows``; for a table with missing values and new
    categories, on enough rows for each category, and again with numbers far out. See
    :func:`chainrule.onnx.agreement.compare` for what counts as equal.

    Parameters
    ----------
    path : replaced in one step, or left unchanged
    input_dtype : of numbers, "float32" or "float64"; by default float64 if the net standardises its features or has an
        encoder, else the net's. Large values with small differences (a time stamp) keep their digits only in float64.
    rows : (m, n_in) more features to compare on; of a net with an encoder a table, such as
        ``cr.read_table(source, like=net)``
    unchecked : write the file without running it; onnxruntime need not be installed

    Returns
    -------
    The result of the comparison; None if there was none.

    Raises
    ------
    OptionError   if onnx or onnxruntime is missing, or a part of the net has no ONNX form (a CustomActivation).
    DataError     if file and net disagree, or a parameter is not finite.
    """
    import_onnx()
    if not unchecked:
        import_runtime()
    dtype = np.dtype(one_of("input_dtype", input_dtype or usual_input_dtype(net), INPUT_DTYPES))
    own = net if net.backend.device == "cpu" else net.copy(backend=make_backend("cpu"))
    content = serialize(own, dtype)
    found = None
    if not unchecked:
        each = [compare(content, case) for case in cases_of(own, dtype, rows)]
        found = Agreement(sum(one.rows for one in each), max(one.difference for one in each))
    write_atomically(path, content)
    return found


def usual_input_dtype(net: Network) -> str:
    """Of inputs that hold numbers: float64 if the net prepares them, which may need its digits, else the net's."""
    prepared = net.preparation.features is not None or net.preparation.encoder is not None
    return "float64" if prepared else str(net.dtype)


def _members(g: Graph, net: Network, parameters: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The parameters of each member of an ensemble, whose constants get names of their own."""
    if net.members == 1:
        yield parameters
        return
    for j in range(net.members):
        g.prefix = f"member{j}."
        yield {name: value[j] for name, value in parameters.items()}
    g.prefix = ""


def serialize(net: Network, input_dtype: np.dtype) -> bytes:
    """The bytes of the file for features of dtype ``input_dtype``; the same net gives the same bytes."""

    parameters = net.parameter_arena.download()
    for name, value in parameters.items():
        if not np.isfinite(value).all():
            raise DataError(f"{name} is not finite: such a net predicts nothing and is not exported")
    if sum(value.nbytes for value in parameters.values()) > LARGEST:
        raise OptionError("expected at most 2 GiB of parameters, the limit of an ONNX file, got more")
    check_preparation(net)
    encoder = net.preparation.encoder
    g = Graph(net.dtype)
    x = features(g, net, input_dtype)
    add_outputs(g, net, [logits_of(g, net.nodes, x, of_member) for of_member in _members(g, net, parameters)])
    about = {
        "version": __version__,
        "loss": net.describe()["loss"],
        **net.preparation.describe_names(),
        **({} if encoder is None else {"columns": encoder.kinds}),
    }
    metadata = {METADATA: json.dumps(about, ensure_ascii=False)}
    try:
        return g.serialize("chainrule", producer_version=__version__, metadata=metadata)
    except MemoryError:
        raise
    except Exception as error:  # of onnx.checker: a bug here, reported in one line
        raise DataError(f"onnx.checker refuses the file: {first_line(error)}") from error
