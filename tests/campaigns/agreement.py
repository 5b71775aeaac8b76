"""Agreement of backends on the same numbers: products of random shapes, and whole trainings.

Of 500 shapes in two dtypes each product is within 8 u (|A| @ |B|) of the exact one, element by element, also of
transposed factors and stacks. After 10, 100 and 1000 steps of a random training the weights are NumPy's: with the
compiled and the guarded backend bit for bit, with the simulated CUDA backend within the limits of ``verify``; so are
those of ensembles with compiled loops, which take rows of all members at once.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

import chainrule as cr
from campaigns.implementations import IMPLEMENTATIONS, backend_of
from campaigns.tally import Tally
from chainrule.backends.numpy.backend import NumPyBackend

TITLE = "agreement of backends: products, trainings"
SHAPES, STEPS = 500, (10, 100, 1000)
CASES = 2 * SHAPES + 20 * len(STEPS)  # each shape in two dtypes, then trainings

MOST = 300  # units, rows
LONG_SIMULATED = 4  # trainings of 1000 steps that the simulated backend does too: 40 s each
DTYPES = ("float32", "float64")
# Largest difference after so many steps, of the largest weight. Training is no contraction: roundings grow with steps.
LIMITS = {"float64": {10: 1e-12, 100: 1e-12, 1000: 1e-10}, "float32": {10: 1e-5, 100: 1e-5, 1000: 1e-3}}


def product(number: int) -> str:
    """One shape in one dtype, on every backend."""
    rng = np.random.default_rng(number // 2)
    dtype = np.dtype(DTYPES[number % 2])
    m, k, n = (int(np.exp(rng.uniform(0, np.log(MOST)))) for _ in range(3))
    stack = (3,) if rng.random() < 0.1 else ()
    shapes = [(*stack, m, k), (*stack, k, n)]
    factors = []
    for shape in shapes:
        if rng.random() < 0.4:
            factors.append(rng.normal(size=(*shape[:-2], shape[-1], shape[-2])).astype(dtype).swapaxes(-1, -2))
        else:
            factors.append(rng.normal(size=shape).astype(dtype))
    a, b = factors
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = 8 * np.finfo(dtype).eps / 2 * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    for name in IMPLEMENTATIONS:
        with backend_of(name) as be:
            x, y = (be.upload(np.ascontiguousarray(f)) for f in (a, b))
            if not a.flags.c_contiguous:
                x = be.upload(np.ascontiguousarray(a.swapaxes(-1, -2))).swapaxes(-1, -2)
            if not b.flags.c_contiguous:
                y = be.upload(np.ascontiguousarray(b.swapaxes(-1, -2))).swapaxes(-1, -2)
            out = be.empty((*stack, m, n), dtype)
            with be.running():
                be.matmul(x, y, out=out)
            if not (np.abs(be.download(out) - exact) <= bound).all():
                return f"{name}: a product of {shapes} in {dtype} is off by more than 8 u |A||B|"
    return "products"


def training(number: int) -> str:
    """One training, on every backend."""
    rng = np.random.default_rng([number // len(STEPS), 1])
    steps, dtype = STEPS[number % len(STEPS)], str(rng.choice(DTYPES))
    X, y = rng.normal(size=(95, 6)).astype(np.float32), rng.integers(0, 3, 95)
    width, clip = int(rng.integers(4, 33)), float(rng.choice([0.5, 100.0]))
    activation, normalization = str(rng.choice(["tanh", "gelu", "silu", "softplus"])), rng.choice([None, "layer"])
    members = int(rng.integers(2, 6)) if number // len(STEPS) % 3 == 2 else 1
    dropout, seed, kind = float(rng.choice([0.0, 0.2])), int(rng.integers(1 << 31)), int(rng.integers(3))

    def trained(backend: cr.Backend) -> np.ndarray:
        net = cr.MLP(
            [6, width, width, 3],
            activation=activation,
            normalization=normalization,
            dropout=dropout,
            dtype=dtype,
            members=members,
            seed=seed,
            backend=backend,
        )
        make = [cr.AdamW, cr.Adam, functools.partial(cr.SGD, momentum=0.9)][kind]
        batches = min(steps, 10)
        size = -(-len(X) // batches)
        cr.Trainer(net, make(lr=1e-3, clip_norm=clip), batch_size=size, epochs=steps // batches, seed=seed).fit(X, y)
        return backend.download(net.parameter_arena.flat)

    expected = trained(NumPyBackend())
    long = steps == STEPS[-1] and number // len(STEPS) >= LONG_SIMULATED
    for name in [name for name in IMPLEMENTATIONS[1:] if not (long and name == "simulated")]:
        with backend_of(name) as be:
            found = trained(be)
        if name == "guarded" or (name == "compiled" and members == 1):
            if not np.array_equal(found, expected):
                return f"{name}: other bits after {steps} steps in {dtype}"
        elif not (gap := float(np.abs(found - expected).max() / np.abs(expected).max())) <= LIMITS[dtype][steps]:
            return f"{name}: off by {gap:.1e} after {steps} steps in {dtype}"
    return "trainings"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many agreed, of products and of trainings, and what went wrong, by number."""
    tally = Tally("products", "trainings")
    for number in numbers:
        tally.add(number, product(number) if number < 2 * SHAPES else training(number - 2 * SHAPES))
    return tally.result()
