"""Who may import whom, and what the package's import may cost. Held by reading the source, lazy imports included."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule

ROOT = Path(chainrule.__file__).parent
# From the top of the house down: a room may import its own floor and those below.
FLOORS = [
    {"cli", "estimators"},
    {"verify"},
    {"train", "tables"},
    {"nn", "onnx", "optim"},
    {"arena", "random"},
    {"backends", "data"},
    {"files", "options", "plots"},
    {"environment", "host_memory"},
    {"errors"},
    {"json_values", "plain_text", "version"},
]
# Rooms that import others of their floor.
NEIGHBOURS = {"nn", "onnx", "optim", "arena", "random", "cli", "train"}
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else ""


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, in functions too; not those for type checking alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_its_own_floor_and_those_below(path):
    room = room_of(path.relative_to(ROOT).with_suffix("").parts)
    if room in {"__init__", "__main__"}:
        return
    assert room in LEVEL, f"{room} has no place in the house: add it to FLOORS"
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "chainrule" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        assert LEVEL[parts[1]] >= LEVEL[room], f"{room} imports {module}, which is above it"
        same_floor = LEVEL[parts[1]] == LEVEL[room] and parts[1] != room
        assert not same_floor or room in NEIGHBOURS, (room, module)


def test_cupy_is_imported_in_one_room():
    for path in FILES:
        if any(module.split(".")[0] in {"cupy", "cupyx", "cupy_backends"} for module in imports(path)):
            assert ROOT / "backends" / "cupy" in path.parents, f"{path} imports cupy"


@pytest.mark.parametrize("room", ["nn", "optim", "train"])
def test_the_mathematics_speaks_to_the_backend_it_was_given(room):
    """No body of the contract is imported by name: NumPy's kernels and CuPy are reached through a Backend."""
    for path in (ROOT / room).rglob("*.py"):
        for module in imports(path):
            implementation = ("chainrule.backends.numpy", "chainrule.backends.compiled", "chainrule.backends.cupy")
            assert not module.startswith(implementation), f"{path}: {module}"


def test_no_file_is_longer_than_two_screens_of_screens():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"each of these is two rooms: {long}"


def test_import_is_quick_and_light():
    code = (
        "import sys, time, json; start = time.perf_counter(); import chainrule; seconds = time.perf_counter() - start; "
        "all(getattr(chainrule, name) for name in chainrule.__all__); print(json.dumps([seconds, sorted(sys.modules)]))"
    )
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    loaded = {name.split(".")[0] for name in runs[0][1]}
    assert not loaded & {"cupy", "sklearn", "scipy", "numba", "matplotlib", "pandas", "rich", "torch", "jax"}
    assert min(seconds for seconds, _ in runs) < 0.25
