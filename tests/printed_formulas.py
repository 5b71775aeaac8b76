"""Formulas as they are printed, evaluated as they stand: what a reader would compute from them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np


def evaluate(formula: str, values: dict[str, Any]) -> Any:
    """A printed formula at these numbers: factors side by side are a product, ^ a power, [condition] is 1 or 0."""
    expression, _, where = formula.partition(" where ")
    names: dict[str, Any] = {
        "exp": np.exp,
        "log": np.log,
        "tanh": np.tanh,
        "sqrt": np.sqrt,
        "pi": math.pi,
        "max": np.maximum,
        "min": np.minimum,
        "erf": np.vectorize(math.erf),
        "abs": np.abs,
        "sign": np.sign,
        "clip": np.clip,
        **values,
    }

    def python(text: str) -> str:
        text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text)
        return re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", re.sub(r"\[([^]]*)\]", r"(\1)", text).replace("^", "**"))

    for definition in re.split(r", (?=\w+ = )", where) if where else ():
        name, _, meaning = definition.partition(" = ")
        names[name] = eval(python(meaning), {"__builtins__": {}}, names)
    return eval(python(expression), {"__builtins__": {}}, names)
