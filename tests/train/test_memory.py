"""Out of memory: the figures, the hint that says what would fit, and a net that is as it was."""

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
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.cli.main import main
from chainrule.errors import OutOfMemoryError
from chainrule.files import sealed_file
from chainrule.files.folder import Folder
from chainrule.nn.inputs.rows import Rows
from chainrule.optim.base import Optimizer
from chainrule.train import fit, memory
from chainrule.train.feeding import streaming
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.fit_layout import FitLayout
from chainrule.train.memory import KERNEL_SHARE, bytes_of_batches, bytes_of_net, bytes_per_row, largest_batch
from chainrule.train.monitoring import epoch_metrics
from chainrule.train.settings import TrainingSettings
from emulation import simulated_cupy

N, N_IN = 400, 6
PLENTY = 1 << 40


class Budget:
    """A body that counts what it hands out, and refuses beyond a budget. Nothing comes back."""

    def __init__(self, budget: int = PLENTY) -> None:
        super().__init__()
        self.budget, self.used = budget, 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if needed > self.free_memory():
            raise OutOfMemoryError("cuda:7", needed=needed, free=self.free_memory())
        self.used += needed
        return super().empty(shape, dtype)

    def free_memory(self) -> int:
        return self.budget - self.used


class Guarded(Budget, cr.GuardedBackend):
    pass


class Plain(Budget, NumPyBackend):
    pass


class HalfWidth(Plain):
    """Activations in bf16, as on a GPU; for laying out memory only."""

    keeps_narrow_features = True

    def storage(self, dtype: Any) -> np.dtype:
        return BF16 if np.dtype(dtype) == np.float32 else np.dtype(dtype)


def rows_of(net: cr.Network, kind: str, *, weighted: bool, streamed: bool) -> Rows | HostRows:
    X = np.random.default_rng(0).uniform(0, 9, size=(N, N_IN)).astype(kind)
    y = np.arange(N) % 3 if net.loss.task == "classify" else X[:, :3]
    data = (X, y, np.ones(N)) if weighted else (X, y)
    return HostRows(net, *data) if streamed else net.upload_rows(*data)


LAYOUTS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "float64": {"dtype": "float64"},
    "weights": {"weighted": True},
    "targets as wide as features": {"loss": "squared_error", "weighted": True},
    "no hidden layer": {"widths": [N_IN, 3]},
    "deep": {"widths": [N_IN, 50, 20, 7, 3]},
    "gelu": {"activation": "gelu", "widths": [N_IN, 50, 20, 3]},
    "pixels": {"kind": "uint8"},
    "pixels, standardised": {"kind": "uint8", "standardized": True},
    "streamed": {"streamed": True},
    "streamed pixels, standardised": {"kind": "uint8", "standardized": True, "streamed": True},
    "averages": {"trainer": {"ema": 0.9}},
    "averages, accumulated": {"trainer": {"ema": 0.9, "accumulate": 3}},
    "streamed, accumulated": {"streamed": True, "trainer": {"accumulate": 3}},
    "streamed and converted": {"kind": "float64", "weighted": True, "streamed": True},
}


@pytest.mark.parametrize("body", [Plain, Guarded, HalfWidth])
@pytest.mark.parametrize("case", LAYOUTS)
def test_the_formulas_are_the_memory_that_is_laid_out(body, case):
    """Counted, array by array: batches of any size; the net's own memory once."""
    options = {"widths": [N_IN, 16, 3], "kind": "float32", "weighted": False, "streamed": False} | LAYOUTS[case]
    widths, kind, training = options.pop("widths"), options.pop("kind"), options.pop("trainer", {})
    weighted, streamed, standardized = (options.pop(k, False) for k in ("weighted", "streamed", "standardized"))
    for size in (1, 32, 33, 1000):
        net = cr.MLP(widths, backend=body(), **options)
        be = net.backend
        if standardized:
            net.preparation = cr.Preparation(features=cr.Standardization(np.zeros(N_IN), np.ones(N_IN)))
        rows = rows_of(net, kind, weighted=weighted, streamed=streamed)
        before = be.used
        layout = FitLayout(net, TrainingSettings(batch_size=size, monitor="loss", **training), rows, None)
        at_once = PLENTY - layout.free - before
        more = {"ema": "ema" in training, "accumulates": "accumulate" in training}
        assert at_once + net.parameter_arena.flat.nbytes == 24 + bytes_of_net(net, cr.Adam(), keeps_best=True, **more)
        laid_out, formula = layout.free - be.free_memory(), bytes_of_batches(net, rows, size, layout.free)
        if streamed:  # whole batches a block: a little less than there might be
            assert laid_out <= formula < laid_out + size * 200 + 2 * bytes_per_row(net, rows) * size
        else:
            assert laid_out == formula


