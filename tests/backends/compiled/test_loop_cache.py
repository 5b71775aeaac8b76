"""Compiled loops on disk: taken from there when all is well, and compiled again whatever lies there instead."""

from __future__ import annotations

import ast
import importlib
import os
import pickle
import pkgutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import loop_cache
from chainrule.backends.compiled.state import LOOPS, Loops

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.compiled import jit, loops
from chainrule.backends.compiled.loops import gates, optimisers, sums
from chainrule.backends.reference.normal_tail import DOUBLE, SINGLE

TESTS = Path(__file__).parents[2]
needs_uids = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder that loops go to, not yet made, and loops that have warned of nothing."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "cache"))
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    place = loop_cache.folder()
    assert place is not None
    yield place
    vars(LOOPS).update(before)


def double(x: np.ndarray) -> None:
    for i in range(x.size):
        x[i] *= 2


def is_taken_from_disk() -> bool:
    """Whether a process that begins again takes the loop from there; whichever way, it does what it should."""
    loop, x = jit.loop(writes="x")(double), np.arange(3.0)
    loop(x)
    assert x.tolist() == [0, 2, 4]
    return bool(sum(loop.stats.cache_hits.values()))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_second_process_takes_a_loop_from_disk(folder):
    assert not is_taken_from_disk()
    assert is_taken_from_disk()
    (path,) = files(folder)
    assert path.name.startswith("test_loop_cache.double-")
    assert LOOPS.unkept == ""


class Codegen:
    def magic_tuple(self) -> tuple[str, ...]:
        return "x86_64", "", ""


def test_a_loop_that_closes_over_another_has_the_same_key_in_each_process():
    """numba's has not: gelu was compiled again by every process, and left two files each time."""
    codegen = Codegen()
    made = [gates._gelu(real, p) for real, p in 2 * [(np.float32, SINGLE), (np.float64, DOUBLE)]]
    for part in ("argument", "function", "gradient"):
        one, other, again, other_again = (getattr(gated, part)._cache._key((), codegen) for gated in made)
        assert (one, other) == (again, other_again)
        assert one != other, "it closes over other numbers"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def fill_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def change_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1  # in the machine code
    path.write_bytes(content)


def age(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(loop_cache.stamp(), bytes(32)))


def take_for_another(path: Path) -> None:
    content = path.read_bytes()[len(loop_cache.MAGIC) + 64 :]
    (name, key), loop = pickle.loads(content)
    loop_cache.write(path, pickle.dumps(((f"not {name}", key), loop)))


