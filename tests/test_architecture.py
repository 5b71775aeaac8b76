"""The two rules of the house (imports go down only, never in a circle), its plan in docs/architecture.md, and what
``import chainrule`` may cost. Held by reading the source; an import inside a function or for type checking counts.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import chainrule

ROOT = Path(chainrule.__file__).parent
PLAN = Path(__file__).parents[1] / "docs" / "architecture.md"
# From the top of the house down: a room may import its own floor and those below.
FLOORS = [
    {"cli", "estimators"},
    {"verify"},
    {"train", "tables"},
    {"nn", "onnx", "optim"},
    {"arena", "random"},
    {"backends", "data"},
    {"files", "options", "plots"},
    {"environment", "host_cores", "host_memory", "json_values"},
    {"errors"},
    {"plain_text", "version"},
]
# Rooms that import others of their floor.
NEIGHBOURS = {"nn", "onnx", "optim", "arena", "random", "cli", "train"}
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
# One-line methods that call a function of a file above: the only arrows that may run back up.
CONVENIENCES = {
    ("chainrule.nn.network", "chainrule.nn.saved"): "save",
    ("chainrule.nn.network", "chainrule.onnx"): "export_onnx",
}
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    """``chainrule.nn.network`` for .../chainrule/nn/network.py; a package's name for its __init__.py."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    """The first part of a module's name below the package: ``nn``; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


@functools.cache
def imports(path: Path) -> frozenset[tuple[str, str]]:
    """The modules that a file imports anywhere, each with the function that it is imported in ("" for none)."""
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8")), ""))


def _imports(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}"
            for alias in child.names:
                submodule = f"{child.module}.{alias.name}"
                yield (submodule if submodule in MODULES else str(child.module)), function
        else:
            inside = child.name if isinstance(child, ast.FunctionDef) else function
            yield from _imports(child, inside)


def neighbours(module: str) -> set[str]:
    """The modules of the package that a module imports, conveniences left out."""
    return {
        name
        for name, function in imports(MODULES[module])
        if name in MODULES and name != module and CONVENIENCES.get((module, name)) != function
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    module = module_of(path)
    room = room_of(module)
    if room in {"", "__main__"}:
        return
    assert room in LEVEL, f"{room} has no place in the house: add it to FLOORS"
    for other in neighbours(module):
        below = room_of(other)
        assert below, f"{module} imports the package itself: name the module"
        assert LEVEL[below] >= LEVEL[room], f"{module} imports {other}, which is above it"
        assert LEVEL[below] > LEVEL[room] or below == room or room in NEIGHBOURS, (module, other)


def test_no_module_imports_itself_by_way_of_others():
    """Type-only imports included. Which modules form the circle is in the error."""
    graph = {module: neighbours(module) for module in MODULES if module != "chainrule"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("imports in a circle: " + " -> ".join(reversed(error.args[1])))


def test_the_conveniences_are_used_and_short():
    """Each is one import and one call; what is no longer needed is no longer allowed."""
    for (module, other), function in CONVENIENCES.items():
        assert (other, function) in imports(MODULES[module]), f"{module}.{function} no longer imports {other}"
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
        assert len(found.body) == 3, f"{function}: a docstring, an import and a call"


def planned() -> list[str]:
    """The files in the tree of docs/architecture.md, as paths below src/chainrule."""
    tree = PLAN.read_text(encoding="utf-8").split("```")[1].splitlines()
    assert tree[1].startswith("src/chainrule/"), "the first code block of docs/architecture.md is the tree"
    folders: list[str] = []
    files = []
    for line in tree[2:]:
        depth, name = (len(line) - len(line.lstrip())) // 2 - 1, line.split(maxsplit=1)[0] if line.strip() else ""
        if name.endswith("/"):
            folders[depth:] = [name]
        elif name:
            assert depth <= len(folders), line
            files.append("".join(folders[:depth]) + name)
    return files


def test_the_plan_names_every_file_once():
    there = [
        str(path.relative_to(ROOT).as_posix())
        for path in ROOT.rglob("*")
        if path.suffix in {".py", ".cu", ".cuh"} and not (path.name == "__init__.py" and _is_empty(path))
    ]
    files = planned()
    assert sorted(files) == sorted(there)
    assert len(files) == len(set(files))


def _is_empty(path: Path) -> bool:
    """A docstring at most."""
    return all(isinstance(n, ast.Expr) for n in ast.parse(path.read_text(encoding="utf-8")).body)


def test_the_walks_in_the_plan_enter_files_that_exist():
    """Every `folder/file.py` and `function` in `file.py` of the page."""
    text = PLAN.read_text(encoding="utf-8")
    for word in text.split("`"):
        if word.endswith((".py", ".cu")) and "/" in word and " " not in word:
            bases = (ROOT, ROOT.parents[1], ROOT.parents[1] / "docs")
            assert any((base / word).exists() for base in bases), f"{word} is no file"


def test_cupy_is_imported_in_one_room():
    for path in FILES:
        if any(module.split(".")[0] in {"cupy", "cupyx", "cupy_backends"} for module, _ in imports(path)):
            assert ROOT / "backends" / "cupy" in path.parents, f"{path} imports cupy"


def test_scikit_learn_is_imported_in_one_room():
    for path in FILES:
        if any(module.split(".")[0] == "sklearn" for module, _ in imports(path)):
            assert path.parent == ROOT / "estimators", f"{path} imports scikit-learn"


@pytest.mark.parametrize("room", ["nn", "optim", "train"])
def test_the_mathematics_speaks_to_the_backend_it_was_given(room):
    """No implementation of the contract is imported by name: NumPy's kernels and CuPy are reached through a Backend."""
    implementations = tuple(f"chainrule.backends.{name}" for name in ("numpy", "compiled", "cupy"))
    for path in (ROOT / room).rglob("*.py"):
        for module, _ in imports(path):
            assert not module.startswith(implementations), f"{path}: {module}"


def test_no_file_is_longer_than_three_hundred_lines():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long, f"each of these is two files: {long}"


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
