"""``chainrule doctor``: what is installed, which devices work, and what to do about those that do not."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

import numpy as np

from chainrule.backends import backend as make_backend
from chainrule.backends import choose_backend, default_device
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.cupy import detection
from chainrule.backends.numpy import blas
from chainrule.cli.console import output
from chainrule.cli.runs.record import system
from chainrule.version import __version__

PACKAGES = ("numpy", "safetensors", "rich", "numba", "scikit-learn", "pyarrow", "onnxruntime")
CUPY_WHEELS = ("cupy", "cupy-cuda12x", "cupy-cuda13x")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    facts = gather()
    if args.json:
        output.result_json({"ok": True, **facts})
        return 0
    rows = [["chainrule", f"{__version__} on Python {platform.python_version()}, {system()}"]]
    rows += [[name, version or "not installed"] for name, version in facts["packages"].items()]
    rows.append(["BLAS", facts["blas"]])
    rows.append(["compiled", facts["compiled"]])
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
    backend, why = choose_backend(default_device() if default_device() in {"auto", "cpu"} else "auto")
    return {
        "packages": packages,
        "blas": _blas(),
        "compiled": compiled.describe(),
        "devices": [_cpu(), *detection.describe_devices()],
        "several_cupys": len(wheels) > 1,
        "auto": f"{backend.device}{f' ({why})' if why else ''}",
    }


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
    found = config.get("Build Dependencies", {}).get("blas", {})
    kernels = f", {core} kernels" if (core := blas.core_name()) else ""
    if blas.VARIABLE in os.environ:
        kernels += f" ({blas.VARIABLE} is set; without it OpenBLAS chooses the best it has for this processor)"
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip() + kernels


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
