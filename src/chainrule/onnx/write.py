"""A net to an ONNX file, whole and checked or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends import backend as make_backend
from chainrule.errors import DataError, OptionError, first_line
from chainrule.files.writing import write_atomically
from chainrule.nn.losses.names import description_of
from chainrule.onnx.agreement import Agreement, compare, import_runtime
from chainrule.onnx.cases import cases_of
from chainrule.onnx.graph import Graph, import_onnx
from chainrule.onnx.layers import chained, check_preparation, features
from chainrule.onnx.outputs import answer
from chainrule.options import one_of
from chainrule.version import __version__

if TYPE_CHECKING:
    from chainrule.nn.network import Network

INPUT_DTYPES = ("float32", "float64")
METADATA = "chainrule"  # the key of metadata_props, which are strings: JSON
LARGEST = 2**31 - 2**20  # bytes of parameters: protobuf ends at 2 GiB


def export(
    net: Network, path: str | Path, *, input_dtype: str | None = None, rows: Any = None, unchecked: bool = False
) -> Agreement | None:
    """Write ``net`` as an ONNX file (opset 17): raw features in, predictions in the target's own units out.

    Input ``X`` (n, n_in), any n, features as they came: standardisation is in the file. A net that was trained on a
    table has one input (n, 1) for each of its columns instead, under the column's name: numbers, nan for a hole, or
    strings, "" for a hole; see :mod:`chainrule.onnx.columns`. Outputs, with the shapes of
    ``predict``: ``label`` (int64, numbers of classes) and ``probabilities``; ``prediction`` for a regression; ``mean``
    and ``variance`` for gaussian_nll. Numbers are computed and come out in the net's dtype, those of a regression whose
    targets were standardised in float64. Names of classes and
    features, the loss and chainrule's version are JSON in the metadata under ``chainrule``.

    The file is run in onnxruntime and compared with the net on the CPU before it takes its name: 256 random rows around
    the training mean, within three deviations, and ``rows``; a table's with holes and new categories, as many as it
    takes for each category, and once more with numbers far out. See :func:`chainrule.onnx.agreement.compare` for what
    counts as equal.

    Parameters
    ----------
    path : replaced in one step, or left as it was
    input_dtype : of numbers, "float32" or "float64"; by default float64 if the net standardises its features or has an
        encoder, else the net's. Large values with small differences (a time stamp) keep their digits in float64 alone.
    rows : (m, n_in) features of your own, to be compared as well; of a net with an encoder a table, such as
        ``cr.read_table(source, like=net)``
    unchecked : write the file without running it; onnxruntime need not be there

    Returns
    -------
    What the comparison found; None where there was none.

    Raises
    ------
    OptionError   where onnx or onnxruntime is missing, or a part of the net has no ONNX form (a CustomActivation).
    DataError     where file and net disagree, or a parameter is not finite.
    """
    import_onnx()
    if not unchecked:
        import_runtime()
    came = np.dtype(one_of("input_dtype", input_dtype or usual_input_dtype(net), INPUT_DTYPES))
    own = net if net.backend.device == "cpu" else net.copy(backend=make_backend("cpu"))
    content = serialize(own, came)
    found = None
    if not unchecked:
        each = [compare(content, own, case) for case in cases_of(own, came, rows)]
        found = Agreement(sum(one.rows for one in each), max(one.difference for one in each))
    write_atomically(path, content)
    return found


def usual_input_dtype(net: Network) -> str:
    """Of numbers: float64 where digits count up to the standardisation, else the net's."""
    prepared = net.preparation.features is not None or net.preparation.encoder is not None
    return "float64" if prepared else str(net.dtype)


def serialize(net: Network, came: np.dtype) -> bytes:
    """The bytes of the file for features of dtype ``came``; the same net gives the same bytes."""

    parameters = net.parameter_arena.download()
    for name, value in parameters.items():
        if not np.isfinite(value).all():
            raise DataError(f"{name} is not finite: a net that predicts nothing is not exported")
    if sum(value.nbytes for value in parameters.values()) > LARGEST:
        raise OptionError("the net has more than 2 GiB of parameters, more than one ONNX file holds")
    check_preparation(net)
    p = net.preparation
    g = Graph(net.dtype)
    answer(g, net, chained(g, net.nodes, features(g, net, came), parameters))
    about = {
        "version": __version__,
        "loss": description_of(net.loss),
        "feature_names": list(p.feature_names),
        "target_name": p.target_name,
        "classes": list(p.classes),
        **({} if p.encoder is None else {"columns": p.encoder.kinds}),
    }
    metadata = {METADATA: json.dumps(about, ensure_ascii=False)}
    try:
        return g.serialize("chainrule", producer_version=__version__, metadata=metadata)
    except MemoryError:
        raise
    except Exception as error:  # of onnx.checker: a bug here, said in one line
        raise DataError(f"onnx.checker refuses the file: {first_line(error)}") from error
