"""An item of a stage, and what became of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_check.facts import Facts

RAISED = re.compile(r"[\w.]+(?:Error|Exception|Exit|Interrupt|Warning)\b(?::|$)")
PASSED, FAILED, ABSENT, NOT_REACHED, RUNNING = "passed", "failed", "absent", "not reached", "running"


@dataclasses.dataclass
class Result:
    """What became of an item: of one that is ``absent``, a program or package that it needs is not there."""

    outcome: str
    why: str = ""  # the first line of what went wrong, or what was found
    seconds: float = 0.0
    more: dict[str, Any] = dataclasses.field(default_factory=dict)  # goes into the JSON as it is
    log: str = ""
    lines: list[str] = dataclasses.field(default_factory=list)  # of the table on the screen, below the items


@dataclasses.dataclass(frozen=True)
class Context:
    """What every item is given."""

    device: str  # "cuda", or "cpu" for a rehearsal
    python: str
    root: Path  # of the checkout
    folder: Path  # for files that are kept
    scratch: Path
    environment: Mapping[str, str]
    facts: Facts
    data: Path | None = None
    finished: frozenset[str] = frozenset()  # tests that are not to be run again

    @property
    def on_card(self) -> bool:
        return self.device != "cpu"


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing to try: ``act(context, seconds)`` returns what became of it within that time."""

    name: str
    seconds: float  # at most
    act: Callable[[Context, float], Result]
    files: tuple[str, ...] = ()  # that it writes into the folder


def first_line(text: str, most: int = 200) -> str:
    """The first line that says something, shortened."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= most else line[: most - 3] + "..."


def last_line(text: str, most: int = 200) -> str:
    """The last line that says something: of a traceback, the error."""
    return first_line("\n".join(reversed(text.splitlines())), most)


def error_line(text: str, most: int = 200) -> str:
    """The line of an output that says what went wrong: "error: ...", or a traceback's last error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith((" ", "\t"))]
    told = [line for line in lines if line.lower().startswith(("error:", "==error=="))]
    errors = [line for line in lines if RAISED.match(line)]
    return first_line("\n".join([*told[:1], *errors[-1:]]), most) or last_line(text, most)
