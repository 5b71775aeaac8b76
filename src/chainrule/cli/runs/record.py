"""``run.json``: what a run was asked for, on what, and how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from chainrule.errors import DataError, first_line
from chainrule.files.descriptors import path_in_errors
from chainrule.files.folder import Folder
from chainrule.files.regular_file import is_folder, open_regular
from chainrule.files.sealed_file import is_nested_deeper
from chainrule.tables.selection import BUILT_IN
from chainrule.train.records.run import StartRecord
from chainrule.version import __version__

RECORD = "run.json"
LONGEST, DEEPEST = 1 << 24, 20  # bytes and levels; a real one has a few thousand, and five


def read_record(path: Path) -> dict[str, Any] | None:
    """What run.json of a folder says, None if ``path`` is no folder; DataError if it is not a run's."""
    if not is_folder(path):
        return None
    with path_in_errors(path), Folder(path) as folder:
        return record_in(folder)


def record_in(folder: Folder) -> dict[str, Any]:
    """What run.json of an open folder says; DataError if it is not a run's."""
    path = folder.path
    try:
        with folder.open_regular(RECORD) as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise ValueError(f"it has more than {LONGEST:,} bytes")
        record = json.loads(content.decode(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise DataError(
            f"{path}: expected a run directory, got a folder without {RECORD}",
            hint=f"a run that was killed before it wrote {RECORD} has trained nothing: train again, with --overwrite",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise DataError(f"{path / RECORD} cannot be read: {said or first_line(error):.200}") from error
    if not isinstance(record, dict) or is_nested_deeper(record, DEEPEST):
        raise DataError(f"{path / RECORD}: expected a JSON object of at most {DEEPEST} levels")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def facts_of(record: StartRecord) -> dict[str, Any]:
    """The net, the versions and the machine."""
    net, backend = record.net, record.net.backend
    return {
        "device": backend.device,
        "backend": backend.name,
        "dtype": str(net.dtype),
        "layers": list(net.widths),
        "loss": net.loss_name,
        "versions": {
            "chainrule": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "safetensors": safetensors.__version__,
            **({"cupy": sys.modules["cupy"].__version__} if backend.name == "cupy" else {}),
        },
        "machine": {"system": system(), **backend.fingerprint()},
    }


def file_facts(source: str) -> dict[str, Any]:
    """Path, size and sha256 of a data file; the name alone of a built-in data set, or if there is no such file."""
    path = Path(source)
    if source in BUILT_IN or not path.is_file():
        return {"source": source}
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    return {"source": str(path.resolve()), "bytes": size, "sha256": digest}


def system() -> str:
    """What runs here, "Linux-6.1.0-x86_64-with-glibc2.36"; Python may start a process to find it out."""
    try:
        return platform.platform()
    except Exception:
        return sys.platform


def now() -> str:
    """The time, with the zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
