"""One training step of a case of ``compare_cuda.py``, for a profiler that begins when the program asks it to.

::

    CHAINRULE_GRAPHS=0 ncu --profile-from-start off --clock-control none python benchmarks/one_step_cuda.py b
    python benchmarks/one_step_cuda.py b --device cpu --smoke      # tiny, on the processor: does it run?

Two fits warm up: kernels are compiled, products timed, memory allocated. The third is of one epoch of one batch,
between ``cudaProfilerStart`` and ``cudaProfilerStop``; what a fit does once (an order of the rows) is in it too.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from compare_cuda import SPECS

import chainrule as cr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=SPECS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="the tiny case")
    args = parser.parse_args()
    spec = SPECS[args.case]
    case = spec.tiny if args.smoke else spec.case
    precision = "fp32" if args.device == "cpu" else spec.precisions[0]
    backend = cr.backend(args.device, precision=precision)
    rng = np.random.default_rng(0)
    X = backend.upload(rng.standard_normal((case.batch, case.widths[0]), np.float32))
    y = rng.integers(case.widths[-1], size=case.batch)
    net = cr.MLP(case.widths, loss=case.loss, backend=backend, seed=0)

    def fit() -> float:
        trainer = cr.Trainer(net, cr.Adam(), batch_size=case.batch, epochs=1, drop_last=True, metrics=False, seed=0)
        start = time.perf_counter()
        trainer.fit(X, y)
        backend.synchronize()
        return time.perf_counter() - start

    fit()
    fit()
    runtime = profiler(args.device)
    if runtime is not None:
        runtime.profilerStart()
    seconds = fit()
    if runtime is not None:
        runtime.profilerStop()
    print(f"case {args.case} in {precision}: a fit of one step took {seconds * 1e3:.2f} ms, host and profiler included")


def profiler(device: str) -> Any:
    """CUDA's runtime, or None on the processor."""
    if device == "cpu":
        return None
    import cupy

    return cupy.cuda.runtime


if __name__ == "__main__":
    main()
