"""torch as a competitor of ``compare_cuda.py``: eager, compiled, and as a CUDA graph recorded by hand; the floors.

The protocol is that of ``peers_cuda.py``. bf16 is `torch.autocast` with float32 weights, tf32 and fp32 are
`torch.set_float32_matmul_precision`.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import BETA1, BETA2, EPS, LR
from peers_cuda import PIXEL_MEAN, PIXEL_SCALE, Competitor, divisor

FP32_PRODUCTS = {"fp32": "highest", "tf32": "high", "bf16": "highest"}
FUSED, FOREACH = "fused Adam", "foreach Adam"
COMPILED_ADAM, RECORDED = "compiled Adam", "fused Adam, all of it in a CUDA graph by hand"
MOST_RECORDED = 16  # steps in one CUDA graph


class Torch(Competitor):
    """Eager: `index_select`, `Linear`, `cross_entropy`, `Adam`; fused and foreach are tried."""

    distributions = ("torch", "triton")
    variants = (FUSED, FOREACH)

    def load(self) -> None:
        import torch

        self.torch = torch
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch finds no CUDA device")
        torch.zeros(1, device=self.device)
        self.synchronize()

    def about(self) -> dict[str, Any]:
        if self.device == "cpu":
            return {}
        return {"card": self.torch.cuda.get_device_name(0), "cuda": self.torch.version.cuda}

    def synchronize(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def place(self) -> None:
        torch, arrays = self.torch, self.arrays
        torch.set_float32_matmul_precision(FP32_PRODUCTS[self.precision])

        def put(x: np.ndarray) -> Any:
            on_device = torch.as_tensor(x).to(self.device, copy=True)
            return on_device.float().sub_(PIXEL_MEAN).div_(PIXEL_SCALE) if x.dtype == np.uint8 else on_device

        x, targets = put(arrays.X), put(arrays.y)
        if arrays.X_test is not None:
            self.x_test, self.targets_test = put(arrays.X_test), put(arrays.y_test)
        if hasattr(self, "x"):  # once more: into the memory that what was recorded reads
            self.x.copy_(x)
            self.targets.copy_(targets)
            return
        self.x, self.targets = x, targets
        self.initial = [
            torch.tensor(a, device=self.device) for W, b in arrays.weights for a in (np.ascontiguousarray(W.T), b)
        ]
        self.losses = torch.zeros(self.case.steps, device=self.device)
        self.built: dict[str, tuple[Any, Any, Callable[[Any], None]]] = {}

    def release(self) -> None:
        for name in ("x", "targets", "x_test", "targets_test", "initial", "losses", "built", "net", "adam", "train"):
            self.__dict__.pop(name, None)
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()

    # ---- the net, its optimiser and a way to train an epoch ---------------------------------------

    def new_net(self) -> Any:
        """A module that maps the numbers of a batch's rows to its loss; the rows are its buffers."""
        torch, widths, bf16 = self.torch, self.case.widths, self.precision == "bf16"
        layers: list[Any] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [torch.nn.Linear(n_in, n_out, device=self.device), torch.nn.ReLU()]
        device = self.device

        class Net(torch.nn.Module):
            def __init__(self, x: Any, targets: Any) -> None:
                super().__init__()
                self.layers = torch.nn.Sequential(*layers[:-1])
                self.register_buffer("x", x, persistent=False)
                self.register_buffer("targets", targets, persistent=False)

            def logits(self, x: Any) -> Any:
                with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
                    return self.layers(x).float()

            def forward(self, rows: Any) -> Any:
                z = self.logits(self.x.index_select(0, rows))
                return torch.nn.functional.cross_entropy(z, self.targets.index_select(0, rows))

        return Net(self.x, self.targets)

    def new_adam(self, net: Any, *, fused: bool = True, capturable: bool = False) -> Any:
        capturable = capturable and self.device == "cuda"
        kind = {"fused": True} if fused else {"foreach": True}
        return self.torch.optim.Adam(net.parameters(), LR, (BETA1, BETA2), EPS, capturable=capturable, **kind)

    def use(self, variant: str) -> None:
        if variant not in self.built:
            self.built[variant] = self.build(variant)
        self.net, self.adam, self.train = self.built[variant]

    def build(self, variant: str) -> tuple[Any, Any, Callable[[Any], None]]:
        net = self.new_net()
        adam = self.new_adam(net, fused=variant == FUSED)

        def train(order: Any) -> None:
            losses = []
            for rows in order.unbind(0):
                adam.zero_grad(set_to_none=True)
                loss = net(rows)
                loss.backward()
                adam.step()
                losses.append(loss.detach())
            self.torch.stack(losses, out=self.losses)

        return net, adam, train

    def reset(self, seed: int) -> None:
        torch = self.torch
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter, value in zip(self.net.parameters(), self.initial, strict=True):
                parameter.copy_(value)
        for state in self.adam.state.values():
            for value in state.values():
                value.zero_()

    def deal(self) -> Any:
        used = self.case.steps * self.case.batch
        return self.torch.randperm(len(self.x), device=self.device)[:used].view(self.case.steps, -1)

    def wait_for(self, order: Any) -> None:
        self.synchronize()

    def in_order(self, order: np.ndarray) -> Any:
        return self.torch.as_tensor(order, dtype=self.torch.int64).to(self.device)

    def epoch(self, order: Any) -> np.ndarray:
        self.train(order)
        return self.losses.cpu().numpy().copy()

    def accuracy(self) -> float:
        with self.torch.no_grad():
            return float((self.net.logits(self.x_test).argmax(1) == self.targets_test).float().mean())

    # ---- the floors -------------------------------------------------------------------------------

    def rates(self, size: int, copied: int, nodes: int) -> dict[str, Any]:
        """What the device does at most: products of ``size``^3, a copy of ``copied`` floats, a graph of empty kernels.

        Random numbers, never zeros, which a device may be faster with; bytes are those read and those written.
        """
        torch, found = self.torch, dict[str, Any]()
        for precision, setting in FP32_PRODUCTS.items():
            torch.set_float32_matmul_precision(setting)
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            a, b = (torch.randn(size, size, device=self.device).to(dtype) for _ in "ab")
            out = torch.empty_like(a)
            found[f"{precision}_tflops"] = 2 * size**3 / self.timed(lambda: torch.matmul(a, b, out=out)) / 1e12  # noqa: B023
        source = torch.randn(copied, device=self.device)
        target = torch.empty_like(source)
        found["copy_tb_s"] = 8 * copied / self.timed(lambda: target.copy_(source)) / 1e12
        found["node_us"] = None
        if self.device == "cuda":
            one = torch.zeros(1, device="cuda")
            graph = self.recorded(lambda: one.add_(1), nodes)
            found["node_us"] = self.timed(graph.replay) / nodes * 1e6
            torch.cuda.empty_cache()
        return found

    def timed(self, act: Callable[[], Any]) -> float:
        """Median seconds of ``act``, of a few rows of calls with one wait at the end."""
        for _ in range(3):
            act()
        self.synchronize()
        start = time.perf_counter()
        act()
        self.synchronize()
        calls = max(1, round(0.03 / max(time.perf_counter() - start, 1e-6)))
        times = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(calls):
                act()
            self.synchronize()
            times.append((time.perf_counter() - start) / calls)
        return statistics.median(times)

    def recorded(self, act: Callable[[], Any], times: int) -> Any:
        """``act``, that many times, as a CUDA graph; it is run before, on a stream of its own, as torch asks for."""
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(3):
                act()
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            for _ in range(times):
                act()
        return graph


