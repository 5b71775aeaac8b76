"""Real processes that run ``chainrule`` commands and cost a hundredth of one: forks of a server that has imported all.

``python -m campaigns.commands`` is the server; :class:`Commands` starts it and speaks to it in lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
import unittest
from pathlib import Path
from typing import Any, Self

import chainrule

if sys.platform != "linux":  # for pytest, tests that could not be collected else are skipped, with this reason
    raise unittest.SkipTest("processes are forked, watched and mounted for as only Linux can: pidfd_open, /proc")

TIMEOUT = 60.0  # seconds: far beyond what anything here takes


class Command:
    """One process that the server has started."""

    def __init__(self, commands: Commands, pid: int) -> None:
        self.pid, self._commands = pid, commands
        self._code: int | None = None
        self._handle = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Send a signal; a process that is over does not mind."""
        if not self.is_over():
            os.kill(self.pid, number)  # at worst it is a zombie: its number is free only once it was waited for

    def is_over(self, timeout: float = 0.0) -> bool:
        """Whether it has ended, or does within ``timeout`` seconds."""
        return self._code is not None or bool(select.select([self._handle], [], [], timeout)[0])

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The exit code, or the signal that ended it, negative. TimeoutError if it does not end; it is then killed."""
        if self._code is None:
            in_time = self.is_over(timeout)
            self.signal(signal.SIGKILL)
            self._code = self._commands.ask(wait=self.pid)
            os.close(self._handle)
            if not in_time:
                raise TimeoutError(f"process {self.pid} did not end within {timeout} s")
        return self._code


class Commands:
    """``with Commands() as commands: commands.start("train", ...).wait()``.

    Parameters
    ----------
    folder : where the commands run
    disk : bytes; on ``folder`` lies a file system of its own of this size, which other processes see under
        :attr:`seen`. OSError where such a thing may not be made
    """

    def __init__(self, folder: Path, *, disk: int | None = None) -> None:
        self.folder = self.seen = folder
        own = ["unshare", "--map-root-user", "--mount"] if disk is not None else []
        if own and shutil.which("unshare") is None:
            raise OSError("there is no unshare")
        paths = [Path(__file__).parents[1], Path(chainrule.__file__).parents[1]]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [*own, sys.executable, "-W", "error", "-m", "campaigns.commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment | {"CHAINRULE_COMPILED": "0"},
            cwd=folder,
            stderr=subprocess.DEVNULL if own else None,
        )
        try:
            if self.ask(disk=disk) is not None:
                raise OSError("no file system may be mounted")
        except BaseException:
            self.__exit__()
            raise
        if disk is not None:
            self.seen = Path(f"/proc/{self._server.pid}/root{folder.resolve()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._server.stdin, self._server.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of a server that is gone
                    stream.close()
        self._server.wait()

    def ask(self, **what: Any) -> Any:
        """The answer of the server; OSError if it has ended."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(what), file=self._server.stdin, flush=True)
        if not (line := self._server.stdout.readline()):
            raise OSError("the server has ended")
        return json.loads(line)

    def start(self, *argv: object, out: object = None, err: object = None, limit: int | None = None) -> Command:
        """Run a command.

        ``out`` and ``err`` are files for its streams, "" to close one, None for nowhere; ``limit`` is the most bytes
        that a file may have. In the place of a command "module:function" may stand.
        """
        streams = [None if path is None else str(path) for path in (out, err)]
        return Command(self, self.ask(start=list(map(str, argv)), streams=streams, limit=limit))

    def run(self, *argv: object, err: object = None, limit: int | None = None) -> int:
        """Run a command to its end; the exit code."""
        return self.start(*argv, err=err, limit=limit).wait()


# ---- the server -----------------------------------------------------------------------------------


def serve() -> None:
    """Answer until nobody asks any more; then what still runs is killed."""
    import chainrule.cli.commands.resume
    import chainrule.cli.commands.train  # noqa: F401

    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "disk" in request:
            answer = _mount(request["disk"])
        elif "start" in request:
            answer = os.fork()
            if not answer:
                _run(request["start"], request["streams"], request["limit"])
            children.add(answer)
        else:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
            children.remove(request["wait"])
        print(json.dumps(answer), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)


def _mount(size: int | None) -> str | None:
    """Why no file system of this size can be mounted here; None if one is."""
    if size is None:
        return None
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(Path.cwd())]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)
    os.chdir(Path.cwd())  # into what now lies over it
    return None


def _run(argv: list[str], streams: list[str | None], limit: int | None) -> None:
    """The rest of a child's life."""
    code = 1
    try:
        _open_streams(streams)
        if limit is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = _call(argv)
    except KeyboardInterrupt:  # as the interpreter ends
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(TIMEOUT)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _open_streams(streams: list[str | None]) -> None:
    paths = [os.devnull, *(os.devnull if path is None else path for path in streams)]
    for number, path in enumerate(paths):
        if path:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY, 0o644)
            os.dup2(opened, number)
            os.close(opened)
    for number, path in enumerate(streams, start=1):
        if path == "":
            os.close(number)
    # As the interpreter opens them: a closed one is None, what is said on stderr goes out line by line.
    sys.stdout = None if streams[0] == "" else os.fdopen(1, "w", closefd=False)  # type: ignore[assignment]
    sys.stderr = None if streams[1] == "" else os.fdopen(2, "w", buffering=1, closefd=False)  # type: ignore[assignment]


def _call(argv: list[str]) -> int:
    if ":" in argv[0]:
        import importlib

        module, name = argv[0].split(":")
        code: int = getattr(importlib.import_module(module), name)(*argv[1:])
        return code
    from chainrule.cli.main import main

    try:
        code = main(argv)
    except SystemExit as error:
        code = int(error.code or 0)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return 120  # as the interpreter says it
    return code


if __name__ == "__main__":
    serve()
