"""What only a CUDA device can show, from a bare checkout, nothing installed: ``scripts/gpu-check STAGE FOLDER``.

alive      does it import, open the device, train with and without graphs, and what does cublasLt do with a nan
tests      all tests marked gpu, on eight workers
figures    training steps beside torch and JAX, ensembles beside nets alone
tools      compute-sanitizer on a few fused kernels, Nsight Compute on one step
all        one after the other, which takes up to 36 minutes

A stage ends within 9 minutes and does not stop at a failure. It leaves at most 8 files in FOLDER, each below 16 MB:
STAGE.json, STAGE.txt (the table that is printed last), STAGE.log, and what the programs of a stage write.
docs/first-card.md says what a failure means.

exit code: 0 if all passed (a tool that is not installed is no failure); 1 if not; 2 for a wrong command; 4 if there is
no CUDA device; 130 or 143 if it was interrupted

environment: GPU_CHECK_DEVICE=cpu rehearses everything, tiny, on the processor; GPU_CHECK_SECONDS limits a stage (520),
GPU_CHECK_TEST_SECONDS a test (60); GPU_CHECK_COMMIT names the commit of a copy without git. All other variables reach
what is run: CHAINRULE_GRAPHS=0 scripts/gpu-check tests FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from gpu_check import facts, stages
from gpu_check.items import FAILED, NOT_REACHED, Context, Item, Result, last_line
from gpu_check.report import Report

ROOT = Path(__file__).resolve().parents[2]
LEAST = 5.0  # seconds that must be left for an item to begin
NO_DEVICE, WRONG = 4, 2


class Interrupted(BaseException):
    """SIGINT or SIGTERM; its number."""


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    device = os.environ.get("GPU_CHECK_DEVICE", "cuda")
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"error: FOLDER: expected a folder that can be made, got {error}", file=sys.stderr)
        return WRONG
    folder = args.folder.resolve()
    codes, finished = [], finished_in(args.after)
    for stage in stages.NAMES if args.stage == "all" else [args.stage]:
        try:
            with on_signal(interrupt):
                codes.append(run_stage(stage, folder, device, args.data, finished))
        except Interrupted as error:  # before there was anything to tell
            codes.append(128 + error.args[0])
        if codes[-1] in {NO_DEVICE, 128 + signal.SIGINT, 128 + signal.SIGTERM}:
            break
    return max(codes)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*stages.NAMES, "all"], metavar="STAGE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--data", type=Path, help="Fashion-MNIST for the figures: the folder of its four files, or an .npz"
    )
    parser.add_argument(
        "--after", type=Path, metavar="TESTS.JSON", help="of an earlier run: the tests that passed there are left out"
    )
    args = parser.parse_args(arguments)
    for option in ("data", "after"):
        path = getattr(args, option)
        if path is not None and not path.exists():
            parser.error(f"--{option}: there is no {path}")
        if path is not None:
            setattr(args, option, path.resolve())
    return args


def finished_in(path: Path | None) -> frozenset[str]:
    """The tests that passed in an earlier run, or before that one."""
    if path is None:
        return frozenset()
    try:
        items = json.loads(path.read_text(encoding="utf-8"))["items"]
        return frozenset(name for item in items for key in ("passed", "passed_before") for name in item.get(key, []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"error: --after: expected the JSON of an earlier stage, got {path}: {error}", file=sys.stderr)
        raise SystemExit(WRONG) from error


@contextlib.contextmanager
def on_signal(do: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """While it is entered, SIGINT and SIGTERM do this."""
    before = {number: signal.signal(number, do) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def run_stage(
    stage: str, folder: Path, device: str, data: Path | None = None, finished: frozenset[str] = frozenset()
) -> int:
    """Try all items of a stage; its exit code."""
    start, total = time.monotonic(), float(os.environ.get("GPU_CHECK_SECONDS", stages.SECONDS))
    environment = environment_of(os.environ)
    found = facts.gather(ROOT, device, environment)
    report = Report(stage, folder, found, stages.items_of(stage, device))
    scratch, code = scratch_folder(folder), None
    ended = "complete"
    try:
        context = Context(
            device, sys.executable, ROOT, folder, scratch, environment, found, data=data, finished=finished
        )
        problem = facts.driver_problem(sys.executable, environment) if context.on_card else ""
        if problem:
            ended, code = f"no device: {problem}", NO_DEVICE
        else:
            for item in report.items:
                left = total - (time.monotonic() - start)
                if left < LEAST:
                    report.add(item, Result(NOT_REACHED, "the time was over"))
                    continue
                report.begin(item)
                report.add(item, attempt(item, context, left))
    except Interrupted as error:
        ended, code = f"interrupted by {signal.Signals(error.args[0]).name}", 128 + error.args[0]
    with on_signal(signal.SIG_IGN):  # the end takes no time, and nothing of it is to be lost
        shutil.rmtree(scratch, ignore_errors=True)
        code = report.code if code is None else code
        report.finish(ended, code)
    return report.code if code == 0 else code  # a file may have failed last


def attempt(item: Item, context: Context, left: float) -> Result:
    """What became of an item; a fault of this program itself costs that item alone."""
    start = time.monotonic()
    try:
        result = item.act(context, min(item.seconds, left))
    except Exception as error:
        text = traceback.format_exc()
        result = Result(FAILED, f"gpu-check itself: {type(error).__name__}: {error}", log=text)
        result.why = last_line(result.why)
    result.seconds = time.monotonic() - start
    return result


def environment_of(given: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What everything runs in: the sources of this checkout first, and output as it comes."""
    environment = dict(given)
    others = environment.get("PYTHONPATH", "").split(os.pathsep)
    scripts = str(ROOT / "scripts")  # from where this program was started; no place to import anything else from
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), *(p for p in others if p and p != scripts)])
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def scratch_folder(folder: Path) -> Path:
    """For files that nobody keeps; beside the others if there is no other place."""
    try:
        return Path(tempfile.mkdtemp(prefix="gpu-check-"))
    except OSError:
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return scratch


if __name__ == "__main__":
    with on_signal(signal.SIG_IGN):  # but within a stage: before and behind it there is nothing to interrupt
        code = main()
        sys.stdout.flush()
    os._exit(code)
