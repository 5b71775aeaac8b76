"""``chainrule doctor``: what is installed, which devices work, and what to do about those that do not."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import time
from typing import Any

import numpy as np

from chainrule.backends import backend as make_backend
from chainrule.backends import choose_backend, default_device
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import loop_cache
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.cupy import detection
from chainrule.backends.numpy import blas
from chainrule.cli.console import output
from chainrule.cli.runs.record import system
from chainrule.host_cores import find_usable_cores
from chainrule.plain_text import count_of
from chainrule.version import __version__

PACKAGES = ("numpy", "safetensors", "numba", "scikit-learn", "pyarrow", "onnxruntime")
CUPY_WHEELS = ("cupy", "cupy-cuda12x", "cupy-cuda13x")
EXAMPLES = ("chainrule doctor", "chainrule doctor --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object instead of text")
    add(
        "--warm",
        nargs="?",
        const="float32",
        choices=["float32", "all"],
        metavar="all",
        help="compile ahead what usual fits and predictions on the CPU need, so that none has to wait for it; all: "
        "also for float64",
    )


def run(args: argparse.Namespace) -> int:
    if args.warm is not None:
        return _warm(["float32", "float64"] if args.warm == "all" else ["float32"], as_json=args.json)
    facts = gather()
    if args.json:
        output.result_json({"ok": True, **facts})
        return 0
    rows = [["chainrule", f"{__version__} on Python {platform.python_version()}, {system()}"]]
    rows += [[name, version or "not installed"] for name, version in facts["packages"].items()]
    cores = facts["cores"]
    limit = f" (limited by {cores['limit']})" if cores["limit"] else ""
    rows.append(["cores", f"{cores['usable']} usable{limit}"])
    rows.append(["BLAS", facts["blas"]])
    rows.append(["", facts["blas_by_address"]])
    rows.append(["compiled", facts["compiled"]])
    kept = facts["loops_on_disk"]
    rows.append(["", _kept(kept) if kept["loops"] else f"{_kept(kept)}: chainrule doctor --warm compiles them ahead"])
    for device in facts["devices"]:
        rows.append([device["device"], "works" if device["works"] else f"cannot be used: {device['problem']}"])
        if device["works"]:
            rows[-1][1] += f" ({device['about']})"
        else:
            rows.append(["", f"hint: {device['hint']}"])
    if facts["several_cupys"]:
        rows.append(["", "hint: several CuPy wheels overwrite each other: uninstall all of them, then install one"])
    rows.append(["auto", facts["auto"]])
    output.result_table(rows)
    return 0


def gather() -> dict[str, Any]:
    """All facts, as plain values."""
    wheels = [name for name in CUPY_WHEELS if _version(name)]
    packages = {name: _version(name) for name in PACKAGES}
    packages["cupy"] = ", ".join(f"{name} {_version(name)}" for name in wheels) or None
    cores, problem = find_usable_cores(), blas.problem()
    backend, why = choose_backend(default_device() if default_device() in {"auto", "cpu"} else "auto")
    return {
        "packages": packages,
        "blas": _blas(),
        "blas_by_address": f"cannot be called by address: {problem}" if problem else "can be called by address",
        "compiled": compiled.describe(),
        "cores": {"usable": cores.cores, "limit": cores.limit},
        "loops_on_disk": _on_disk(),
        "devices": [_cpu(), *detection.describe_devices()],
        "several_cupys": len(wheels) > 1,
        "auto": f"{backend.device}{f' ({why})' if why else ''}",
    }


def _on_disk() -> dict[str, Any]:
    (count, size), folder = loop_cache.size(), loop_cache.folder()
    return {"loops": count, "bytes": size, "folder": None if folder is None else str(folder)}


def _kept(found: dict[str, Any]) -> str:
    if not found["loops"]:
        return "no loops on disk yet"
    return f"{count_of(found['loops'], 'loop')} on disk, {found['bytes'] / 1e6:.1f} MB in {found['folder']}"


def _warm(dtypes: list[str], *, as_json: bool) -> int:
    """Compile ahead; exit code 1 if that cannot be done."""
    problem, start, said = _why_not_warm(), time.perf_counter(), {}
    if not problem:
        from chainrule.cli import compile_ahead

        for dtype in dtypes:
            if compile_ahead.is_there(dtype):
                said[dtype] = "all loops are there"
                continue
            if not as_json:
                output.say("compile", f"loops for {dtype}, once for this machine and these versions")
            made, found = compile_ahead.compile_ahead(dtype)
            if problem := LOOPS.problem or (LOOPS.unkept and f"not kept on disk: {LOOPS.unkept}"):
                break
            said[dtype] = f"{count_of(made, 'loop')} compiled" + (f", {found} were there" if found else "")
    seconds, kept = time.perf_counter() - start, _on_disk()
    if as_json:
        output.result_json(
            {"ok": not problem, "problem": problem, "dtypes": said, "seconds": round(seconds, 2), "loops_on_disk": kept}
        )
    else:
        rows = [[dtype, text] for dtype, text in said.items()]
        rows.append(["stopped", problem] if problem else ["time", f"{seconds:.1f} s"])
        output.result_table([*rows, ["disk", _kept(kept)]])
    return 1 if problem else 0


def _why_not_warm() -> str:
    if not compiled.is_available():
        return compiled.describe()
    unkept = loop_cache.find_problem()
    return f"not kept on disk: {unkept}" if unkept else ""


def _cpu() -> dict[str, Any]:
    backend = make_backend("cpu")
    out = backend.empty((2, 2), np.float32)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with backend.running():
        backend.matmul(x, x.T, out=out)
    right = bool((out == [[5, 14], [14, 50]]).all())
    about = f"{os.cpu_count()} cores, {platform.machine()}"
    return {
        "device": "cpu",
        "works": right,
        "about": about,
        "problem": "" if right else "a matrix product was wrong",
        "hint": "",
    }


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    name = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    if (found := blas.find()) is not None and found.name not in name:  # built with one, loaded with another
        name = f"{found.name}, built with {name}"
    kernels = f", {core} kernels" if (core := blas.core_name()) else ""
    if blas.VARIABLE in os.environ:
        kernels += f" ({blas.VARIABLE} is set; without it OpenBLAS chooses the best it has for this processor)"
    return name + kernels


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
