"""Out of memory: on the host, outside a fit, at the end of an epoch, and within limits of the system."""

from __future__ import annotations

import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, host_memory
from chainrule.backends.contract.backend import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.cli.main import main
from chainrule.errors import OutOfMemoryError
from chainrule.files import sealed_file
from chainrule.files.folder import Folder
from chainrule.train import fit, memory
from chainrule.train.monitoring import epoch_metrics
from emulation import simulated_cupy

N, N_IN = 400, 6


def without_memory(self: NumPyBackend, shape: tuple[int, ...], dtype: Any) -> Array:
    """NumPy's own refusal of 2^60 bytes for any batch of 37 rows, of one net or of members; others are allocated."""
    if 37 in shape[:2]:
        np.empty((2**60,), np.uint8)
    return np.empty(shape, dtype)


def test_memory_error_of_numpy(monkeypatch):
    net = cr.MLP([N_IN, 16, 3])
    X, y = np.ones((100, N_IN)), np.arange(100) % 3
    monkeypatch.setattr(NumPyBackend, "empty", without_memory)
    with pytest.raises(OutOfMemoryError) as caught:
        cr.Trainer(net, batch_size=37).fit(X, y)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert (caught.value.device, caught.value.needed) == ("cpu", 2**60)
    assert caught.value.message.startswith("cpu is out of memory: 1,152,921,504,606,846,976 bytes more are needed")
    assert "each row of a batch takes 180 bytes" in caught.value.hint


@pytest.mark.parametrize("free", [5, None])
def test_a_memory_error_without_a_message(monkeypatch, free):
    def nothing(*_: Any, **__: Any) -> None:
        raise MemoryError

    net = cr.MLP([N_IN, 3])
    monkeypatch.setattr(net.backend, "capture", nothing)
    monkeypatch.setattr(host_memory, "free_host_memory", lambda *_: free)
    with pytest.raises(OutOfMemoryError) as caught:
        cr.Trainer(net).fit(np.ones((10, N_IN)), np.arange(10) % 3)
    assert caught.value.message == "cpu is out of memory" + (": 5 bytes are free" if free else "")
    assert caught.value.needed is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux's account of its memory")
def test_free_memory_of_the_host(monkeypatch):
    available = host_memory.free_host_memory()
    assert 1 << 20 < available < 1 << 50
    assert memory.free_at_start(cr.backend("cpu")) is None
    assert host_memory.free_host_memory(1000) == 1000
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 60, 1 << 60))
    assert 1 << 59 < memory.free_at_start(cr.backend("cpu")) < 1 << 60
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, 5))
    assert memory.free_at_start(cr.backend("cpu")) == host_memory.free_host_memory() == 0


def test_a_limit_on_the_address_space():
    """Under a real limit, in a process of its own: NumPy's refusal, and the batch that the hint promises."""
    pytest.importorskip("resource")
    found = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stderr
    first, second = found.stdout.splitlines()
    assert re.match(r"cpu is out of memory: [\d,]+ bytes more are needed and [\d,]+ bytes are free", first)
    assert second == "done"


LIMITED = """
import re, resource
from pathlib import Path
import numpy as np
import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OutOfMemoryError

def fit(size):
    net = cr.MLP([2, 1000, 2], backend=NumPyBackend())
    cr.Trainer(net, batch_size=size, epochs=1).fit(X, y)

X, y = np.zeros((30_000, 2), np.float32), np.zeros(30_000, int)
fit(3_000)  # what BLAS and the interpreter take
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)
try:
    fit(30_000)
except OutOfMemoryError as error:  # its traceback holds what was laid out until it is gone
    message, hint = error.message, error.hint
print(message)
fit(int(re.search("batches of up to ([0-9,]+) rows fit", hint)[1].replace(",", "")))
print("done")
"""


