"""Launches of a training step on a CUDA device, and the bytes that they name: counted, without a device.

    python benchmarks/launches_cuda.py [--cases b c] [--precision bf16] [--tiny]

The step of a net is recorded as a CUDA device would record it, at its full size; nothing of it is started, and most of
its memory never touched. Each launch says what memory it reads and what it writes; its bytes are both. How often a
kernel really goes to memory, and how long it takes, is not counted here. What a device chooses by timing is given in
turn: nothing, weight gradients in parts of k, a ReLU as part of the products on both sides of it ("signs"), both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("tests", "src")]

import numpy as np  # noqa: E402
from compare_cuda import SPECS  # noqa: E402

import chainrule as cr  # noqa: E402
from chainrule.backends.capture.dependencies import dependencies  # noqa: E402
from chainrule.backends.contract.losses import LossBatch  # noqa: E402
from chainrule.backends.cupy import kernels  # noqa: E402
from chainrule.backends.cupy.capture.launches import Launch  # noqa: E402
from chainrule.backends.cupy.gemm.gemm import describe_product  # noqa: E402
from chainrule.backends.cupy.gemm.launching import Plan, multiply  # noqa: E402
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, ProductArrays  # noqa: E402
from chainrule.backends.cupy.gemm.relu_border import ReluBorder  # noqa: E402
from chainrule.backends.cupy.gemm.split_product import SplitProduct, lengths_of_parts  # noqa: E402
from chainrule.nn.passes import new_state  # noqa: E402
from chainrule.train.feeding.batches import first_position  # noqa: E402
from emulation.backend import EmulatedBackend  # noqa: E402
from emulation.simulated_cupy import SimulatedLibrary  # noqa: E402


class Ways(NamedTuple):
    """What is chosen."""

    parts: bool  # of k, as many as there are multiprocessors
    signs: bool  # a ReLU across a border

    def __str__(self) -> str:
        chosen = [name for name, value in self._asdict().items() if value]
        return " and ".join(chosen) or "nothing"


class CountingBackend(EmulatedBackend):
    """Records launches of an H200's size, and starts none."""

    def __init__(self, precision: str, ways: Ways) -> None:
        super().__init__(precision)
        self._ways = ways

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype)  # memory that nobody touches is not taken

    def assign(self, values: Any, *, out: Any) -> None:
        if out.size < 1 << 16:
            super().assign(values, out=out)

    def start(self, launch: Launch) -> None:
        pass

    def load_kernel(self, signature: kernels.Signature, variant: str) -> Callable[..., None]:
        return lambda *_: None

    def multiply(self, arrays: ProductArrays, epilogue: Epilogue = "none") -> None:
        a, b, out, bias, signs = arrays
        product = describe_product(a, b, out, self.precision, epilogue, bias, signs)
        lengths = lengths_of_parts(product, self.multiprocessors) if self._ways.parts else []
        library: Any = SimulatedLibrary()
        plan: Plan = SplitProduct(library, product, lengths[-1], 0) if lengths else library.plan(product)
        multiply(self, product, plan, arrays)

    def fuses_relu(self, border: ReluBorder) -> bool:
        return self._ways.signs

    def sums_in_product(self, border: ReluBorder) -> bool:
        return self._ways.signs and border.real == border.stored


class Count(NamedTuple):
    """Of one step."""

    launches: int
    chain: int  # launches on the longest path through what waits for what
    nbytes: int  # read and written

    def __str__(self) -> str:
        return f"{self.launches:8} {self.chain:6} {self.nbytes / 1e6:10,.1f}"


def count(widths: Sequence[int], rows: int, precision: str, ways: Ways) -> Count:
    """A step of an MLP with ReLUs, softmax cross-entropy and Adam on a batch of so many rows, the next one gathered."""
    be = CountingBackend(precision, ways)
    net = cr.MLP(widths, backend=be)
    batch, state = net.bind(rows, training=True, renews_factors=False), new_state(be)
    x, labels = be.empty((rows, widths[0]), be.storage("float32")), be.empty((rows,), np.int32)
    sources = [be.empty(x.shape, np.float32), be.empty((rows,), np.int32)]
    order, position = be.empty((rows,), np.int64), first_position(be)
    lr, totals = be.empty((1,), np.float64), be.empty((1, 3), np.float64)
    factors = None if net.factor_arena is net.parameter_arena else net.factor_arena
    optimizer = cr.Adam().bind(net.parameter_arena, net.gradient_arena, factors=factors, by_layer=True)

    def step() -> None:
        logits = batch.forward(x)
        net.loss(be, LossBatch(logits, labels, None, state, totals, batch.dlogits))
        batch.backward()
        optimizer.step(lr, state)
        be.tick(state)
        be.gather(sources, order, position, stride=rows, out=[x, labels])

    step()  # scratch memory
    launches = be.record(step)
    depth: list[int] = []
    for waits in dependencies(launches):
        depth.append(1 + max((depth[other] for other in waits), default=0))
    nbytes = sum(stop - start for one in launches for spans in (one.reads, one.writes) for start, stop in {*spans})
    return Count(len(launches), max(depth), nbytes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=SPECS, default=["b", "c"])
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="bf16")
    parser.add_argument("--tiny", action="store_true", help="the cases of a smoke run")
    given = parser.parse_args(arguments)
    print(f"{'case':5}{'chosen':16} {'launches':>8} {'chain':>6} {'MB':>10}   {given.precision}")
    for name in given.cases:
        case = SPECS[name].tiny if given.tiny else SPECS[name].case
        for ways in (Ways(parts, signs) for parts in (False, True) for signs in (False, True)):
            print(f"{name:5}{ways!s:16} {count(case.widths, case.batch, given.precision, ways)}")


if __name__ == "__main__":
    main()
