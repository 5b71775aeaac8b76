"""Values as TOML 1.0 writes them. Python reads TOML and does not write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
DOTS, DOT = 100, "\\u002E"  # a text with so many might be taken for a key of very many words, which is refused
SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def toml_value(value: Any) -> str:
    """A bool, an int, a float, a text, or a list or a mapping of them, on one line; TypeError for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)  # inf, nan and 1e-05 are TOML too
    if isinstance(value, str):
        text = "".join(map(_escaped, value))
        return f'"{text if text.count(".") < DOTS else text.replace(".", DOT)}"'
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {toml_value(part)}" for name, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else toml_value(name)


def _escaped(character: str) -> str:
    """Control characters may not stand in a text, and invisible ones should be seen."""
    if character in SHORT or character.isprintable():
        return SHORT.get(character, character)
    return f"\\u{ord(character):04X}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08X}"