def write_anything_sealed(path: Path) -> None:
    loop_cache.write(path, b"no pickle")


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [
    cut, empty, fill_with_noise, change_one_bit, age, take_for_another, write_anything_sealed, link_to_itself,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_or_stale_file_is_compiled_anew_and_mended(damage, folder):
    is_taken_from_disk()
    damage(files(folder)[0])
    assert not is_taken_from_disk()
    assert is_taken_from_disk()
    assert LOOPS.unkept == ""


@needs_uids
def test_a_file_that_others_may_write_to_is_not_read(folder):
    is_taken_from_disk()
    (path,) = files(folder)
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    for mode in (0o664, 0o646):
        path.chmod(mode)
        assert loop_cache.read(path) is None
    assert not is_taken_from_disk()
    assert is_taken_from_disk()  # it has been replaced by one of our own


@needs_root
def test_a_file_of_another_user_is_not_read(folder):
    is_taken_from_disk()
    (path,) = files(folder)
    os.chown(path, 12345, 12345)
    assert loop_cache.read(path) is None
    assert not is_taken_from_disk()
    assert path.stat().st_uid == os.geteuid()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_nobody_writes_to_keeps_no_one_waiting(folder):
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    assert loop_cache.read(folder / "pipe") is None


def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("CHAINRULE_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    return "there is no home directory"


def a_file_as_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.delenv("CHAINRULE_CACHE_DIR")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    return "file"


def a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(loop_cache, "write", full)
    return "No space left on device"


@pytest.mark.parametrize("prepare", [no_home, a_file_as_cache, a_full_disk], ids=lambda prepare: prepare.__name__)
def test_where_nothing_can_be_kept_loops_are_compiled_and_that_is_said_once(prepare, tmp_path, monkeypatch):
    said = prepare(tmp_path, monkeypatch)
    with pytest.warns(cr.CompiledLoopsWarning, match=f"compiled loops are not kept.*{said}") as caught:
        assert [is_taken_from_disk(), is_taken_from_disk()] == [False, False]
    assert len(caught) == 1
    assert "not kept on disk" in compiled.describe()
    assert not loop_cache.has_loops()


def test_a_write_that_fails_leaves_no_temporary(folder, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        loop_cache.write(folder / "loop", b"content")
    assert files(folder) == []


def test_doctor_says_why_loops_cannot_be_kept(tmp_path, monkeypatch):
    no_home(tmp_path, monkeypatch)
    assert loop_cache.find_problem() == "there is no home directory"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet" / "there"))
    assert loop_cache.find_problem() == ""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert loop_cache.find_problem().endswith("file is no directory")


def test_a_cache_directory_of_chainrules_own_comes_before_numbas(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    place = loop_cache.folder()
    assert place is not None
    assert place.parent == tmp_path / "cache"
    monkeypatch.delenv("CHAINRULE_CACHE_DIR")
    place = loop_cache.folder()
    assert place is not None
    assert place.parent == tmp_path / "numba"


def test_loops_are_there_once_an_optimiser_has_been_compiled(folder):
    assert not loop_cache.has_loops()
    name = optimisers.adam._cache._name  # as it is kept under, whatever the module is called
    loop_cache.write(folder / f"{name}-0", b"")
    assert not loop_cache.has_loops()
    loop_cache.write(folder / f"{name}-1", b"x")
    assert loop_cache.has_loops()
    empty(folder / f"{name}-1")
    assert not loop_cache.has_loops()


def test_the_stamp_covers_every_source_whose_constants_a_loop_may_hold():
    """Or a loop from before a change of a constant would be taken for one of after it."""
    package = Path(loop_cache.__file__).parent.parent
    loops = sorted((package / "compiled" / "loops").glob("*.py"))
    assert len(loops) > 5
    imported = {
        package.joinpath(*node.module.split(".")[2:]).with_suffix(".py")
        for path in loops
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("chainrule.backends.")
    }
    assert package / "reference" / "normal_tail.py" in imported
    assert {*loops, *imported} <= set(loop_cache.sources())


# ---- loops of several processes in one ------------------------------------------------------------------------------


def sum_of_multiples(factor: float) -> Any:
    @jit.part
    def multiple(x: Any) -> Any:
        return factor * x

    add_up = sums._pairwise(multiple)  # calls itself twice, so that it is no part of what calls it

    @jit.loop(writes="out")
    def write_sum(a: Any, out: Any) -> None:
        out[0] = add_up(a)

    return write_sum


CALLS_LOOPS_OF_TWO_PROCESSES = """
import itertools, sys
import numpy as np
from numba.core.bytecode import FunctionIdentity
from backends.compiled.test_loop_cache import sum_of_multiples
FunctionIdentity._unique_ids = itertools.count(1 << 40)  # each process counts from the same number
a, out, found = np.ones(300), np.empty(1), []
for factor in map(float, sys.argv[1:]):
    sum_of_multiples(factor)(a, out)
    found.append(out[0])
print(*found)
"""


def test_closures_of_one_text_do_not_take_each_others_machine_code(folder):
    """A loss in double precision was added up by the loop of single precision: both were the first of their process."""

    def called(*factors: str) -> str:
        command = [sys.executable, "-c", CALLS_LOOPS_OF_TWO_PROCESSES, *factors]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        return done.stdout.strip()

    assert [called("2"), called("3")] == ["600.0", "900.0"]
    assert called("2", "3") == "600.0 900.0"


def test_every_closure_among_the_loops_has_a_name_of_its_own():
    """Names of machine code are unique if those of functions are: of each name there is one text with one closure."""
    seen: dict[tuple[str, str], Any] = {}
    for function in every_function():
        text = function.__code__.co_code, function.__code__.co_consts, values_of(function)
        assert seen.setdefault((function.__module__, function.__qualname__), text) == text
    assert len(seen) > 100
    assert any("_sum_of_block.<locals>" in name for _, name in seen)


def every_function() -> Iterator[Any]:
    """All that numba compiles for the loops, found from the modules and the closures."""
    left = [value for module in pkgutil.iter_modules(loops.__path__) for value in vars(imported(module.name)).values()]
    known: set[int] = set()
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, tuple):
            left += value
        elif hasattr(value, "py_func") and id(value.py_func) not in known:
            known.add(id(value.py_func))
            left += [cell.cell_contents for cell in value.py_func.__closure__ or ()]
            yield value.py_func


def imported(name: str) -> Any:
    return importlib.import_module(f"{loops.__name__}.{name}")


def values_of(function: Any) -> list[Any]:
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return [v.py_func.__qualname__ if hasattr(v, "py_func") else repr(v) for v in held]
