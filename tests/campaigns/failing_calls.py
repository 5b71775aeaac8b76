"""Every system call with which a file is saved, killed in and failing, one after the other, by strace.

The calls of saving a checkpoint over an older one, of saving a model file over an older one, and those of a whole run
that change files, are counted once. Then each in its turn ends the process, or fails with EIO, or with ENOSPC. Right
is: the old or the new file stands whole; an error names the file and leaves no temporary; the run, resumed, ends as one
that nothing befell. A case is one share of them all; what is counted are calls.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import chainrule as cr
from campaigns import runs
from campaigns.commands import TIMEOUT, Command, Commands
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST

TITLE = "every system call of a save and of a run, killed in or failing, in fiftieths"
CASES = SHARES = 50

CHANGES = ("write", "fsync", "rename", "renameat", "unlink", "unlinkat", "mkdir", "mkdirat", "ftruncate", "fchmod")
READS = ("openat", "close", "read", "fstat", "newfstatat", "lseek", "ioctl")
OPENS_OR_GROWS = {"openat", "write", "fsync", "rename", "renameat", "mkdir", "mkdirat"}  # what fails without room
TRAIN = (*runs.TRAIN, "--epochs", 2, "--quiet")
PR_SET_PTRACER = 0x59616D61  # linux/prctl.h
SAVES = ("checkpoint", "model")


class Fault(NamedTuple):
    """What befalls the ``n``-th call (from 1) of this name while ``target`` is saved."""

    target: str
    call: str
    n: int
    what: str  # signal=KILL, error=EIO, error=ENOSPC


# ---- in the process that is watched ---------------------------------------------------------------


def hold() -> None:
    """Wait until strace watches."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # where Yama lets parents alone watch
    Path("ready").mkdir()  # one call: after it there is none but the wait
    signal.sigwait({signal.SIGUSR1})


def save(source: str, path: str) -> int:
    """Save what ``source`` holds, a checkpoint or a net, as ``path``."""
    is_model = Path(source).name.startswith("model")
    write = cr.load(source, device="cpu").save if is_model else Checkpoint.read(Path(source)).write
    write(Path("warm"))  # imports are no part of it
    hold()
    try:
        write(Path(path))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 5
    return 0


def command(*argv: str) -> int:
    """A command of chainrule."""
    from chainrule.cli.main import main

    hold()
    return main(list(argv))


# ---- who watches ----------------------------------------------------------------------------------


class Watched:
    """A process under strace, from the moment at which it holds on."""

    def __init__(self, commands: Commands, process: Command, *options: str) -> None:
        self.folder, self.process = commands.folder, process
        ready = commands.folder / "ready"
        deadline = time.monotonic() + TIMEOUT
        while not ready.exists():
            if process.is_over(0.001) or time.monotonic() > deadline:
                raise OSError(f"it did not come to its saving: {(commands.folder / 'said').read_text()}")
        ready.rmdir()
        argv = ["strace", "-f", "-p", str(process.pid), "-o", str(commands.folder / "trace"), *options]
        self._strace = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        if "attached" not in said:
            process.signal(signal.SIGKILL)
            self.wait()
            raise OSError(f"strace: {said.strip().removeprefix('strace: ')}")
        process.signal(signal.SIGUSR1)

    def wait(self) -> int:
        """The exit code of the process that is watched."""
        try:
            return self.process.wait()
        finally:
            self._strace.communicate()


def start(commands: Commands, target: str) -> Command:
    """Begin what is to be watched."""
    if target in SAVES:
        return commands.start("campaigns.failing_calls:save", f"{target}.new", target, err="said")
    return commands.start("campaigns.failing_calls:command", *TRAIN, "--run-dir", "run", err="said")


def restore(folder: Path, target: str) -> None:
    """Before each: the old file stands, or there is no run."""
    if target in SAVES:
        shutil.copy(folder / f"{target}.old", folder / target)
    else:
        shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "said").write_text("")


def calls_of(commands: Commands, target: str) -> dict[str, int]:
    """How often each call is made while nothing fails."""
    restore(commands.folder, target)
    names = CHANGES + (READS if target in SAVES else ())
    if code := Watched(commands, start(commands, target), "-e", f"trace={','.join(names)}").wait():
        raise AssertionError(f"exit code {code}: {(commands.folder / 'said').read_text()}")
    found = re.findall(r"^(?:\d+ +)?(\w+)\(", (commands.folder / "trace").read_text(), re.MULTILINE)
    return Counter(found)


