"""Every formula of one training step, with its shapes, each checked numerically.

Each layer brings its formulas (:meth:`~chainrule.nn.layers.base.Layer.formulas`), each loss its own. A forward line is
checked against the formula in long double. A backward line ``dq = ...`` claims to be the gradient of the loss by the
quantity q, and is checked by the complex step: move q along a random direction, go forward by the formulas again with q
held there, and compare the slope of the loss. A line of the prediction is checked as a forward line is.

The formulas are evaluated in array operations of their own, so a kernel that is wrong in the same way forward and
backward is detected too; activations and losses in long double and complex numbers are those of the reference.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OptionError
from chainrule.nn.layers.base import walk
from chainrule.nn.layers.custom_activation import RANGE, CustomActivation
from chainrule.nn.layers.formulas import Backward, Forward
from chainrule.nn.mlp import MLP
from chainrule.nn.network import Network
from chainrule.options import whole_number
from chainrule.plain_text import count_of, list_names, printable, table_lines
from chainrule.verify.explained_step import SYMBOL, Place, Step
from chainrule.verify.explained_step import random_rows as random_rows  # noqa: PLC0414 - exported from here
from chainrule.verify.gradients import COMPLEX_STEP, DIFFERENCE_TOLERANCE, TINY

TOLERANCE = 1e-12

RULE_OF_THUMB = (
    "Rule of thumb: a gradient has the shape of what it is the gradient of, and the shapes leave a product no other\n"
    "choice. d{W} must be {dW_shape}, as {W} is. Of {x} {x_shape} and d{z} {z_shape} only {x}.T @ d{z} has that shape."
)


class Line(NamedTuple):
    """One formula: ``name = formula``, the shapes in it, and the relative error that its check found."""

    part: str  # "forward", "backward", or "prediction" if that is another formula
    layer: str  # "dense0", ..., "loss"
    depth: int  # of blocks around it
    name: str
    formula: str
    shapes: str
    error: float

    @property
    def right(self) -> bool:
        """Whether the check agrees."""
        return self.error <= TOLERANCE


class Explanation(NamedTuple):
    """The lines of a step, and the rule of thumb with this net's shapes. ``str`` of it is what the command prints.

    Attributes
    ----------
    lines : list of Line, forward, then backward, then those of the prediction that differ
    rule : str, two lines of text
    """

    lines: list[Line]
    rule: str

    def __repr__(self) -> str:
        wrong = [line.name for line in self.lines if not line.right]
        found = f"{len(wrong)} wrong ({list_names(wrong)})" if wrong else "all right"
        return f"<Explanation of {count_of(len(self.lines), 'line')}: {found}>"

    def __str__(self) -> str:
        text = ""
        for part in dict.fromkeys(line.part for line in self.lines):
            rows = _rows_of(part, [line for line in self.lines if line.part == part])
            text += "".join(f"{printable(line)}\n" for line in table_lines(rows)) + "\n"
        return text + self.rule


def explain(net: Network | Sequence[int], *, batch: int = 32, seed: int = 0, **options: Any) -> Explanation:
    """One step of a net on ``batch`` random rows, in float64 on the CPU.

    The numbers checked are those of the library's own forward and backward pass at the net's parameters; those that
    still have their initial value (biases of 0, gains of 1) are moved away from it.

    Parameters
    ----------
    net : a Network, which stays as it is, or the widths of an :class:`MLP`
    batch : rows, at least 1
    seed : of the rows
    options : of the MLP (``activation``, ``normalization``, ``loss``, ...), if ``net`` are widths

    Raises
    ------
    OptionError   for a :class:`CustomActivation` whose function does not carry complex numbers.
    """
    whole_number("batch", batch)
    if not isinstance(net, Network):
        net = MLP(net, backend=NumPyBackend(), dtype="float64", seed=seed, **options)
    elif options:
        raise OptionError(
            f"expected no options with a Network, which has its own, got {', '.join(options)}",
            hint="give widths instead",
        )
    for node in walk(net.nodes):
        if isinstance(node.layer, CustomActivation):
            _refuse_non_analytic(node.layer)
    step = Step(net, batch, seed)
    W, x, z = (step.places[-1].names[symbol] for symbol in ("W", "x", "z"))
    W_shape, x_shape, z_shape = (_shape(step.at[name]) for name in (W, x, z))
    rule = RULE_OF_THUMB.format(W=W, dW_shape=W_shape, x=x, x_shape=x_shape, z=z, z_shape=z_shape)
    return Explanation([*_forward(step), *_backward(step), *_prediction(step)], rule)


# ---- the lines ------------------------------------------------------------------------------------


def _forward(step: Step) -> Iterator[Line]:
    exact = step.by_formula(np.longdouble)
    for place in step.order:
        for formula in place.formulas.forward:
            name = place.names[formula.symbol]
            yield _written(step, place, formula).line("forward", _distance(step.at[name], exact[name]))
    error = _distance(step.at["loss"], exact["loss"])
    yield Line("forward", "loss", 0, "loss", _of_top(step, step.net.loss.formula), f"{step.at['loss']:.6g}", error)


def _backward(step: Step) -> Iterator[Line]:
    z = step.places[-1].output
    formula, error = _of_top(step, step.net.loss.gradient), step.gradient_error(z)
    yield Line("backward", "loss", 0, f"d{z}", formula, _shape(step.at[z]), error)
    for written in _backward_lines(step, step.places):
        if written.name != "x":  # the gradient by the rows is not computed
            yield written.line("backward", step.gradient_error(written.name))


def _prediction(step: Step) -> Iterator[Line]:
    exact = step.by_formula(np.longdouble, training=False)
    for place in step.order:
        for formula in place.formulas.prediction:
            error = _distance(step.predicted[place.output], exact[place.output])
            yield _written(step, place, formula).line("prediction", error)


class _Written(NamedTuple):
    """A line with its names and shapes filled in, not yet checked."""

    place: Place
    name: str
    formula: str
    shapes: str

    def line(self, part: str, error: float) -> Line:
        prefix = "d" if part == "backward" else ""
        return Line(
            part, self.place.node.name, self.place.depth, prefix + self.name, self.formula, self.shapes, float(error)
        )


def _backward_lines(step: Step, places: Sequence[Place]) -> Iterator[_Written]:
    """From the last of these layers to the first, whose gradient by x comes last."""
    for place in reversed(places):
        inner = list(_backward_lines(step, place.inner))
        for formula in place.formulas.backward:
            if inner and formula.symbol == "x":  # two gradients by the same x, which are added
                yield from inner[:-1]
                yield _written(step, place, formula, inner[-1])
            else:
                yield _written(step, place, formula)


def _written(step: Step, place: Place, formula: Forward | Backward, inner: _Written | None = None) -> _Written:
    text, shapes = formula.text, formula.shapes
    if inner is not None:
        text = text.replace("{inner}", inner.formula)
        shapes = shapes.replace("{inner}", inner.shapes) if "=" in inner.shapes else ""
    name = place.names[formula.symbol]

    def shape(found: re.Match[str]) -> str:
        array = step.at[place.names[found[1]]]
        return _shape(array.T if found[2] else array)

    return _Written(
        place,
        name,
        SYMBOL.sub(lambda found: place.names[found[1]], text),
        re.sub(rf"{SYMBOL.pattern}(\.T)?", shape, shapes or f"{{{formula.symbol}}}"),
    )


def _of_top(step: Step, formula: str) -> str:
    """A loss's formula with the output's name and its numbers of rows and columns filled in."""
    z = step.places[-1].output
    n, k = step.at[z].shape
    named = re.sub(r"\bz(?=\b|_)", z, formula)
    return re.sub(r"\bk\b", str(k), re.sub(r"\bn\b", str(n), named))


def _shape(array: Any) -> str:
    return f"({','.join(map(str, array.shape))})"


def _distance(found: Any, exact: Any) -> float:
    return float(np.abs(found - exact).max() / max(np.abs(exact).max(), TINY))


def _rows_of(part: str, lines: Sequence[Line]) -> list[list[str]]:
    """A row per line, and one for its abbreviations. A layer is named where its lines begin, indented by its depth."""
    rows, layer = [[part, "", "", "shapes", "relative error"]], ""
    for line in lines:
        place = "  " * (line.depth + 1) + line.layer if line.layer != layer else ""
        layer = line.layer
        error = f"{line.error:.1e}{'' if line.right else '  WRONG'}"
        formula, where, abbreviations = line.formula.partition(" where ")
        rows.append([place, line.name, f"= {formula}", line.shapes, error])
        rows += [["", "", f"  where {abbreviations}"]] if where else []
    return rows


# ---- custom activations ---------------------------------------------------------------------------


def _refuse_non_analytic(layer: CustomActivation) -> None:
    """OptionError if the function's derivative is wrong for complex numbers."""
    z = np.random.default_rng(0).uniform(-RANGE, RANGE, 65)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a discarded imaginary part: detected below
            slope = np.imag(layer.value(np, z + 1j * COMPLEX_STEP)) / COMPLEX_STEP
            gap = np.abs(slope - layer.derivative(np, z))
    except Exception as error:
        why = f"fails: {type(error).__name__}: {error}"
    else:
        if (gap <= DIFFERENCE_TOLERANCE * (1 + np.abs(slope))).all():
            return
        why = "loses their imaginary part"
    raise OptionError(
        f"{layer.name} does not support complex numbers ({why}), with which explain checks",
        hint="use z.real for signs and comparisons; check_gradients takes it as it is",
    )
