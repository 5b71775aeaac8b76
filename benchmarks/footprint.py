"""What a library costs before it trains: seconds to import it, MiB on disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def import_seconds(statement: str, environment: Mapping[str, str], times: int = 3) -> float | None:
    """The best of ``times`` fresh processes, the start of the interpreter not counted; None if it cannot be."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    found = []
    for _ in range(times):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, cwd="/"
        )
        if done.returncode:
            return None
        found.append(float(done.stdout.split()[-1]))
    return min(found)


def installed(*names: str) -> dict[str, Any] | None:
    """MiB on disk of these distributions' own files, and with all they require: no extras, nothing split if shared."""
    try:
        own = sum(_size(importlib.metadata.distribution(name)) for name in names)
    except importlib.metadata.PackageNotFoundError:
        return None
    closure: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in closure:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        closure[name] = _size(distribution)
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[\w.-]+", requirement)[0])  # type: ignore[index]
    return {"own_mib": own / 2**20, "all_mib": sum(closure.values()) / 2**20, "counted": sorted(closure)}


def _size(distribution: importlib.metadata.Distribution) -> int:
    direct = json.loads(distribution.read_text("direct_url.json") or "{}")
    if direct.get("dir_info", {}).get("editable"):  # it lists a path only: the package itself is elsewhere
        spec = importlib.util.find_spec(distribution.name)
        paths = list(Path(spec.origin).parent.rglob("*")) if spec and spec.origin else []
    else:
        paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
    return sum(path.stat().st_size for path in paths if path.is_file() and "__pycache__" not in path.parts)
