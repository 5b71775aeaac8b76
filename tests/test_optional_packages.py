"""Without optional packages a test module imports, or is skipped: a package that is absent costs its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
OPTIONAL = [
    "array_api_strict", "jax", "joblib", "numba", "onnx", "onnxruntime", "pandas", "polars", "pyarrow", "scipy",
    "sklearn", "torch", "xdist",
]  # fmt: skip
IMPORT_ALL = """
import importlib.machinery, importlib.util, json, sys, warnings

hidden, paths = json.loads(sys.argv[1])
real = importlib.machinery.PathFinder.find_spec


def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else real(name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
import pytest

broken = {}
for number, path in enumerate(paths):
    specification = importlib.util.spec_from_file_location(f"test_module_{number}", path)
    module = sys.modules[specification.name] = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except pytest.skip.Exception:
        pass
    except Exception as error:
        broken[path] = f"{type(error).__name__}: {error}"
print(json.dumps(broken))
"""


def test_every_test_module_imports_or_is_skipped_without_optional_packages():
    paths = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "scripts" not in path.parts]
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, json.dumps([OPTIONAL, paths])]
    places = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": places}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {}
    assert len(paths) > 200
