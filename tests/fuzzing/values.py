"""Values and changes of JSON trees and arrays that a fuzzer's bytes spell out."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np

from campaigns.damage import KEYS, VALUES, places
from fuzzing.choices import Choices

DEPTH = 3  # of a value that is made here
ENDS: list[int | float] = [
    0, -1, 2**24, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, math.nan, math.inf, -math.inf, -0.0, 1e300,
    3.5e38, 5e-324,
]  # fmt: skip


def text(choices: Choices, longest: int = 40) -> str:
    """Any text: UTF-8 where the bytes are that."""
    taken = choices.take(choices.randrange(longest))
    try:
        return taken.decode()
    except UnicodeDecodeError:
        return taken.decode("latin-1")


def number(choices: Choices) -> int | float:
    """A whole number of up to 8 bytes, any float, or one at which something ends."""
    match choices.randrange(6):
        case 0:
            return choices.randrange(256)
        case 1:
            return choices.randrange(1 << 16) - (1 << 15)
        case 2:
            return choices.randrange(1 << 64) - (1 << 63)
        case 3:
            return choices.choice(ENDS)
        case 4:
            return float(struct.unpack("<f", choices.randbytes(4))[0])
        case _:
            return float(struct.unpack("<d", choices.randbytes(8))[0])


def real(choices: Choices) -> float:
    """As :func:`number`, among the floats."""
    drawn = number(choices)
    return drawn if isinstance(drawn, float) else float(min(drawn, 10**300))


def value(choices: Choices, depth: int = DEPTH) -> Any:
    """What JSON can say."""
    match choices.randrange(8 if depth else 5):
        case 0 | 1:
            return number(choices)
        case 2:
            return text(choices)
        case 3:
            return choices.choice([None, True, False, [], {}, ""])
        case 4:
            return json.loads(json.dumps(choices.choice(VALUES)))
        case 5:
            return {choices.choice(KEYS): value(choices, depth - 1) for _ in range(choices.randrange(4))}
        case _:
            return [value(choices, depth - 1) for _ in range(choices.randrange(4))]


def change_tree(choices: Choices, tree: dict[str, Any]) -> None:
    """Up to four changes, each at one place: another value, that of another place, gone, doubled, a new key."""
    for _ in range(1 + choices.randrange(4)):
        there = places(tree)
        if not there:
            return
        (container, key), (other, its) = choices.choice(there), choices.choice(there)
        match choices.randrange(6):
            case 0 | 1:
                container[key] = value(choices)
            case 2:
                container[key] = json.loads(json.dumps(other[its]))
            case 3:
                del container[key]
            case 4 if isinstance(container, dict):
                container[choices.choice([*KEYS, text(choices)])] = value(choices)
            case _ if isinstance(container, list):
                container.insert(choices.randrange(len(container) + 1), json.loads(json.dumps(container[key])))


DTYPES = ["<f4", "<f8", "<f2", "|i1", "|u1", "<i2", "<i4", "<i8", "<u8", "|b1"]


def array(choices: Choices, like: np.ndarray) -> np.ndarray:
    """An array of drawn dtype, shape and numbers, or ``like`` with one element that is another."""
    if choices.randrange(2) and like.size:
        changed = like.copy()
        with np.errstate(all="ignore"):
            changed.flat[choices.randrange(like.size)] = np.float64(real(choices)).astype(like.dtype)
        return changed
    shape = tuple(choices.randrange(5) for _ in range(choices.randrange(4)))
    with np.errstate(all="ignore"):
        numbers = [real(choices) for _ in range(min(4, int(np.prod(shape))))]
        return np.resize(np.array(numbers or [0.0]), shape).astype(choices.choice(DTYPES))


def change_arrays(choices: Choices, arrays: dict[str, np.ndarray]) -> None:
    """Up to three arrays: another, renamed, exchanged, gone, a new one."""
    for _ in range(1 + choices.randrange(3)):
        if not arrays:
            return
        names = sorted(arrays)
        name, other = choices.choice(names), choices.choice(names)
        match choices.randrange(5):
            case 0 | 1:
                arrays[name] = array(choices, arrays[name])
            case 2:
                arrays[choices.choice([*names, text(choices)])] = arrays.pop(name)
            case 3:
                arrays[name], arrays[other] = arrays[other], arrays[name]
            case _:
                del arrays[name]
