"""Items that are a program: what its exit code does not say is judged from its output."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpu_check.items import FAILED, NOT_REACHED, PASSED, Context, Item, Result, error_line, first_line
from gpu_check.running import Ended, run

Judge = Callable[[Ended], tuple[bool, str]]  # whether it is right, and what was found or what is wrong
LEAST_ACCURACY = 0.9  # of the digits, by the rows that were left out
OPEN = """
import sys
import numpy as np
import chainrule as cr
backend = cr.backend({device!r}, precision={precision!r})
net = cr.MLP([8, 16, 4], backend=backend, seed=0)
answer = net.predict_proba(np.ones((5, 8), np.float32))
assert np.allclose(answer.sum(axis=1), 1, atol=1e-2), answer
print(backend.device, backend.name, {precision!r})
"""
IMPORT = "import {cupy}chainrule; print('chainrule', chainrule.__version__{version})"


def program(
    name: str,
    seconds: float,
    command: Sequence[str],
    *,
    judge: Judge | None = None,
    environment: Mapping[str, str] | None = None,
) -> Item:
    """``command`` is what follows Python; {device}, {scratch} and {root} in it are filled in."""

    def act(context: Context, limit: float) -> Result:
        words = [fill(word, context) for word in command]
        ended = run(
            [context.python, *words],
            limit,
            {**context.environment, **(environment or {})},
            folder=context.root,
            apart=True,
        )
        return result_of(ended, judge)

    return Item(name, seconds, act)


def fill(word: str, context: Context) -> str:
    for name in ("device", "scratch", "root"):
        word = word.replace("{" + name + "}", str(getattr(context, name)))
    return word


def result_of(ended: Ended, judge: Judge | None = None) -> Result:
    log = ended.stdout + (f"\n--- stderr ---\n{ended.stderr}" if ended.stderr.strip() else "")
    if ended.why:
        said = error_line(ended.stderr) or error_line(ended.stdout)
        return Result(FAILED, f"{ended.why}: {said}".rstrip(": "), ended.seconds, log=log)
    right, what = judge(ended) if judge else (True, first_line(ended.stdout))
    return Result(PASSED if right else FAILED, what, ended.seconds, log=log)


# ---- what each of them says ---------------------------------------------------------------------------------


def json_of(ended: Ended) -> dict[str, Any]:
    """The object that a command with --json prints; empty if it did not."""
    try:
        found = json.loads(ended.stdout)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def sees_a_device(device: str) -> Judge:
    """``doctor`` exits with 0 whatever it finds."""

    def judge(ended: Ended) -> tuple[bool, str]:
        devices = [one for one in json_of(ended).get("devices", []) if one["device"].startswith(device)]
        if not devices:
            return False, f"no device {device} in: {first_line(ended.stdout)}"
        broken = [one for one in devices if not one["works"]]
        if broken:
            return False, f"{broken[0]['device']}: {broken[0]['problem']}; {broken[0]['hint']}"
        return True, ", ".join(f"{one['device']}: {one['about']}" for one in devices)

    return judge


def has_learnt(ended: Ended) -> tuple[bool, str]:
    found = json_of(ended)
    accuracy = (found.get("left_out") or {}).get("accuracy")
    if accuracy is None:
        return False, f"no accuracy in: {first_line(ended.stdout)}"
    return (
        accuracy >= LEAST_ACCURACY,
        f"accuracy {accuracy:.3f} after {found['epochs']} epochs, {found['seconds']:.1f} s",
    )


def proves_all(ended: Ended) -> tuple[bool, str]:
    checks = json_of(ended).get("checks", [])
    failed = [one for one in checks if one["status"] != "ok"]
    if failed or not checks:
        return False, f"{len(failed)} of {len(checks)} failed" + "".join(
            f"; {o['name']}: {o['detail']}" for o in failed
        )
    return True, f"{len(checks)} ok"


# ---- items --------------------------------------------------------------------------------------------------


def imports(device: str) -> Item:
    card = (
        {"cupy": "cupy, ", "version": ", 'CuPy', cupy.__version__"} if device != "cpu" else {"cupy": "", "version": ""}
    )
    return program("import", 120, ["-W", "default", "-c", IMPORT.format(**card)])


def doctor(device: str) -> Item:
    return program("doctor", 120, ["-m", "chainrule", "doctor", "--json"], judge=sees_a_device(device))


def opens(device: str, precision: str) -> Item:
    return program(f"predict in {precision}", 120, ["-c", OPEN.format(device=device, precision=precision)])


def verify(device: str, precision: str) -> Item:
    command = ["-m", "chainrule", "verify", "--device", device, "--precision", precision, "--json"]
    return program(f"verify {precision}", 90, command, judge=proves_all)


def digits(name: str, folder: str, environment: Mapping[str, str], more: Sequence[str] = ()) -> Item:
    """The built-in example; its model is kept in ``folder`` of the scratch directory."""
    command = ["{root}/scripts/train.py", "--device", "{device}", "--seed", "7", "--json", "--quiet", *more]
    command += ["--run-dir", f"{{scratch}}/{folder}", "--overwrite"]
    return program(name, 90, command, judge=has_learnt, environment=environment)


def same_bits(name: str, one: str, other: str) -> Item:
    """Of the models in two folders."""

    def act(context: Context, limit: float) -> Result:
        paths = [context.scratch / folder / "model.safetensors" for folder in (one, other)]
        missing = [path.parent.name for path in paths if not path.is_file()]
        if missing:
            return Result(NOT_REACHED, f"there is no model of {' and '.join(missing)}")
        same = paths[0].read_bytes() == paths[1].read_bytes()
        return Result(PASSED if same else FAILED, "the same bits" if same else f"{one} and {other} differ")

    return Item(name, 5, act)
