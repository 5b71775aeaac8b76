"""Environments drawn at random in which a command may find itself: users, homes, caches, locales, limits, places.

Each case trains a small net and predicts. It is right if both end with exit code 0, the model and the predictions in
the bytes of a plain environment; or, when the environment forbids what is really needed, a place for the run or a
setting that means something, with the error that says so. What is only faster, prettier or informational (compiled
loops and their cache, a home, a terminal, threads) must never make a difference.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired

from campaigns import runs
from campaigns.users import STRANGER, Circumstances, Users

TITLE = "trainings in drawn environments: users, homes, caches, locales, limits, places"
CASES = 200

TRAIN = ("train", runs.ROWS, *runs.OPTIONS, "--epochs", 4, "--quiet")
MEMORY = Path("/dev/shm")
PLAIN = {"OPENBLAS_NUM_THREADS": "1", "CHAINRULE_COMPILED": "0"}
UNSET = ""  # no variable of that name; an empty one is written as one blank

HOMES = [UNSET, " ", "/nonexistent/home", "{folder}/file", "{folder}/closed"]
CACHES = ["CHAINRULE_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"]
STATES = ["empty", "filled", "cut", "noise", "of another", "open to all", "closed", "file", "missing", "64 KiB"]
VARIABLES: dict[str, list[dict[str, str]]] = {
    "locale": [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "xx_YY.nonsense"},
    ],
    "terminal": [{"TERM": "nonsense", "COLUMNS": "0"}, {"TERM": "dumb", "COLUMNS": "many", "LINES": "-1"}],
    "time": [{"TZ": "Not/There"}, {"SOURCE_DATE_EPOCH": "0"}, {"SOURCE_DATE_EPOCH": "soon"}],
    "temporary": [{"TMPDIR": "/nonexistent"}, {"TMPDIR": "{folder}/file"}, {"TMPDIR": "{folder}/closed"}],
    "python": [
        {"PYTHONHASHSEED": "7"}, {"PYTHONWARNINGS": "error"}, {"PYTHONOPTIMIZE": "2"}, {"PYTHONDEVMODE": "1"},
        {"PYTHONMALLOC": "debug"},
    ],
    "numba": [
        {"NUMBA_NUM_THREADS": "many"}, {"NUMBA_NUM_THREADS": "-1"}, {"NUMBA_OPT": "9"}, {"NUMBA_DISABLE_JIT": "1"},
        {"NUMBA_CPU_NAME": "nonsense"}, {"NUMBA_CACHE_LOCATOR_CLASSES": "nonsense"}, {"NUMBA_BOUNDSCHECK": "1"},
        {"NUMBA_THREADING_LAYER": "nonsense"}, {"NUMBA_OPT": "0"},
    ],
}  # fmt: skip
LIMITS = [{"RLIMIT_NOFILE": 16}, {"RLIMIT_AS": 400 << 20}, {"RLIMIT_AS": 1 << 30}, {"RLIMIT_NPROC": 1}]
NONSENSE = [("CHAINRULE_COMPILED", "yes"), ("CHAINRULE_DEVICE", "gpu")]
PLACES = ["closed", "a file", "full"]
ODD = 0.3  # how likely each group is not as usual


class Case:
    """One random environment, and the outcome in it."""

    def __init__(self, number: int, users: Users, folder: Path) -> None:
        self.rng, self.users, self.folder = random.Random(number), users, folder
        self.found = Circumstances(PLAIN | {"CHAINRULE_COMPILED": self.rng.choice(["1", "1", "1", "1", "0", UNSET])})
        self.forbidden = ""  # what the error is to name
        self.code = 0
        self.run, self.cache = folder / f"runs-{number}" / "run", folder / f"cache-{number}"
        self.run.parent.mkdir()
        self.run.parent.chmod(0o777)

    def _is(self, likely: float = ODD) -> bool:
        return self.rng.random() < likely

    def draw(self) -> None:
        """The environment; if this process is not root, without what only root can have others find."""
        found = self.found
        if not self.users.problem and self._is(0.6):
            found.user = STRANGER
        if self._is(0.5):
            found.variables["HOME"] = self.rng.choice(HOMES)
        if self._is(0.8):
            self._draw_cache(self.rng.choice(CACHES), self.rng.choice(STATES))
        for choices in VARIABLES.values():
            if self._is():
                found.variables |= self.rng.choice(choices)
        self._draw_process()
        if self._is(0.1):
            name, value = self.rng.choice(NONSENSE)
            found.variables[name], self.forbidden, self.code = value, name, 2
        elif self._is(0.15):
            self._draw_place(self.rng.choice(PLACES))
        if found.umask == 0o777 and found.user is not None:  # what it makes it may not enter; found before settings
            self.forbidden, self.code = str(self.run.parent), 5

    def _draw_process(self) -> None:
        found = self.found
        if self._is():
            found.limits = self.rng.choice(LIMITS)
            if "RLIMIT_NPROC" in found.limits:
                found.variables["OPENBLAS_NUM_THREADS"] = UNSET
        if self._is():
            found.umask = self.rng.choice([0, 0o077, 0o777])
        if self._is():
            found.closed = self.rng.choice([(0,), (1,), (2,), (0, 1, 2)])
        if self._is():
            found.enter = self._enter_what_is_gone if self._is(0.5) else lambda: os.chdir(self.folder / "closed")
        if not self.users.problem and self._is(0.15):
            found.mounts.append("mount -t tmpfs none /proc")

    def _enter_what_is_gone(self) -> None:
        gone = tempfile.mkdtemp(dir=self.folder)
        os.chdir(gone)
        os.rmdir(gone)  # noqa: PTH106 - it runs between fork and exec

    def _draw_cache(self, variable: str, state: str) -> None:
        place = self.cache
        self.found.variables[variable] = str(place)
        match state:
            case "file":
                place.write_bytes(b"")
            case "missing":
                self.found.variables[variable] = "/nonexistent/cache"
            case "empty" | "closed" | "64 KiB":
                place.mkdir(mode=0o755 if state == "closed" else 0o777)
                place.chmod(0o555 if state == "closed" else 0o777)
                if state == "64 KiB" and not self.users.problem:
                    self.found.mounts.append(f"mount -t tmpfs -o size=64k,mode=777 none {place}")
            case _:
                inside = place / "chainrule" if variable == "XDG_CACHE_HOME" else place
                shutil.copytree(filled_cache(self.users, self.folder), inside)
                self._spoil([path for path in inside.rglob("*") if path.is_file()], state)

    def _spoil(self, files: list[Path], state: str) -> None:
        for path in files:
            if state == "cut":
                os.truncate(path, self.rng.choice([0, 1, 100, path.stat().st_size - 1]))
            elif state == "noise":
                content = bytearray(path.read_bytes())
                content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
                path.write_bytes(content)
            elif state == "of another" and not self.users.problem:
                os.chown(path, STRANGER + 1, STRANGER + 1)
            elif state == "open to all":
                path.chmod(0o666)

    def _draw_place(self, place: str) -> None:
        self.forbidden, self.code = str(self.run.parent), 5
        if place == "a file":
            self.run.parent.joinpath("file").write_bytes(b"")
            self.run = self.run.parent / "file" / "run"
        elif place == "full" and not self.users.problem:
            self.found.mounts.append(f"mount -t tmpfs -o size=8k,mode=777 none {self.run.parent}")
        elif place == "closed" and self.found.user is not None:
            self.run.parent.chmod(0o555)
        else:
            self.forbidden, self.code = "", 0  # there is nobody to whom a place could be closed

    def outcome(self, plain: dict[str, str]) -> tuple[str, str]:
        """The outcome, and what went wrong, or ""."""
        values = {name: value.format(folder=self.folder) for name, value in self.found.variables.items()}
        self.found.variables = {name: value.strip() for name, value in values.items() if value != UNSET}
        rows = self.folder / runs.ROWS
        argv = [rows if word == runs.ROWS else word for word in TRAIN]
        if self.forbidden == "CHAINRULE_DEVICE":
            del argv[argv.index("--device") : argv.index("--device") + 2]
        code, said = self.users.run(self.found, *argv, "--run-dir", self.run)
        if self.forbidden:
            named = f"error: {self.forbidden}" in said or 2 in self.found.closed
            wrong = "" if code == self.code and named and "a bug" not in said else f"exit code {code}: {said}"
            return f"refused, exit code {code}", wrong
        if code or "a bug" in said:
            return "", f"exit code {code}: {said[-600:]}"
        out = self.run / "predictions.csv"
        code, said = self.users.run(self.found, "predict", self.run, rows, "--device", "cpu", "-o", out)
        if code:
            return "", f"predict, exit code {code}: {said[-600:]}"
        if (found := digests(self.run)) != plain:
            return "", f"{[name for name in plain if found[name] != plain[name]]} differ"
        compiled = json.loads((self.run / "run.json").read_text())["compiled"]
        return f"the same bytes, {'compiled' if compiled.startswith('in use') else 'NumPy'}", ""


def digests(run: Path) -> dict[str, str]:
    names = ("model.safetensors", "predictions.csv")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def plain_run(users: Users, folder: Path, name: str, compiled: str) -> dict[str, str]:
    """The bytes of a run in a plain environment; with compiled loops it fills the cache ``filled``."""
    run = folder / name
    variables = PLAIN | {"CHAINRULE_COMPILED": compiled, "CHAINRULE_CACHE_DIR": str(folder / "filled")}
    argv = [folder / runs.ROWS if word == runs.ROWS else word for word in TRAIN]
    predict = ["predict", run, folder / runs.ROWS, "--device", "cpu", "-o", run / "predictions.csv"]
    for command in ([*argv, "--run-dir", run], predict):
        code, said = users.run(Circumstances(variables), *command)
        if code:
            raise AssertionError(f"a plain run ended with {code}: {said}")
    return digests(run)


def filled_cache(users: Users, folder: Path) -> Path:
    """A cache as an earlier process leaves it; made when the first case asks for it."""
    place = folder / "filled"
    if not place.exists():
        plain_run(users, folder, "filling", "1")
        place.mkdir(exist_ok=True)  # without numba there are no loops
    return place


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """The count of each outcome, and what went wrong, by number."""
    counts, findings = Counter[str](), {}
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else folder) as name:
        place = Path(name)
        place.chmod(0o755)
        users = Users(place)
        runs.write_rows(place)
        (place / "file").write_bytes(b"")
        (place / "closed").mkdir(mode=0o555)
        plain = plain_run(users, place, "plain", "0")
        for number in numbers:
            case = Case(number, users, place)
            case.draw()
            try:
                outcome, wrong = case.outcome(plain)
            except (TimeoutExpired, OSError, ValueError) as error:
                outcome, wrong = "", f"{type(error).__name__}: {error}"
            if wrong:
                findings[number] = f"{case.found}: {wrong}"
            else:
                counts[outcome] += 1
            for used in (place / f"runs-{number}", case.cache):
                shutil.rmtree(used, ignore_errors=True)
    return dict(counts), findings
