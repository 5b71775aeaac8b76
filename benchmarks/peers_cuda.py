"""The competitors of ``compare_cuda.py``: the protocol, and chainrule. torch and JAX stand in files of their own.

Each trains the same net from the same weights on the same rows, in a process of its own (``worker_cuda.py``). A step
is: gather a batch through a shuffled order from rows that lie on the device, forward, mean softmax cross-entropy,
backward, Adam (1e-3, 0.9, 0.999, 1e-8). Its loss is recorded on the device; the host synchronises once per epoch.
Weights, moments and losses are float32; ``precision`` says how the matrix products are computed.
With ``device="cpu"`` the same code runs on the processor, which shows that it runs and nothing else.
"""

from __future__ import annotations

import abc
import contextlib
import gc
import hashlib
import itertools
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peers import BETA1, BETA2, EPS, LR, Case

WARM_EPOCHS = 2  # before anything is timed: compiling, recording, growing the memory pools
LEAST_EPOCHS, MOST_EPOCHS = 2, 20_000  # of a turn
# Of the pixels of Fashion-MNIST's training images, 0 to 255; the same two numbers for every competitor.
PIXEL_MEAN, PIXEL_SCALE = 72.94, 90.02


class Arrays(NamedTuple):
    """What a case is made of, on the host: [(W (n_in, n_out), b (n_out,)), ...], rows, labels, and those of the test.

    ``X`` is float32, or uint8 if standardising it is part of the task.
    """

    weights: list[tuple[np.ndarray, np.ndarray]]
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None
    y_test: np.ndarray | None


class Competitor(abc.ABC):
    """One way to train on a device; a last batch that would be ragged is left out."""

    distributions: tuple[str, ...]  # whose versions are reported
    variants: Sequence[str] = ("",)  # ways to do it that are tried; the fastest takes part

    def __init__(self, device: str) -> None:
        self.device = device

    @abc.abstractmethod
    def load(self) -> None:
        """Import the library and wake the device."""

    def about(self) -> dict[str, Any]:
        """What the library says of the device, if anything."""
        return {}

    def setup(self, case: Case, precision: str, arrays: Arrays) -> None:
        """Take a case in: rows onto the device."""
        self.case, self.precision, self.arrays = case, precision, arrays
        self.order_in_rows = np.arange(case.steps * case.batch).reshape(case.steps, case.batch)
        self.place()

    @abc.abstractmethod
    def place(self) -> None:
        """Rows and labels onto the device, standardised if they are uint8."""

    @abc.abstractmethod
    def use(self, variant: str) -> None:
        """Make ready one of ``variants``; again, if it was before."""

    @abc.abstractmethod
    def reset(self, seed: int) -> None:
        """Back to the initial weights, with moments of zero; shuffles come from ``seed``."""

    @abc.abstractmethod
    def deal(self) -> Any:
        """A new order of the rows for an epoch, on the device."""

    @abc.abstractmethod
    def wait_for(self, order: Any) -> None:
        """Until it has been dealt."""

    @abc.abstractmethod
    def in_order(self, order: np.ndarray) -> Any:
        """This order, (steps, batch), as :meth:`deal` would have it."""

    @abc.abstractmethod
    def epoch(self, order: Any) -> np.ndarray:
        """Train an epoch in this order; returns the losses of its steps when all is computed."""

    @abc.abstractmethod
    def accuracy(self) -> float:
        """On the test rows."""

    @abc.abstractmethod
    def release(self) -> None:
        """Give the case's memory back."""

    # ---- what is asked for ------------------------------------------------------------------------

    def prepare(self, seconds: float, patience: float) -> dict[str, Any]:
        """Try all variants, keep the fastest, and say how many epochs of it take about ``seconds``.

        No new variant is begun once ``patience`` seconds are over.
        """
        start, found, missing = time.perf_counter(), dict[str, float](), dict[str, str]()
        problem: Exception | None = None
        for name in self.variants:
            if found and time.perf_counter() - start > patience:
                missing[name] = "not tried: the others took too long"
                continue
            try:
                self.use(name)
                found[name] = self.seconds_an_epoch()
            except Exception as error:
                problem, missing[name] = error, f"{type(error).__name__}: {first_line(error)}"
        if not found:
            raise problem or RuntimeError("there is nothing to try")
        best = min(found, key=found.__getitem__)
        self.use(best)
        return {
            "variant": best,
            "variants_us": {name: value / self.case.steps * 1e6 for name, value in found.items()},
            "variants_missing": missing,
            "epochs": epochs_in(seconds, found[best]),
            "order_us": self.order_us(),
        }

    def order_us(self) -> float | None:
        """The part of a step's time that shuffling takes; None if it cannot be had."""
        times = []
        with contextlib.suppress(Exception):  # it is told beside the figures and is none of them
            for _ in range(5):
                start = time.perf_counter()
                self.wait_for(self.deal())
                times.append((time.perf_counter() - start) / self.case.steps * 1e6)
        return min(times, default=None)

    def seconds_an_epoch(self) -> float:
        """The least of a few, after those that warm up."""
        self.reset(0)
        for _ in range(WARM_EPOCHS):
            self.epoch(self.deal())
        times: list[float] = []
        while len(times) < LEAST_EPOCHS or (sum(times) < 0.05 and len(times) < 50):
            start = time.perf_counter()
            self.epoch(self.deal())
            times.append(time.perf_counter() - start)
        return min(times)

    def check(self, batches: int, steps: int) -> dict[str, Any]:
        """Mean losses that all competitors must agree on, from the initial weights.

        "first": of the very first step; "few": of each pass when the first ``batches`` batches are gone through in
        order, again and again, for ``steps`` steps; "epoch": of an epoch through all batches in order.
        """
        self.reset(0)
        losses: list[float] = []
        for start in range(0, steps, self.case.steps):
            numbers = [number % batches for number in range(start, start + self.case.steps)]
            losses += self.epoch(self.in_order(self.order_in_rows[numbers])).tolist()
        few = np.array(losses[:steps]).reshape(-1, batches).mean(axis=1)
        self.reset(0)
        whole = self.epoch(self.in_order(self.order_in_rows)).mean()
        return {"first": losses[0], "few": few.tolist(), "epoch": float(whole)}

    def turn(self, epochs: int, seed: int) -> dict[str, Any]:
        """Seconds that ``epochs`` epochs took, after one that is not counted."""
        self.reset(seed)
        self.epoch(self.deal())
        start = time.perf_counter()
        for _ in range(epochs):
            self.epoch(self.deal())
        return {"seconds": time.perf_counter() - start}

    def reach(self, goal: float, most: int, seed: int) -> dict[str, Any]:
        """From rows in the host's memory to the first epoch that ends with a test accuracy of ``goal``."""
        self.reset(seed)
        start, accuracy, epoch = time.perf_counter(), 0.0, 0
        self.place()
        while accuracy < goal and epoch < most:
            self.epoch(self.deal())
            accuracy, epoch = self.accuracy(), epoch + 1
        return {"seconds": time.perf_counter() - start, "epochs": epoch, "accuracy": accuracy}


