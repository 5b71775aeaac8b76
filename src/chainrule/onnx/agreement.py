"""Whether a file predicts what the net predicts: both get the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DataError, OptionError, first_line

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the distance from the column's mean and of its deviation
ROUNDING = 64  # units of roundoff of the number itself


class Agreement(NamedTuple):
    """The result of a comparison: over ``rows`` rows labels were equal, and numbers within ``difference``.

    ``difference`` is the largest, relative to what :func:`allowed` gives: at most 1.
    """

    rows: int
    difference: float


class Case(NamedTuple):
    """Rows as the file takes them, {input: (n, columns)}, and the net's own predictions for them, {output: (n, ...)}.

    ``bounds`` say how far each number may be off, by output; labels have none.
    """

    feeds: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    bounds: dict[str, np.ndarray]


def compare(content: bytes, case: Case) -> Agreement:
    """Run the ONNX file of these bytes in onnxruntime on the rows of ``case``, all at once and the first alone.

    Labels are equal, but for rows for which the net itself is undecided within the tolerance; numbers within
    :func:`allowed`.

    Raises
    ------
    OptionError   if onnxruntime is not installed.
    DataError     if they disagree, naming the output and the row; or if onnxruntime does not take the file.
    """
    first = {name: values[:1] for name, values in case.feeds.items()}
    n_rows = len(next(iter(case.expected.values())))
    worst = 0.0
    found, alone = _run(content, (case.feeds, first))
    for name, expected in case.expected.items():
        for predicted, n in ((found, n_rows), (alone, 1)):
            shape, wanted = predicted[name].shape, (n, *expected.shape[1:])
            if shape != wanted:
                raise DataError(f"expected {name} of the exported file to have shape {wanted}, got {shape}")
            apart = _differences(name, predicted, case, n)
            worst = max(worst, float(apart.max()))
            if not worst <= 1:
                _refuse(name, apart, predicted[name], expected[:n])
    return Agreement(n_rows, worst)


def _run(content: bytes, each: tuple[Mapping[str, np.ndarray], ...]) -> list[dict[str, np.ndarray]]:
    """The file's outputs by name, for each of these inputs."""
    runtime = import_runtime()
    try:
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors: it warns of machines, not of files
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, session.run(None, feeds), strict=True)) for feeds in each]
    except MemoryError:
        raise
    except Exception as error:  # its errors have no common class
        raise DataError(f"onnxruntime does not run the exported file: {first_line(error)}") from error


def allowed(expected: np.ndarray, dtype: np.dtype | None = None, unit: Any = 0.0) -> np.ndarray:
    """How far a number may be from ``expected`` (n, ...).

    1e-4 (float64: 1e-10) of its distance from the mean over rows and of their standard deviation, and 64 units of
    roundoff: so prices in the hundred thousands are compared at the scale of their differences.

    Parameters
    ----------
    dtype : in which the net computes, by default that of ``expected``
    unit : the standard deviation of a standardised target, of which 8 units of roundoff (float32: 1e-6) are allowed
        besides: the net's logits are rounded at that scale, however little they differ
    """
    dtype = expected.dtype if dtype is None else dtype
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = expected.mean(axis=0, dtype=np.float64), expected.std(axis=0, dtype=np.float64)
        spread = np.nan_to_num(np.abs(expected - mean) + deviation)  # 0 if it overflows: the rounding is left
    rounding = ROUNDING * np.finfo(expected.dtype).eps * np.abs(expected) + 8 * np.finfo(dtype).eps * unit
    return np.asarray(TOLERANCE[str(dtype)] * spread + rounding)


def import_runtime() -> Any:
    """The package onnxruntime; OptionError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError(
            "onnxruntime is not installed, so the file cannot be compared with the net",
            hint="pip install 'chainrule[onnx]'; or write it unchecked (unchecked=True, --unchecked)",
        ) from error
    return onnxruntime


def _differences(name: str, predicted: dict[str, np.ndarray], case: Case, n: int) -> np.ndarray:
    """The difference of each number relative to what is allowed; of a label 0 or infinity."""
    expected = case.expected[name][:n]
    with np.errstate(over="ignore", invalid="ignore"):
        if name in case.bounds:
            bound = case.bounds[name][:n]
            difference = np.abs(predicted[name] - expected)
            return np.where(predicted[name] == expected, 0.0, difference / np.where(bound > 0, bound, np.nan))
        probabilities, label = case.expected["probabilities"][:n], predicted["label"]
        tolerance = TOLERANCE[str(probabilities.dtype)]
        if probabilities.shape == label.shape:  # yes or no
            undecided = np.abs(probabilities - 0.5) <= tolerance
        else:
            chosen = np.take_along_axis(probabilities, label[:, None], axis=1)[:, 0]
            undecided = probabilities.max(axis=1) - chosen <= tolerance
        return np.where((label == expected) | undecided, 0.0, np.inf)


def _refuse(name: str, apart: np.ndarray, found: np.ndarray, expected: np.ndarray) -> None:
    at = tuple(int(i) for i in np.argwhere(~(apart <= 1))[0])
    place = f"row {at[0]}" + (f", column {at[-1]}" if len(at) > 1 else "")
    raise DataError(
        f"{name} at {place}: expected {expected[at]}, as from the net, got {found[at]} from the exported file; "
        "nothing was written",
        hint="standardise the features: then the order of operations changes little",
    )
