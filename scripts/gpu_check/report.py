"""What a stage leaves behind: a table on the screen; in the folder the same as text, all of it as JSON, and the log.

The JSON is written anew after every item, so that what a stage has found is there whatever ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_check.facts import Facts
from gpu_check.items import ABSENT, FAILED, NOT_REACHED, PASSED, RUNNING, Item, Result

FORMAT = 1  # of the JSON
WIDTH = 118
MOST_LINES = 30  # of the table, besides one for each item
HEAD, TAIL = 150_000, 450_000  # characters of an item's output that go into the log
LARGEST = 15 << 20  # bytes of a file; a larger one is cut


class Report:
    """Of one stage."""

    def __init__(self, stage: str, folder: Path, facts: Facts, items: Sequence[Item]) -> None:
        self.stage, self.folder, self.facts, self.items = stage, folder, facts, items
        self.results: dict[str, Result] = {}
        self.start = time.monotonic()
        self.ended = RUNNING  # then "complete", "interrupted", "no device"
        self.problems: dict[str, str] = {}  # files that could not be written
        for name in self.files:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)  # of an earlier run

    @property
    def files(self) -> list[str]:
        own = [f"{self.stage}.{kind}" for kind in ("json", "log", "txt")]
        return own + [file for item in self.items for file in item.files]

    def begin(self, item: Item) -> None:
        self.results[item.name] = Result(RUNNING)
        self.write_json()

    def add(self, item: Item, result: Result) -> None:
        self.results[item.name] = result
        print(line_of(item.name, result), flush=True)
        log = f"\n===== {item.name}: {result.outcome}, {result.seconds:.1f} s; {result.why}\n{shortened(result.log)}\n"
        self._write(f"{self.stage}.log", log, mode="a")
        self.write_json()

    @property
    def code(self) -> int:
        """The exit code, if nothing else decides it: 0 if all has passed, but for what is absent, and something has."""
        outcomes = [result.outcome for result in self.results.values()]
        right = set(outcomes) <= {PASSED, ABSENT} and PASSED in outcomes and len(outcomes) == len(self.items)
        return 0 if right and not self.problems else 1

    def finish(self, ended: str, code: int) -> None:
        """Everything that was not reached is said to be; the table is printed and all is written."""
        self.ended = ended
        for item in self.items:
            found = self.results.get(item.name)
            if found is None:
                self.results[item.name] = Result(NOT_REACHED, ended if ended != "complete" else "the time was over")
            elif found.outcome == RUNNING:
                self.results[item.name] = Result(FAILED, ended)
        for item in self.items:
            for file in item.files:
                cut(self.folder / file)
        self.write_json(code)
        table = "\n".join(self.table(code))
        self._write(f"{self.stage}.txt", table + "\n")
        print("\n" + table, flush=True)
        for name, problem in self.problems.items():
            print(f"error: {name} could not be written: {problem}", flush=True)

    def table(self, code: int) -> list[str]:
        """One screen: where it ran, a line for each item, and below it what the items have to add."""
        ordered = [(item.name, self.results[item.name]) for item in self.items if item.name in self.results]
        more = [line for name, result in ordered if result.lines for line in (f"{name}:", *result.lines)]
        more = ["", *more] if more else []
        if len(more) > MOST_LINES:
            more = [*more[: MOST_LINES - 1], f"... {len(more) - MOST_LINES + 1} more lines in {self.stage}.log"]
        outcomes = [result.outcome for _, result in ordered]
        kinds = [f"{outcomes.count(kind)} {kind}" for kind in (PASSED, FAILED, ABSENT, NOT_REACHED) if kind in outcomes]
        total = f"{self.stage}: {', '.join(kinds)}; {self.seconds:.0f} s; exit code {code}; {self.ended}"
        lines = [self.headline, *(line_of(name, result) for name, result in ordered), *more, total]
        return [line[:WIDTH] for line in lines]

    @property
    def headline(self) -> str:
        card, packages = self.facts.get("card") or {}, self.facts.get("packages", {})
        told = [card.get("name", "no card")] if self.facts["device"] != "cpu" else ["REHEARSAL on the CPU"]
        told += [f"driver {card['driver_version']}"] if "driver_version" in card else []
        told += [f"Python {self.facts['python']}"]
        told += [f"{name} {packages[name]}" for name in ("numpy", "cupy-cuda12x", "cupy-cuda13x") if name in packages]
        return f"{self.stage}: {', '.join(told)}; {self.facts['commit'] or self.facts['sources']}, {self.facts['date']}"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def write_json(self, code: int | None = None) -> None:
        found = {
            "format": FORMAT,
            "stage": self.stage,
            "ended": self.ended,
            "exit_code": code,
            "seconds": round(self.seconds, 1),
            "facts": self.facts,
            "not_written": self.problems,
            "items": [entry(item, self.results.get(item.name)) for item in self.items],
        }
        text = json.dumps(found, indent=1) + "\n"
        name = f"{self.stage}.json"
        temporary = self.folder / f"{name}.part"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.folder / name)
            self.problems.pop(name, None)
        except OSError as error:
            self.problems[name] = str(error)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _write(self, name: str, text: str, mode: str = "w") -> None:
        try:
            with (self.folder / name).open(mode, encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            self.problems[name] = str(error)


def entry(item: Item, result: Result | None) -> dict[str, Any]:
    """An item in the JSON; ``ran`` is whether it was begun and what it needs was there."""
    result = result or Result(NOT_REACHED)
    ran, seconds = result.outcome in {PASSED, FAILED}, round(result.seconds, 2)
    return {
        "name": item.name,
        "ran": ran,
        "outcome": result.outcome,
        "why": result.why,
        "seconds": seconds,
        **result.more,
    }


def line_of(name: str, result: Result) -> str:
    outcome = result.outcome.upper() if result.outcome == FAILED else result.outcome
    return f"{outcome:<11} {result.seconds:6.1f} s  {name:<23} {result.why}"[:WIDTH]


def shortened(text: str) -> str:
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n... {len(text) - HEAD - TAIL:,} characters left out ...\n{text[-TAIL:]}"


def cut(path: Path) -> None:
    """No file is larger than LARGEST."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > LARGEST:
            os.truncate(path, LARGEST)