def test_bytes_per_row_on_paper():
    """6 float32 in, a label; 16 and 3 outputs, each with its gradient."""
    net = cr.MLP([N_IN, 16, 3])
    assert bytes_per_row(net, rows_of(net, "float32", weighted=False, streamed=False)) == 4 * (6 + 1 + 2 * 16 + 2 * 3)
    gelu = cr.MLP([N_IN, 16, 3], activation="gelu")
    rows = rows_of(gelu, "float32", weighted=False, streamed=False)
    assert bytes_per_row(gelu, rows) == 4 * (6 + 1 + 3 * 16 + 2 * 3), "z is kept beside y"
    half = cr.MLP([N_IN, 16, 3], backend=HalfWidth())
    rows = rows_of(half, "float32", weighted=False, streamed=False)
    assert bytes_per_row(half, rows) == 2 * (6 + 2 * 16 + 3) + 4 * (1 + 3), "labels and logits are not stored in bf16"


def attempt(budget: int, size: int, *, optimizer: Optimizer | None = None, n: int = N, **fit: Any) -> cr.Network:
    """Train an epoch within a budget; if there is an error the net is as it was."""
    backend = Guarded(budget)
    net = cr.MLP([N_IN, 16, 3], backend=backend, seed=1)
    before = net.parameter_arena.download()
    X = np.random.default_rng(0).normal(size=(n, N_IN)).astype(np.float32)
    options = {"stream": fit.pop("stream", False), "metrics": fit.pop("metrics", True)}
    trainer = cr.Trainer(net, optimizer or cr.Adam(), batch_size=size, epochs=1, **options)
    try:
        trainer.fit(X, np.arange(n) % 3, **fit)
    except OutOfMemoryError:
        np.testing.assert_equal(net.parameter_arena.download(), before)
        raise
    return net


def refusal(*args: Any, **options: Any) -> OutOfMemoryError:
    with pytest.raises(OutOfMemoryError) as caught:
        attempt(*args, **options)
    return caught.value


@pytest.mark.parametrize("budget", [11_000, 13_000, 20_000, 50_000, 70_000])
@pytest.mark.parametrize(
    ("options", "more"),
    [({}, 0), ({"optimizer": cr.SGD()}, 0), ({"validation": 0.05}, 18_000)],
    ids=["adam", "sgd", "validation"],
)
def test_the_largest_batch_of_the_hint_fits(budget, options, more):
    """Whatever else lies on the device: a split leaves the rows there twice, as this body never gets memory back."""
    budget += more
    error = refusal(budget, 10 * N, **options)
    assert (error.device, error.exit_code) == ("cuda:7", 4)
    assert error.needed > error.free > 0
    if "not even one row" in error.hint or "net alone" in error.hint:
        assert budget < 15_000 + more
        refusal(budget, 1, **options)
        return
    largest = int(re.search(r"batches of up to ([\d,]+) rows fit", error.hint)[1].replace(",", ""))
    attempt(budget, largest, **options)
    assert largest < N