class Chainrule(Competitor):
    """`Trainer.fit`, timed by its own clock, which starts when the rows are on the device and have been checked."""

    distributions = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "numba")

    def load(self) -> None:
        import chainrule as cr

        self.cr = cr
        backend = cr.backend(self.device)
        backend.upload(np.zeros(1, np.float32))
        backend.synchronize()

    def about(self) -> dict[str, Any]:
        if self.device == "cpu":
            return {"card": "none: this ran on the processor"}
        import cupy

        runtime = cupy.cuda.runtime
        facts = runtime.getDeviceProperties(0)
        return {
            "card": facts["name"].decode(),
            "memory_gib": round(facts["totalGlobalMem"] / 2**30, 1),
            "multiprocessors": facts["multiProcessorCount"],
            "driver_api": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
        }

    def place(self) -> None:
        self.precision = self.precision if self.device != "cpu" else "fp32"
        self.backend = self.cr.backend(self.device, precision=self.precision)
        self.net = self.cr.MLP(self.case.widths, loss=self.case.loss, backend=self.backend)
        if self.arrays.X.dtype == np.uint8:
            mean, scale = (np.full(self.case.widths[0], value) for value in (PIXEL_MEAN, PIXEL_SCALE))
            self.net.preparation = self.cr.Preparation(features=self.cr.Standardization(mean, scale))
        self.X, self.y = self.backend.upload(self.arrays.X), self.arrays.y

    def release(self) -> None:
        self.X = self.net = self.backend = None
        gc.collect()
        if self.device != "cpu":
            import cupy

            cupy.get_default_memory_pool().free_all_blocks()

    def reset(self, seed: int) -> None:
        self.seed = seed
        self.net.assign_parameters(
            {f"dense{i}.{n}": a for i, pair in enumerate(self.arrays.weights) for n, a in zip("Wb", pair, strict=True)}
        )

    def trainer(self, epochs: int, **options: Any) -> Any:
        adam = self.cr.Adam(LR, beta1=BETA1, beta2=BETA2, eps=EPS)
        return self.cr.Trainer(
            self.net,
            adam,
            batch_size=self.case.batch,
            epochs=epochs,
            seed=self.seed,
            drop_last=True,
            metrics=False,
            **options,
        )

    def prepare(self, seconds: float, patience: float) -> dict[str, Any]:
        times = np.diff(self._fit(WARM_EPOCHS + LEAST_EPOCHS)["seconds"])
        if times.sum() < 0.05:
            times = np.diff(self._fit(epochs_in(0.05, times.min()) + 1)["seconds"])
        return {
            "variant": "",
            "variants_us": {"": times.min() / self.case.steps * 1e6},
            "epochs": epochs_in(seconds, float(np.median(times))),
            "order_us": self.order_us(),
        }

    def _fit(self, epochs: int, rows: int | None = None, seed: int = 0, **options: Any) -> Any:
        self.reset(seed)
        return self.trainer(epochs, **options).fit(self.X[:rows], self.y[:rows]).history

    def check(self, batches: int, steps: int) -> dict[str, Any]:
        batch, in_order = self.case.batch, {"shuffle": False}
        return {
            "first": self._fit(1, batch, **in_order)["loss"][0],
            "few": list(self._fit(steps // batches, batches * batch, **in_order)["loss"]),
            "epoch": self._fit(1, self.case.steps * batch, **in_order)["loss"][0],
        }

    def turn(self, epochs: int, seed: int) -> dict[str, Any]:
        times = self._fit(epochs + 1, seed=seed)["seconds"]
        return {"seconds": times[-1] - times[0]}

    def reach(self, goal: float, most: int, seed: int) -> dict[str, Any]:
        arrays, found = self.arrays, dict[str, Any]()
        self.reset(seed)

        def look(record: Any) -> None:
            accuracy = record.metrics["valid_accuracy"]
            found.update(seconds=time.perf_counter() - start, epochs=record.epoch, accuracy=accuracy)
            if accuracy >= goal:
                trainer.stop()

        start = time.perf_counter()
        trainer = self.trainer(most, callbacks=[look])
        trainer.fit(arrays.X, arrays.y, validation=(arrays.X_test, arrays.y_test))
        return found

    # ---- what is asked of chainrule alone ---------------------------------------------------------

    def bits(self, epochs: int) -> dict[str, Any]:
        """A digest of all parameters after a fit with a fixed seed; the last training loss."""
        loss = self._fit(epochs, seed=7)["loss"][-1]
        digest = hashlib.sha256()
        for value in self.net.parameters().values():
            digest.update(np.ascontiguousarray(self.backend.download(value)))
        return {"sha256": digest.hexdigest(), "loss": loss}

    def memory(self, steps: int) -> dict[str, Any]:
        """Memory before a fit of ``steps`` steps, after its epochs, and when it is over."""
        samples = [held_memory(self.device)]
        epochs = max(3, -(-steps // self.case.steps))
        self._fit(epochs, callbacks=[lambda _: samples.append(held_memory(self.device))])
        gc.collect()
        after = held_memory(self.device)
        _, first, *_, last = samples
        grown = {name: last[name] - first[name] for name in first}
        found = {"before": samples[0], "first_epoch": first, "last_epoch": last, "after": after, "grown": grown}
        return {"steps": epochs * self.case.steps, **found}

    def predict(self, rows: int) -> dict[str, Any]:
        """Median milliseconds of `net.predict` of that many rows, which lie on the host or on the device."""
        self.reset(0)
        X = np.random.default_rng(1).standard_normal((rows, self.case.widths[0]), np.float32)
        found: dict[str, Any] = {"rows": rows}
        for name, x in (("from_host_ms", X), ("on_device_ms", self.backend.upload(X))):
            times = []
            for _ in range(7):
                start = time.perf_counter()
                self.net.predict(x)
                self.backend.synchronize()
                times.append((time.perf_counter() - start) * 1e3)
            found[name] = statistics.median(times[2:])
        return found

    # ---- a fit does all this; only the order is also asked for by itself ---------------------------

    def use(self, variant: str) -> None:
        """There is one."""

    def deal(self) -> Any:
        order = self.backend.empty((len(self.X),), np.int64)
        with self.backend.running():
            self.backend.permutation((1, 2), (3, 4, 5), out=order)
        return order

    def wait_for(self, order: Any) -> None:
        self.backend.synchronize()

    def in_order(self, order: np.ndarray) -> Any:
        raise NotImplementedError

    def epoch(self, order: Any) -> np.ndarray:
        raise NotImplementedError

    def accuracy(self) -> float:
        raise NotImplementedError


def epochs_in(seconds: float, of_one: float) -> int:
    """How many epochs of that length make a turn."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, round(seconds / max(of_one, 1e-9))))


def divisor(number: int, most: int) -> int:
    """The largest divisor that is at most ``most``."""
    return next(d for d in itertools.count(most, -1) if number % d == 0)


def held_memory(device: str) -> dict[str, int]:
    """Bytes in use: of CuPy's pool and of the whole card, or of the process if there is no card."""
    if device == "cpu":
        with contextlib.suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            return {"resident": pages * os.sysconf("SC_PAGE_SIZE")}
        return {"resident": 0}
    import cupy

    cupy.cuda.Device(0).synchronize()
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    return {"pool_used": pool.used_bytes(), "pool_held": pool.total_bytes(), "card_used": total - free}


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return next(iter(str(error).strip().splitlines()), "no message")
