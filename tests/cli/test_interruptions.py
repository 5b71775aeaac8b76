"""Ctrl-C, once or twice, at any moment: it ends in words, and never in a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.cli.runs.record import RECORD

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no Ctrl-C on Windows")

CTRL_C = "import os, signal\ndef ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n"
IMPORTS = {
    "plain": "ctrl_c()\n",
    "swallowed": "try: ctrl_c()\nexcept BaseException: pass\n",
    "in a callback": "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a, lambda _: ctrl_c())\ndel a\n",
}
TRAIN = ("train", "digits", "--device", "cpu", "--hidden", "4", "--epochs", "5", "--checkpoint-every", "1", "--quiet")


def chainrule(*argv: str, code: str = "", path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process of the command; ``code`` runs before it, ``path`` is where modules are found first."""
    start = (
        ["-m", "chainrule"]
        if not code
        else ["-c", f"{CTRL_C}{code}\nimport sys, chainrule.__main__ as m\nsys.exit(m.main())"]
    )
    paths = os.pathsep.join(map(str, [*([path] if path else []), *sys.path]))
    environment = {**os.environ, "PYTHONPATH": paths, "CHAINRULE_COMPILED": "1"}
    command = [sys.executable, *start, *argv]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)


def is_in_words(err: str) -> bool:
    return not any(word in err for word in ("Traceback", "Exception ignored", "KeyboardInterrupt"))


@pytest.mark.parametrize("code", IMPORTS.values(), ids=IMPORTS.keys())
def test_while_numpy_is_imported(tmp_path, code):
    (tmp_path / "numpy.py").write_text(f"{CTRL_C}{code}raise SystemExit('imported on')\n")
    found = chainrule("show", "nothing", path=tmp_path)
    assert (found.returncode, found.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize("name", IMPORTS)
def test_while_numba_is_imported(run, tmp_path, name):
    (tmp_path / "numba.py").write_text(f"{CTRL_C}{IMPORTS[name]}raise ImportError('imported on')\n")
    found = chainrule(*TRAIN, "--run-dir", "out", path=tmp_path)
    assert (found.returncode, is_in_words(found.stderr)) == (130, True), found.stderr
    if name == "plain":
        assert "error: interrupted\n" in found.stderr
        assert not Path("out").exists()
    else:  # nobody heard of it, so that the run stops as soon as it has begun
        assert json.loads(Path("out", RECORD).read_text())["status"] == "interrupted"


def patched(method: str, *, before: bool = False) -> str:
    """Code after which a method of RunDirectory is interrupted twice, when it has done its work or before."""
    first, then = ("twice()", "real(*a, **k)") if before else ("real(*a, **k)", "twice()")
    return f"""
from chainrule.cli.runs.directory import RunDirectory
real = RunDirectory.{method}
def twice():
    try: ctrl_c()
    finally: ctrl_c()
def interrupted(*a, **k):
    {first}
    {then}
RunDirectory.{method} = interrupted
"""


MOMENTS = {
    "before training": (patched("describe"), "nothing was saved, for training had not begun", None),
    "before a checkpoint": (
        patched("on_start"),
        "no checkpoint had been written",
        "chainrule resume out starts over",
    ),
    "after a checkpoint": (
        patched("on_epoch_end"),
        "out/checkpoints/last.safetensors is the last checkpoint",
        "chainrule resume out continues from it",
    ),
    "in the end": (
        patched("end", before=True),
        "out/checkpoints/last.safetensors is the last checkpoint",
        "chainrule resume out continues from it",
    ),
    "after the end": (patched("end"), "out had been saved", None),
}


@pytest.mark.parametrize(("code", "saved", "hint"), MOMENTS.values(), ids=MOMENTS.keys())
def test_the_second_says_what_is_saved_and_how_it_is_resumed(run, code, saved, hint):
    found = chainrule(*TRAIN, "--run-dir", "out", code=code)
    assert found.returncode == 130
    lines = [f"error: ended at once by a second signal: {saved}", *([f"hint: {hint}"] if hint else [])]
    assert found.stderr.splitlines() == lines
    if hint is not None:
        assert run("show", "out", "--json").json["state"] == "killed"
        assert chainrule("resume", "out", "--quiet").returncode == 0
        assert run("show", "out", "--json").json["state"] == "completed"


def test_the_second_in_a_cross_validation(run):
    code = """
import chainrule.cli.commands.cv as cv
def interrupted(*_, **__):
    try: ctrl_c()
    finally: ctrl_c()
cv.cross_validate = interrupted
"""
    found = chainrule("cv", "digits", "--device", "cpu", "--hidden", "4", "--quiet", code=code)
    saved = "error: ended at once by a second signal: a cross-validation saves nothing"
    assert (found.returncode, found.stderr.splitlines()[0]) == (130, saved)


@pytest.mark.parametrize("times", [1, 2])
def test_of_a_command_that_does_not_train(run, times):
    interrupting = "import chainrule.cli.commands.show as s\ns.RunState = None\ndef run(args): ctrl_c()\ns.run = run\n"
    again = "import chainrule.cli.main as c\ndef fail(*_): ctrl_c()\nc._fail = fail\n" * (times == 2)
    found = chainrule("show", "x", code=interrupting + again)
    assert (found.returncode, found.stderr) == (130, "error: interrupted\n")


def test_when_all_is_done_the_exit_code_stays(run):
    found = chainrule("--version", code="import atexit\natexit.register(ctrl_c)")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("chainrule ")


def test_last_words_do_not_wait_for_a_reader():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    code = "from chainrule.cli.console.output import last_words; last_words('one', '', 'two')"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=writer, timeout=60)
    os.close(writer)
    os.close(reader)
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stderr == "one\ntwo\n"
