"""Values as strict JSON: what a checkpoint, a log and a run's files hold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def json_line(value: Mapping[str, Any]) -> str:
    """``value`` as strict JSON on one line, with the line's end.

    Numbers that JSON lacks are "nan", "inf" and "-inf", dataclasses are objects with their class as "name", and
    everything else that JSON does not know is given by its repr. A character that is not printable is a JSON escape.
    """
    return f"{json_text(value)}\n"


def json_text(value: Mapping[str, Any], indent: int | None = None) -> str:
    """As :func:`json_line`, without the line's end; with ``indent``, one entry per line, indented by so many spaces."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    # A newline within a string is an escape already; others belong to the layout.
    is_printable = text.replace("\n", "").isprintable()
    return text if is_printable else json.dumps(plain(value), allow_nan=False, indent=indent)


def _is_unset(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field is left out because it holds the record that it has by default."""
    own = getattr(value, field.name)
    return bool(dataclasses.is_dataclass(own) and own == field.default)


def plain(value: Any) -> Any:
    """``value`` made of dicts, lists, texts, numbers and None alone; see :func:`json_line`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not _is_unset(value, f)}
        return {"name": type(value).__name__} | {name: plain(v) for name, v in found.items()}
    if isinstance(value, Mapping):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, str | int | None) else repr(value)
