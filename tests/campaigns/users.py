"""Processes of other user ids, with file systems, limits and streams of their own, each a new interpreter."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import chainrule

TIMEOUT = 120.0  # seconds: far beyond what anything here takes
STRANGER = 12345  # a user id without a name or a home
KEPT = ("PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "SYSTEMROOT")  # that every process has of this one


@dataclasses.dataclass
class Circumstances:
    """What a process finds: beside its environment variables all that is not as usual."""

    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    user: int | None = None  # None for the user of this process
    mounts: list[str] = dataclasses.field(default_factory=list)  # commands of a shell, before it begins
    limits: dict[str, int] = dataclasses.field(default_factory=dict)  # of `resource`, by name
    umask: int = 0o022
    closed: Sequence[int] = ()  # numbers of streams
    enter: Callable[[], None] | None = None  # into the folder that it is to run in


class Users:
    """Starts ``python -m chainrule``.

    As root it does so in a name space of its own, in which Python, its packages and chainrule lie under ``folder``, so
    that they can be got at by a user to whom the folders where they really are may be closed. ``problem`` says why
    that cannot be; then there is the user of this process alone, and nothing is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.problem = ""
        base = Path(sys.base_prefix)
        self._places = {"python": base, "packages": Path(sysconfig.get_path("purelib")), "source": _source()}
        self._doors = folder / "doors"
        for name in self._places:
            (self._doors / name).mkdir(parents=True)
        self._own = [sys.executable, "-m", "chainrule"]
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            self.problem = "only root may become another user"
        elif missing := [name for name in ("unshare", "setpriv", "mount") if shutil.which(name) is None]:
            self.problem = f"there is no {missing[0]}"
        else:
            code, said = self.run(Circumstances(user=STRANGER), "--version")
            self.problem = f"another user cannot run it: {said.strip()[-300:]}" if code else ""

    def run(self, found: Circumstances, *argv: object) -> tuple[int, str]:
        """The exit code, and what it said on stderr; TimeoutExpired when it does not end."""
        command, variables = [*self._own, *map(str, argv)], {"PYTHONPATH": str(_source())}
        if not self.problem and os.name != "nt":
            command, variables = self._behind_doors(found, command[1:])
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(
            command,
            env=kept | variables | found.variables,
            preexec_fn=lambda: _prepare(found),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
        return done.returncode, done.stderr.decode(errors="replace")

    def _behind_doors(self, found: Circumstances, arguments: list[str]) -> tuple[list[str], Mapping[str, str]]:
        binds = [f"mount --bind {shlex.quote(str(path))} {self._doors / name}" for name, path in self._places.items()]
        python = self._doors / "python" / Path(os.path.realpath(sys.executable)).relative_to(sys.base_prefix)
        command = shlex.join([str(python), *arguments])
        if found.user is not None:
            command = f"setpriv --reuid {found.user} --regid {found.user} --clear-groups {command}"
        script = " && ".join([*binds, *found.mounts, f"exec {command}"])
        return ["unshare", "--mount", "sh", "-c", script], {
            "PYTHONHOME": str(self._doors / "python"),
            "PYTHONPATH": f"{self._doors / 'source'}:{self._doors / 'packages'}",
            "LD_LIBRARY_PATH": str(self._doors / "python" / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def _source() -> Path:
    return Path(chainrule.__file__).parents[1]


def _prepare(found: Circumstances) -> None:
    """In the child, before anything is started there."""
    if found.enter is not None:
        found.enter()
    os.umask(found.umask)
    for number in found.closed:
        with contextlib.suppress(OSError):
            os.close(number)
    if found.limits:
        import resource

        for name, limit in found.limits.items():
            resource.setrlimit(getattr(resource, name), (limit, limit))