@pytest.mark.parametrize("stream", [False, True])
def test_any_allocation_may_fail(stream):
    """The n-th, for every n there is: the net is as it was, and trains as a fresh one once there is memory."""
    X = np.random.default_rng(0).normal(size=(60, N_IN))

    def fit(net: cr.Network) -> dict[str, np.ndarray]:
        trainer = cr.Trainer(net, cr.Adam(), batch_size=13, epochs=2, stream=stream)
        trainer.fit(X, np.arange(60) % 3, validation=0.2)
        return net.parameter_arena.download()

    def new_net() -> cr.Network:
        return cr.MLP([N_IN, 16, 3], backend=FailsAt(), seed=1)

    expected, before, n = fit(new_net()), new_net().parameter_arena.download(), 0
    while True:
        net = new_net()
        net.backend.left = n
        try:
            fit(net)
        except OutOfMemoryError as error:
            hint = error.hint
        else:
            break
        assert re.search("batch|Trainer|smaller net|hold out fewer", hint)
        np.testing.assert_equal(net.parameter_arena.download(), before)
        net.backend.left = PLENTY
        np.testing.assert_equal(fit(net), expected)
        n += 1
    assert n >= 20


class FailsAt(cr.GuardedBackend):
    """Refuses memory once it has been asked for it ``left`` times."""

    left = PLENTY

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        self.left -= 1
        if self.left < 0:
            raise OutOfMemoryError("cuda:7", needed=8, free=7)
        return super().empty(shape, dtype)


def test_the_largest_batch_of_the_hint_is_the_largest():
    net = cr.MLP([N_IN, 16, 3], backend=Plain())
    for streamed in (False, True):
        rows = rows_of(net, "float32", weighted=True, streamed=streamed)
        for free in [*range(3_000, 60_000, 4_999), 10**6]:
            room = free * (1 - KERNEL_SHARE)
            fitting = [n for n in range(1, N) if bytes_of_batches(net, rows, n, free) <= room]
            assert largest_batch(net, rows, N, free) == max(fitting, default=0), free
            assert largest_batch(net, rows, 50, free) == max((n for n in fitting if n < 50), default=0), free


def test_small_batches_of_many_rows_take_more_memory():
    """A million batches of one row would take 32 MB of totals; the largest that fits is found all the same."""
    net = cr.MLP([1, 2], backend=Plain())
    rows = net.upload_rows(np.ones((1_000_000, 1), np.float32), np.zeros(1_000_000, int))
    needed = [bytes_of_batches(net, rows, n, None) for n in (1, 1000, 500_000)]
    assert needed[0] > needed[1] < needed[2]
    free = int(needed[1] / (1 - KERNEL_SHARE)) + 1
    largest = largest_batch(net, rows, 10**6, free)
    assert bytes_of_batches(net, rows, largest, free) <= free * (1 - KERNEL_SHARE)
    assert bytes_of_batches(net, rows, largest + 1, free) > free * (1 - KERNEL_SHARE)


def test_the_hint_for_a_net_that_is_too_large():
    net_bytes = bytes_of_net(cr.MLP([N_IN, 16, 3]), cr.Adam(), keeps_best=False)
    for budget in (net_bytes // 2, net_bytes - 1):
        assert f"the net alone takes {net_bytes:,} bytes to train" in refusal(budget, 10).hint
    hint = refusal(net_bytes + 24 + 8 * N + 50, 10).hint
    assert hint == f"not even one row fits beside the net, which takes {net_bytes:,} bytes to train: use a smaller net"


def test_the_hint_for_too_many_rows_is_stream(monkeypatch):
    """That is the hint, and streamed they fit beside whatever batch the next hint says."""

    def too_many(self: cr.Network, *rows: Any) -> None:
        raise OutOfMemoryError("cuda:7", needed=10**9, free=10**6)

    with monkeypatch.context() as patch:
        patch.setattr(cr.Network, "upload_rows", too_many)
        assert refusal(PLENTY, 10).hint.startswith("Trainer(stream=True) leaves the rows where they are")
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 1000)
    attempt(60_000, 10, n=2000, stream=True)
    error = refusal(60_000, 300, n=2000, stream=True)
    largest = int(re.search(r"batches of up to ([\d,]+) rows fit", error.hint)[1])
    attempt(60_000, largest, n=2000, stream=True)