def test_out_of_memory_on_the_command_line_is_two_lines(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(NumPyBackend, "empty", without_memory)
    code = main(["train", "digits", "--device", "cpu", "--quiet", "--batch-size", "37", "--run-dir", "out"])
    lines = capsys.readouterr().err.splitlines()
    assert code == 4
    assert len(lines) == 2
    assert lines[0].startswith("error: cpu is out of memory: 1,152,921,504,606,846,976 bytes more are needed")
    assert re.fullmatch(r"hint: .*each row of a batch takes [\d,]+ bytes", lines[1])
    assert not Path("out").exists()


def starved(*_: Any, **__: Any) -> None:
    np.empty((2**50,), np.float64)


def test_out_of_memory_outside_a_fit(monkeypatch, tmp_path):
    """Making a net, gradients, predictions, files, columns: each with the figures and a hint of its own."""
    X, y = np.ones((10, N_IN)), np.arange(10) % 3
    net = cr.MLP([N_IN, 3])
    net.save(tmp_path / "m")
    doors = {
        "making a net": (NumPyBackend, "empty", lambda: cr.MLP([N_IN, 3])),
        "computing gradients": (cr.Network, "bind", lambda: net.loss_and_gradients(X, y)),
        "predicting": (cr.Network, "bind", lambda: net.predict(X)),
        "writing a model file": (Folder, "write_atomically", lambda: net.save(tmp_path / "m")),
        "reading a model file": (sealed_file, "open_regular", lambda: cr.load(tmp_path / "m")),
        "standardizing": (np, "quantile", lambda: cr.Standardization.fit_robust(X * y[:, None])),
        "splitting rows": (NumPyBackend, "permutation", lambda: cr.hold_out(10, 0.5)),
    }
    for doing, (owner, name, call) in doors.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, starved)
            with pytest.raises(
                OutOfMemoryError, match=f"cpu is out of memory while {doing}: 9,007,199,254,740,992"
            ) as e:
                call()
        assert e.value.needed == 2**53
        assert e.value.hint not in errors.GENERAL_HINTS
        call()


@pytest.mark.parametrize(("name", "doing"), [("take", "writing a checkpoint"), ("metrics_of", "training")])
def test_memory_that_runs_out_at_the_end_of_an_epoch(monkeypatch, name, doing, tmp_path):
    """Outside the steps, and an error like any other."""
    net = cr.MLP([N_IN, 3])
    trainer = cr.Trainer(net, epochs=2, checkpoints=tmp_path)
    monkeypatch.setattr(fit if name == "take" else epoch_metrics, name, starved)
    with pytest.raises(OutOfMemoryError, match=f"cpu is out of memory while {doing}: 9,007,199,254,740,992 bytes more"):
        trainer.fit(np.ones((10, N_IN)), np.arange(10) % 3, validation=0.5)
    monkeypatch.undo()
    assert np.isfinite(net.parameter_arena.flat).all()
    trainer.fit(np.ones((10, N_IN)), np.arange(10) % 3, validation=0.5)


def test_arrays_of_a_failed_call_are_freed_before_the_hint():
    """The frames of the calls that failed would hold their arrays for as long as the error lives."""
    held = []

    class Large:
        pass

    def fail() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError

    def hint() -> str:
        return "gone" if held[0]() is None else "still there"

    with pytest.raises(OutOfMemoryError) as caught, host_memory.out_of_memory_hint(hint):
        fail()
    assert caught.value.hint == "gone"


def test_batches_that_the_host_would_overcommit_are_refused(monkeypatch):
    """Linux hands out more than it has, and kills the process that uses it."""
    monkeypatch.setattr(memory, "MIN_CHECKED", 10_000)
    monkeypatch.setattr(memory, "free_host_memory", lambda *_: 50_000)
    net = cr.MLP([N_IN, 16, 3])
    X, y = np.ones((N, N_IN)), np.arange(N) % 3
    with pytest.raises(
        OutOfMemoryError, match=r"cpu is out of memory: [\d,]+ bytes more .* 50,000 bytes are free"
    ) as e:
        cr.Trainer(net, batch_size=N, epochs=1).fit(X, y)
    largest = int(re.search(r"batches of up to ([\d,]+) rows fit", e.value.hint)[1].replace(",", ""))
    assert 50 < largest < N
    cr.Trainer(net, batch_size=largest, epochs=1).fit(X, y)


def test_free_memory_within_a_control_group(monkeypatch, tmp_path):
    """The limit of a container, or of a group around it; a cache of files could be given back."""
    group = tmp_path / "outer" / "inner"
    group.mkdir(parents=True)
    for folder, limit in ((group, "max"), (group.parent, "1000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("700\n")
        (folder / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path)
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, *a: "0::/outer/inner\n" if p.name == "cgroup" else read(p, *a))
    assert host_memory.free_host_memory() == 1000 - 700 + 150


def test_a_device_too_full_for_a_backend(monkeypatch):
    """Its workspace is the first thing that is allocated there."""

    def full(size: int) -> None:
        raise simulated_cupy.OutOfMemoryError(size, 0)

    monkeypatch.setattr(simulated_cupy, "alloc", full)
    with simulated_cupy.simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        with pytest.raises(OutOfMemoryError, match="cuda:0 is out of memory: 33,554,432 bytes more are needed"):
            CuPyBackend()
