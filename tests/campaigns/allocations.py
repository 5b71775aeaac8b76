"""Memory that is not there: every array may be the one that cannot be had.

Four kinds of cases take turns: fits in the library and the command ``train`` whose n-th NumPy array fails, n spread
over all that they ask for; fits on a simulated CUDA device whose n-th allocation fails; and ``train`` in processes that
may take so much memory and no more. What comes of it is one error that says what was needed, what is free and what
helps, exit code 4, a net that can be used, a run directory that says "failed" and resumes to the same bytes; and the
batch that a hint promises fits under the same limit.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import chainrule as cr
from campaigns.failing_memory import failing_at, in_a_process
from campaigns.tally import Tally
from chainrule.cli.main import main
from chainrule.cli.runs.files import MODEL
from chainrule.cli.runs.lock import LOCK
from chainrule.cli.runs.record import RECORD
from emulation import simulated_cupy
from emulation.compiled import compiler_problem

TITLE = "the n-th allocation fails"
OF_EACH = 200
CASES = 4 * OF_EACH

MESSAGE = re.compile(r"(cpu|cuda:0) is out of memory( while [^:]+)?(: .*bytes are free|: .*bytes more are needed.*)?")
ROOM = 1 << 19  # bytes more from case to case, of processes that are limited
ROWS = 30_000  # of the table that they train on
X = np.random.default_rng(0).normal(size=(40, 4))
LABELS, ONES = np.arange(40) % 3, np.ones(40)

Outcome = str
LIBRARY: list[dict[str, Any]] = [
    {"validation": 0.3},
    {"stream": True, "accumulate": 2, "checkpoints": True},
    {"ema": 0.9, "l2": 1e-3, "dtype": "float64", "validation": 0.3, "diagnose": True},
    {"optimizer": "lbfgs", "loss": "huber"},
    {"layers": True, "optimizer": "sgd", "checkpoints": True, "weights": True},
]


def fit(options: dict[str, Any], folder: Path, backend: cr.Backend | None = None) -> cr.Network:
    """A small net trained with these features, begun and ended; ``net`` of an error is how far it came."""
    options = dict(options)
    loss, dtype = options.pop("loss", "softmax_cross_entropy"), options.pop("dtype", "float32")
    hidden = [cr.Dense(6, "gelu"), cr.BatchNorm(), cr.Dropout(0.2), cr.Dense(6), cr.LayerNorm()]
    layers = [*(hidden if options.pop("layers", False) else [cr.Dense(6, "tanh")]), cr.Dense(3)]
    optimizer = {"adam": cr.Adam, "sgd": cr.SGD, "lbfgs": cr.LBFGS}[options.pop("optimizer", "adam")]()
    y = LABELS if loss == "softmax_cross_entropy" else X[:, :3]
    fitted = {name: options.pop(name) for name in ("validation", "diagnose") if name in options}
    fitted["sample_weight"] = ONES if options.pop("weights", False) else None
    if options.pop("checkpoints", False):
        options["checkpoints"] = cr.Checkpoints(folder / "checkpoints", steps=2)
    net = cr.Network(layers, 4, loss=loss, dtype=dtype, seed=1, backend=backend)
    net.preparation = cr.Preparation(features=cr.Standardization.fit(X))
    try:
        cr.Trainer(net, optimizer, batch_size=20, epochs=2, **options).fit(X, y, **fitted)
        net.predict(X)
    except cr.OutOfMemoryError as error:
        error.net = net
        raise
    return net


def weights(net: cr.Network) -> bytes:
    """Of a net, to compare."""
    return net.backend.download(net.parameter_arena.flat).tobytes()


def wrong_words(error: cr.OutOfMemoryError) -> str:
    """What is wrong with an error; empty where nothing is."""
    if not MESSAGE.fullmatch(error.message) or "\n" in error.hint or not error.hint:
        return f"words: {error!s:.300}"
    if error.device != "cpu" and not error.needed:
        return f"without what is needed: {error!s:.300}"
    return f"exit code {error.exit_code}" if error.exit_code != 4 else ""


def after(error: cr.OutOfMemoryError, again: Callable[[], cr.Network], expected: bytes) -> Outcome:
    """Of a fit that failed: the words, the net, and whether a fresh one trains as ever."""
    if said := wrong_words(error):
        return said
    net = getattr(error, "net", None)
    if net is not None:
        if not np.isfinite(net.backend.download(net.parameter_arena.flat)).all():
            return "a net that is not finite"
        net.predict(np.ones((2, net.n_in)))
    return "refused" if weights(again()) == expected else "other bits of the next fit"


class Campaign:
    """What the cases of a part share: what comes out where nothing fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Any, Any] = {}
        rng = np.random.default_rng(1)
        lines = [f"{a:.3f},{'xyz'[i % 3]},{a * a + i % 3:.4f}" for i, a in enumerate(rng.normal(size=60))]
        (folder / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
        X = rng.normal(size=(ROWS, 20)).astype(np.float32)
        np.savez(folder / "wide.npz", X=X, y=X[:, 0] > 0)

    def of(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()``, once."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def outcome(self, number: int) -> Outcome:
        """ "done", "refused", or what went wrong."""
        n, kind = divmod(number, 4)
        return [self.in_the_library, self.in_the_command, self.on_a_device, self.under_a_limit][kind](n)

    # ---- the n-th array -------------------------------------------------------------------------

    def in_the_library(self, n: int) -> Outcome:
        """A fit; the n-th of ``OF_EACH`` places among all that it asks for."""
        options = LIBRARY[n % len(LIBRARY)]

        def whole() -> tuple[int, bytes]:
            fit(options, self.folder)
            with failing_at(-1) as asked:
                net = fit(options, self.folder)
            return asked(), weights(net)

        total, expected = self.of(n % len(LIBRARY), whole)
        assert total > OF_EACH // 2, "or it is always the first"
        try:
            with failing_at(n * total // OF_EACH):
                net = fit(options, self.folder)
        except cr.OutOfMemoryError as error:
            return after(error, lambda: fit(options, self.folder), expected)
        return "done" if weights(net) == expected else "other bits"  # where NumPy can do without

    def in_the_command(self, n: int) -> Outcome:
        """``train`` from a table to a run directory."""
        train = [
            "train", str(self.folder / "t.csv"), "--target", "y", "--hidden", "6", "--epochs", "3", "--device", "cpu",
            "--checkpoint-every", "2", "--batch-size", "8",
        ]  # fmt: skip

        def whole() -> tuple[int, bytes]:
            said(train, self.folder / "once")
            with failing_at(-1) as asked:
                said(train, self.folder / "whole")
            return asked(), (self.folder / "whole" / MODEL).read_bytes()

        total, expected = self.of("command", whole)
        with failing_at(n * total // OF_EACH):
            code, words = said(train, self.folder / "run")
        return self.judge_run(code, words, expected, lambda: said(["resume"], self.folder / "run")[0])

    def judge_run(self, code: int, words: str, expected: bytes, resume: Callable[[], int]) -> Outcome:
        """A run directory after ``train``; removes it."""
        run = self.folder / "run"
        try:
            return self._judge_run(run, code, words, expected, resume)
        finally:
            shutil.rmtree(run, ignore_errors=True)

    def _judge_run(self, run: Path, code: int, words: str, expected: bytes, resume: Callable[[], int]) -> Outcome:
        left = [p.name for p in run.rglob("*") if p.name.endswith(".tmp") or p.name == LOCK]
        if left:
            return f"exit code {code}, and there is {left[0]}"
        if not code:
            return "done" if (run / MODEL).read_bytes() == expected else "another model"
        found = re.search(r"^error: (.*)\nhint: (.+)\n\Z", words, re.MULTILINE)
        if code != 4 or found is None or not MESSAGE.fullmatch(found[1]):
            return f"exit code {code}: {words[-400:]}"
        if not (run / RECORD).exists():
            return "refused" if not run.exists() or not list(run.glob("*.safetensors")) else "a model without a record"
        status = json.loads((run / RECORD).read_text())["status"]
        if status not in {"failed", "running"}:
            return f"exit code 4, and run.json says {status}"
        if again := resume():
            return f"resume: exit code {again}"
        return "refused" if (run / MODEL).read_bytes() == expected else "resumed to another model"

    # ---- a device -------------------------------------------------------------------------------

    def on_a_device(self, n: int) -> Outcome:
        """A fit whose n-th allocation on the device fails."""
        if compiler_problem():
            return "done"
        place, which = divmod(n, 3)
        options = LIBRARY[which]
        total, expected = self.of(("device", which), lambda: self._on_device(options, -1))
        if place >= total:
            place = place * 7 % total
        try:
            _, got = self._on_device(options, place)
        except cr.OutOfMemoryError as error:
            return after_device(error) or ("refused" if self._on_device(options, -1)[1] == expected else "other bits")
        return "done" if got == expected else "other bits"

    def _on_device(self, options: dict[str, Any], n: int) -> tuple[int, bytes]:
        """How often memory was asked for, and the weights."""
        real, asked = simulated_cupy.alloc, Counter[str]()

        def alloc(size: int) -> Any:
            asked["all"] += 1
            if asked["all"] == n + 1:
                raise simulated_cupy.OutOfMemoryError(size, 0)
            return real(size)

        with mock.patch.object(simulated_cupy, "alloc", alloc), simulated_cupy.simulated():
            from chainrule.backends.cupy.backend import CuPyBackend

            net = fit(options, self.folder, CuPyBackend())
            return asked["all"], weights(net)

    # ---- a limit --------------------------------------------------------------------------------

    def under_a_limit(self, n: int) -> Outcome:
        """``train`` in a process that may take so many bytes more than it has."""
        room, words = (n + 2) * ROOM, self.folder / "stderr"
        expected = self.of("limit", lambda: self._limited(ROWS, None))
        code = in_a_process(lambda: main(self._wide("run", ROWS)), words, room=room)
        text = words.read_text()
        resume = ["resume", str(self.folder / "run"), "--quiet"]
        outcome = self.judge_run(
            code, text, expected, lambda: in_a_process(lambda: main(resume), self.folder / "resumed")
        )
        if outcome.startswith("resume:"):
            return f"{outcome}: {(self.folder / 'resumed').read_text()} after {text}"
        fits = re.search(r"batches of up to ([\d,]+) rows fit", text)
        if outcome != "refused" or not fits:
            return outcome
        size = int(fits[1].replace(",", ""))
        second = in_a_process(lambda: main(self._wide("run", size)), words, room=room)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        return "refused, and the batch fits" if not second else f"{size:,} rows do not fit: {words.read_text()[-300:]}"

    def _wide(self, name: str, size: int) -> list[str]:
        return [
            "train", str(self.folder / "wide.npz"), "--hidden", "256", "--epochs", "1", "--device", "cpu", "--quiet",
            "--batch-size", str(size), "--run-dir", str(self.folder / name),
        ]  # fmt: skip

    def _limited(self, size: int, room: int | None) -> bytes:
        """The model of a run within a limit; imports and buffers of BLAS are had before, here."""
        main(self._wide("first", 64))
        code = in_a_process(lambda: main(self._wide("limit", size)), self.folder / "stderr", room=room)
        assert not code, (self.folder / "stderr").read_text()
        return (self.folder / "limit" / MODEL).read_bytes()


def after_device(error: cr.OutOfMemoryError) -> str:
    """The words; the net went with its device."""
    said = wrong_words(error)
    return said or ("" if error.device == "cuda:0" else f"of {error.device}")


def said(argv: list[str], run: Path) -> tuple[int, str]:
    """Exit code and stderr of a command on a run directory."""
    where = [str(run)] if argv == ["resume"] else ["--run-dir", str(run)]
    with contextlib.redirect_stderr(io.StringIO()) as words:
        code = main([*argv, *where, "--quiet"])
    return code, words.getvalue()


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many came to which end, and what went wrong, by number."""
    campaign = Campaign(folder)
    tally = Tally("done", "refused", "refused, and the batch fits")
    for number in numbers:
        try:
            outcome = campaign.outcome(number)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error!s:.300}"
        tally.add(number, outcome)
    return tally.result()