def test_memory_that_runs_out_in_a_step_gets_a_hint_too(monkeypatch):
    calls = []

    def starved(self: Guarded, *arrays: Array, **options: Any) -> None:
        calls.append(None)
        raise OutOfMemoryError("cuda:7", needed=8, free=7)

    monkeypatch.setattr(Guarded, "dense", starved)
    assert refusal(PLENTY, 10).hint == "use a smaller batch: each row of a batch takes 180 bytes"
    assert len(calls) == 1


# ---- the host -------------------------------------------------------------------------------------


def without_memory(self: NumPyBackend, shape: tuple[int, ...], dtype: Any) -> Array:
    """NumPy's own refusal of 2^60 bytes for any batch of 37 rows; other arrays are had."""
    if shape and shape[0] == 37:
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
    monkeypatch.setattr(host_memory, "free_on_host", lambda *_: free)
    with pytest.raises(OutOfMemoryError) as caught:
        cr.Trainer(net).fit(np.ones((10, N_IN)), np.arange(10) % 3)
    assert caught.value.message == "cpu is out of memory" + (": 5 bytes are free" if free else "")
    assert caught.value.needed is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux's account of its memory")
def test_free_memory_of_the_host(monkeypatch):
    available = host_memory.free_on_host()
    assert 1 << 20 < available < 1 << 50
    assert memory.free_at_start(cr.backend("cpu")) is None
    assert host_memory.free_on_host(1000) == 1000
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 60, 1 << 60))
    assert 1 << 59 < memory.free_at_start(cr.backend("cpu")) < 1 << 60
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, 5))
    assert memory.free_at_start(cr.backend("cpu")) == host_memory.free_on_host() == 0


def test_a_limit_on_the_address_space():
    """The real thing, in a process of its own: what NumPy is refused, and the batch that the hint promises."""
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


# ---- every other door -----------------------------------------------------------------------------


def starved(*_: Any, **__: Any) -> None:
    np.empty((2**50,), np.float64)


def test_out_of_memory_outside_a_fit(monkeypatch, tmp_path):
    """Making a net, gradients, predictions, files, columns: each with the figures and what helps there."""
    X, y = np.ones((10, N_IN)), np.arange(10) % 3
    net = cr.MLP([N_IN, 3])
    net.save(tmp_path / "m")
    doors = {
        "making a net": (NumPyBackend, "empty", lambda: cr.MLP([N_IN, 3])),
        "computing gradients": (cr.Network, "bind", lambda: net.loss_and_gradients(X, y)),
        "predicting": (cr.Network, "bind", lambda: net.predict(X)),
        "writing a model file": (Folder, "write_whole", lambda: net.save(tmp_path / "m")),
        "reading a model file": (sealed_file, "open_regular", lambda: cr.load(tmp_path / "m")),
        "standardizing": (np, "percentile", lambda: cr.Standardization.fit_robust(X)),
        "dealing rows": (NumPyBackend, "permutation", lambda: cr.hold_out(10, 0.5)),
    }
    for doing, (owner, name, call) in doors.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, starved)
            with pytest.raises(
                OutOfMemoryError, match=f"cpu is out of memory while {doing}: 9,007,199,254,740,992"
            ) as e:
                call()
        assert e.value.needed == 2**53
        assert e.value.hint not in errors.GENERAL_ADVICE
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
    """Linux hands out more than it has, and kills who uses it."""
    monkeypatch.setattr(memory, "WORTH_ASKING", 10_000)
    monkeypatch.setattr(memory, "free_on_host", lambda *_: 50_000)
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
    assert host_memory.free_on_host() == 1000 - 700 + 150


def test_a_device_too_full_for_a_backend(monkeypatch):
    """Its workspace is the first thing that is laid out there."""

    def full(size: int) -> None:
        raise simulated_cupy.OutOfMemoryError(size, 0)

    monkeypatch.setattr(simulated_cupy, "alloc", full)
    with simulated_cupy.simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        with pytest.raises(OutOfMemoryError, match="cuda:0 is out of memory: 33,554,432 bytes more are needed"):
            CuPyBackend()