class TorchGraph(Torch):
    """The whole step, gather to Adam (fused, capturable), recorded as a CUDA graph; of one step or of several."""

    def load(self) -> None:
        if self.device == "cpu":
            raise RuntimeError("needs a CUDA device")
        super().load()

    @property
    def variants(self) -> list[str]:  # type: ignore[override]
        several = divisor(self.case.steps, MOST_RECORDED)
        return [f"{steps} steps in a graph" for steps in (several, 1)]

    def build(self, variant: str) -> tuple[Any, Any, Callable[[Any], None]]:
        net = self.new_net()
        adam = self.new_adam(net, capturable=True)
        return net, adam, self.replays(net, net, adam, int(variant.partition(" ")[0]))

    def replays(self, net: Any, loss_of: Any, adam: Any, steps: int) -> Callable[[Any], None]:
        """An epoch as replays of ``steps`` recorded steps, which read the number of the batch from the device."""
        torch, total = self.torch, self.case.steps
        order = torch.zeros(total, self.case.batch, dtype=torch.int64, device=self.device)
        number = torch.zeros(1, dtype=torch.int64, device=self.device)

        def step() -> None:
            rows = order.index_select(0, number).view(-1)
            adam.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            loss.backward()
            adam.step()
            self.losses.index_copy_(0, number, loss.detach().view(1))
            number.add_(1).remainder_(total)

        graph = self.recorded(step, steps)

        def train(new_order: Any) -> None:
            order.copy_(new_order)
            number.zero_()
            for _ in range(total // steps):
                graph.replay()

        return train


class TorchCompile(TorchGraph):
    """`torch.compile(mode="max-autotune")` of gather, forward and loss, and so of the backward pass.

    Tried: the fused Adam beside it; with torch's own CUDA graphs off, the compiled step and the fused Adam recorded by
    hand, as in TorchGraph; and `Adam.step` compiled as well.
    """

    @property
    def variants(self) -> list[str]:  # type: ignore[override]
        return [FUSED, RECORDED, COMPILED_ADAM] if self.device == "cuda" else [FUSED, COMPILED_ADAM]

    def load(self) -> None:
        Torch.load(self)

    def build(self, variant: str) -> tuple[Any, Any, Callable[[Any], None]]:
        torch, net = self.torch, self.new_net()
        options = {"fullgraph": True, "dynamic": False}
        adam = self.new_adam(net, fused=variant != COMPILED_ADAM, capturable=True)
        if variant == RECORDED:
            loss_of = torch.compile(net, mode="max-autotune-no-cudagraphs", **options)
            return net, adam, self.replays(net, loss_of, adam, divisor(self.case.steps, MOST_RECORDED))
        loss_of = torch.compile(net, mode="max-autotune", **options)

        def update() -> None:
            adam.step()

        if variant == COMPILED_ADAM:
            update = torch.compile(update, mode="max-autotune")

        def train(order: Any) -> None:
            for number, rows in enumerate(order.unbind(0)):
                torch.compiler.cudagraph_mark_step_begin()
                adam.zero_grad(set_to_none=True)
                loss = loss_of(rows)
                loss.backward()
                update()
                self.losses[number].copy_(loss.detach())  # the next step overwrites it

        return net, adam, train

    def prepare(self, seconds: float, patience: float) -> dict[str, Any]:
        from torch._dynamo.utils import counters

        before = counters["inductor"]["cudagraph_skips"]
        found = super().prepare(seconds, patience)
        return {**found, "cudagraph_skips": counters["inductor"]["cudagraph_skips"] - before}

    def release(self) -> None:
        super().release()
        self.torch._dynamo.reset()
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()
