"""Fuzzes one target, guided by the coverage of chainrule: atheris (libFuzzer for Python) changes the inputs.

A process of its own, for libFuzzer never returns: ``python -m fuzzing.guided TARGET SECONDS KEPT FOUND SEED FOLDER``.
It ends without tidying up: FOLDER is whose who began it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import pkgutil
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import NoReturn

import atheris

LONGEST = 4096  # bytes of an input
HANG = 60  # seconds until libFuzzer ends what Python cannot
ADDRESSES = 3 << 30  # bytes that a case may ask the system for beside what the process has
RESIDENT = 2048  # MiB of the process, over all cases
LEFT_OUT = ("cupy", "numpy.", "__main__", "estimators", "verify", "onnx", "doctor", "explain", "export")  # read nothing


def instrument() -> None:
    """Import all that is fuzzed so that its branches are counted."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),  # a line for each module
        atheris.instrument_imports(include=["chainrule"]),
    ):
        package = importlib.import_module("chainrule")
        for module in pkgutil.walk_packages(package.__path__, "chainrule."):
            if not any(part in module.name for part in LEFT_OUT):
                importlib.import_module(module.name)


class Session:
    """Tries inputs until the time is over, keeps what is found, and prints the outcomes.

    Parameters
    ----------
    end : by the monotonic clock
    name : of the target; found inputs are ``NAME-HASH``, with the traceback in ``NAME-HASH.txt``
    """

    def __init__(self, name: str, end: float, found: Path, folder: Path) -> None:
        from fuzzing.names import TARGETS  # imports chainrule, which has to be instrumented before

        self.name, self.found, self.end = name, found, end
        self.target = TARGETS[name](folder)
        self.outcomes, self.places = Counter[str](), Counter[str]()

    def try_input(self, data: bytes) -> None:
        """One case; libFuzzer calls it."""
        if time.monotonic() > self.end:
            self.finish()
        try:
            outcome = self.target.outcome(data)
        except BaseException:
            traceback.print_exc()  # a mistake of the target's own: libFuzzer keeps the input and ends
            raise
        if self.target.is_good(outcome):
            self.outcomes[outcome.said] += 1
            return
        place = outcome.key
        self.places[place] += 1
        if self.places[place] == 1:
            path = self.found / f"{self.name}-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(f"{place}\n{outcome.said}\n\n{outcome.details}", errors="replace")
            print(f"FOUND {path} {place}: {outcome.said[:200]!r}", flush=True)

    def finish(self) -> NoReturn:
        """Print the outcomes, and end the process."""
        print("RESULT", json.dumps({"outcomes": self.outcomes, "places": self.places}), flush=True)
        sys.stderr.flush()
        os._exit(0)


def main(name: str, seconds: str, corpus: str, found: str, seed: str, folder: str) -> None:
    end = time.monotonic() + float(seconds)  # with what it takes to begin
    os.environ["CHAINRULE_COMPILED"] = "0"  # what numba compiles must not be instrumented
    os.environ.pop("CHAINRULE_DEVICE", None)
    warnings.simplefilter("error")
    instrument()
    inputs, files = Path(folder, "inputs"), Path(folder, "files")
    inputs.mkdir()
    files.mkdir()
    session = Session(name, end, Path(found), files)
    for number, whole in enumerate(session.target.seeds()):
        (inputs / str(number)).write_bytes(whole)
        session.target.outcome(whole)  # what is imported and made once is no case's fault
    _limit_memory()
    # Time and memory of a case are measured in it; libFuzzer's own limits are for what Python cannot end.
    atheris.Setup(
        [
            sys.argv[0],
            corpus,
            str(inputs),
            f"-artifact_prefix={found}/{name}-",
            f"-max_len={LONGEST}",
            f"-timeout={HANG}",
            f"-rss_limit_mb={RESIDENT}",
            "-use_value_profile=1",
            "-len_control=20",
            f"-seed={seed}",
        ],
        session.try_input,
    )
    atheris.Fuzz()


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(*sys.argv[1:])
