"""doctor: what is installed and used; loops compiled ahead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule import host_cores
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import loading, loop_cache
from chainrule.backends.compiled.state import LOOPS, TOPICS, Loops
from chainrule.backends.numpy import blas


def test_doctor(run):
    found = run("doctor")
    assert found.code == 0
    for word in ("numpy", "safetensors", "cores", "BLAS", "cpu", "cuda"):
        assert word in found.out
    facts = run("doctor", "--json").json
    assert facts["devices"][0]["works"] is True
    cores = host_cores.find_usable_cores()
    assert facts["cores"] == {"usable": cores.cores, "limit": cores.limit}


@pytest.mark.parametrize(
    ("problem", "said"),
    [("", "can be called by address"), ("no cblas_sgemm was found", "cannot be called by address: no cblas_sgemm was")],
)
def test_whether_blas_can_be_called_by_address(run, monkeypatch, problem, said):
    monkeypatch.setattr(blas, "problem", lambda: problem)
    assert said in run("doctor").out


def test_the_cores_and_what_limits_them(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "3 usable (limited by OMP_NUM_THREADS)" in run("doctor").out
    assert run("doctor", "--json").json["cores"] == {"usable": 3, "limit": "OMP_NUM_THREADS"}


def test_loops_on_disk(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "cache"))
    assert "no loops on disk yet: chainrule doctor --warm" in run("doctor").out
    folder = loop_cache.folder()
    assert folder is not None
    for name in ("optimisers.adam-1-a", "layers.relu-1-b", f"{loop_cache.LISTS}float32-c"):
        loop_cache.write(folder / name, b"x" * 500_000)
    assert f"2 loops on disk, 1.0 MB in {folder}" in run("doctor").out


# ---- --warm -------------------------------------------------------------------------------------------------------

ONE_FIT = """
import functools, json, sys
from chainrule.cli import compile_ahead
from chainrule.cli.main import main
compile_ahead.fits = lambda dtype: [functools.partial(compile_ahead._fit_plain, dtype)]
sys.exit(main(sys.argv[1:]))
"""


def warm(folder: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """What doctor says in a process of its own, whose loops are kept in ``folder``; it runs one fit of each dtype."""
    environment = {name: value for name, value in os.environ.items() if name != "CHAINRULE_COMPILED"}
    argv = [sys.executable, "-c", ONE_FIT, "doctor", "--json", *options]
    found = subprocess.run(
        argv, env={**environment, "CHAINRULE_CACHE_DIR": str(folder)}, capture_output=True, text=True, check=False
    )
    assert found.returncode == code, found.stderr
    return json.loads(found.stdout)


def test_loops_are_compiled_ahead_once(tmp_path, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    first = warm(tmp_path, "--warm")
    count = first["loops_on_disk"]["loops"]
    assert first["dtypes"] == {"float32": f"{count} loops compiled"}
    assert count > 10
    assert first["loops_on_disk"]["bytes"] > 1000 * count
    again = warm(tmp_path, "--warm")
    assert again["dtypes"] == {"float32": "all loops are there"}
    assert again["loops_on_disk"] == first["loops_on_disk"]
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    assert loop_cache.has_loops()
    folder = loop_cache.folder()
    assert folder is not None
    next(folder.glob("optimisers.adam-*")).write_bytes(b"damaged")
    mended = warm(tmp_path, "--warm", "all")["dtypes"]
    assert mended["float32"] == f"1 loop compiled, {count - 1} were there"
    assert mended["float64"].partition(" ")[2].startswith("loops compiled")
    assert warm(tmp_path, "--warm", "all")["dtypes"] == dict.fromkeys(mended, "all loops are there")


@pytest.fixture
def fresh_loops() -> Iterator[None]:
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    yield
    vars(LOOPS).update(before)


@pytest.mark.usefixtures("fresh_loops")
def test_what_stands_in_the_way_of_compiling_ahead(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")
    found = run("doctor", "--warm")
    assert (found.code, "stopped  off (CHAINRULE_COMPILED=0)" in found.out) == (1, True)
    monkeypatch.delenv("CHAINRULE_COMPILED")
    monkeypatch.setattr(loading, "_is_installed", lambda: False)
    monkeypatch.setattr(compiled, "describe", lambda: "not installed (pip install 'chainrule[fast]')")
    assert run("doctor", "--warm", "--json").json["problem"] == "not installed (pip install 'chainrule[fast]')"
    monkeypatch.setattr(loading, "_is_installed", lambda: True)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "file"))
    found = run("doctor", "--warm")
    assert (found.code, "not kept on disk: " in found.out, "is no directory" in found.out) == (1, True, True)
    assert "doctor --warm" not in found.out, "which has just failed"
    assert not LOOPS.is_loaded
    assert run("doctor", "--warm", "float16").code == 2


@pytest.mark.usefixtures("fresh_loops")
def test_a_disk_that_is_full_is_said(run, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    from chainrule.cli import compile_ahead

    def full() -> None:
        LOOPS.is_not_kept("No space left on device")

    monkeypatch.setattr(compile_ahead, "is_there", lambda dtype: False)
    monkeypatch.setattr(compile_ahead, "fits", lambda dtype: [full, pytest.fail])
    found = run("doctor", "--warm")
    assert (found.code, "stopped  not kept on disk: No space left on device" in found.out) == (1, True)


# Of nets whose factors stay apart from the layer above them, as with a diagnosis.
RARE = {
    "columns.multiply", "columns.scale_gradient",
    "optimisers.adam_of_touched", "optimisers.sgd_of_touched", "optimisers.sgd_momentum_of_touched",  # lazy_embedding
}  # fmt: skip # by topic


@pytest.mark.usefixtures("fresh_loops")
def test_all_fits_are_recorded_and_need_every_kind_of_loop(monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    from chainrule.cli import compile_ahead

    def refuse(why: str) -> None:
        raise AssertionError(why)

    loading.load()
    monkeypatch.setattr(LOOPS, "are_called_one_by_one", refuse)
    for fit in compile_ahead.fits("float32"):
        fit()
    unused = {
        f"{topic}.{name}"
        for topic in TOPICS
        for name, loop in vars(getattr(LOOPS, topic)).items()
        if hasattr(loop, "form") and not loop.signatures
    }
    assert unused <= RARE