def faults(commands: Commands) -> Iterator[Fault]:
    """All that there are."""
    for target in (*SAVES, "run"):
        for call, count in calls_of(commands, target).items():
            for what in ("signal=KILL", "error=EIO", "error=ENOSPC"):
                if not what.endswith("NOSPC") or call in OPENS_OR_GROWS:
                    yield from (Fault(target, call, n, what) for n in range(1, count + 1))


def outcome(commands: Commands, fault: Fault, whole: runs.Outcome) -> tuple[str, str]:
    """What it came to, and what went wrong, or ""."""
    folder = commands.folder
    restore(folder, fault.target)
    options = ("-e", f"trace={fault.call}", "-e", f"inject={fault.call}:{fault.what}:when={fault.n}")
    code = Watched(commands, start(commands, fault.target), *options).wait()
    said = (folder / "said").read_text()
    possible = {-signal.SIGKILL} if fault.what.endswith("KILL") else {0, 5}
    if fault.target not in SAVES:
        possible.add(0)  # a run makes a save more, at the end of an epoch, where the machine is slow
    if code not in possible:
        return "", f"exit code {code}: {said}"
    path = folder / fault.target
    if code == 5 and f"{fault.target}" not in said:
        return "", f"an error without the file: {said}"
    left = runs.temporaries(path if path.is_dir() else folder)
    for name in left:
        (folder / name).unlink(missing_ok=True)
    if left and code >= 0 and not fault.call.startswith("unlink"):
        return "", f"{left[0]} is left, exit code {code}"
    come_to = {0: "no matter or not made", 5: "an error", -signal.SIGKILL: "killed"}[code]
    if fault.target in SAVES:
        content = path.read_bytes()
        which = "new" if content == (folder / f"{fault.target}.new").read_bytes() else "old"
        if which == "old" and (code == 0 or content != (folder / f"{fault.target}.old").read_bytes()):
            return "", f"neither the old nor the new file, exit code {code}"
        return f"{come_to}, {which} file", ""
    return f"{come_to}, run resumed", runs.damage(path) or _to_its_end(commands, path, whole)


def _to_its_end(commands: Commands, run: Path, whole: runs.Outcome) -> str:
    argv = ("resume", run) if (run / RECORD).exists() else (*TRAIN, "--overwrite", "--run-dir", run)
    if code := commands.run(*argv, err="said"):
        return f"exit code {code} in the end: {(commands.folder / 'said').read_text()}"
    return runs.difference(run, whole)


@functools.cache
def problem() -> str:
    """Why processes cannot be watched here; "" where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory() as folder, Commands(Path(folder)) as commands:
        try:
            Watched(
                commands, commands.start("campaigns.failing_calls:command", "--version"), "-e", "trace=fsync"
            ).wait()
        except OSError as error:
            return str(error)
    return ""


def prepare(commands: Commands) -> runs.Outcome:
    """Old and new files, and the run that nothing befell."""
    folder = commands.folder
    runs.write_rows(folder)
    if commands.run(*TRAIN, "--run-dir", "whole") or commands.run(*TRAIN, "--epochs", 1, "--run-dir", "older"):
        raise AssertionError("the runs that are to be saved failed")
    for age, name in (("old", "older"), ("new", "whole")):
        shutil.copy(folder / name / "model.safetensors", folder / f"model.{age}")
        shutil.copy(folder / name / CHECKPOINTS / LAST, folder / f"checkpoint.{age}")
    return runs.outcome_of(folder / "whole")


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many calls came to what, and what went wrong, by number of the share."""
    if reason := problem():
        return {f"skipped: {reason}": len(numbers)}, {}
    counts, findings = Counter[str](), {}
    with Commands(folder) as commands:
        whole = prepare(commands)
        for number, fault in enumerate(faults(commands)):
            if number % SHARES in numbers:
                said, wrong = outcome(commands, fault, whole)
                if wrong:
                    findings[number % SHARES] = f"{fault}: {wrong}"
                else:
                    counts[said] += 1
    return dict(counts), findings
