"""Lesson 3: a two-layer net that does not train, and how to find out why.

100 -> 200 (ReLU) -> 10, 32 rows, sum of squared errors, gradient descent at learning rate 1e-2, weights from N(0, 1)::

    z = x W1 + b1      h = max(z, 0)      pred = h W2 + b2      L = sum_ij (pred_ij - t_ij)^2

The program was published with two faults. It takes the bias gradient for the output gradient, so that it stops at the
first step; and with that fixed its loss goes to nan. This lesson runs the faulty program, then asks the tools:
``check_gradients`` finds the first fault, and the ``DivergenceError`` of the Trainer the second.

Run it with ``python examples/lesson3_two_layer_net.py [device]``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr

CPU = cr.backend("cpu")
WIDTHS = (100, 200, 10)
ROWS = 32
PUBLISHED_RATE = 1e-2
STEPS = 200
SEED = 1

Arrays = dict[str, Any]  # by the names that the library gives them: "dense0.W", "dense0.b", "dense1.W", "dense1.b"
Backward = Callable[[Any, Any, Any, Any], Arrays]


class Draw(NamedTuple):
    """All numbers of the program, each from N(0, 1): x (32, 100), t (32, 10), W1 (100, 200), W2 (200, 10)."""

    x: np.ndarray
    t: np.ndarray
    W1: np.ndarray
    W2: np.ndarray


def draw(seed: int = SEED) -> Draw:
    rng = np.random.default_rng(seed)
    n_in, n_hidden, n_out = WIDTHS
    return Draw(*map(rng.standard_normal, ((ROWS, n_in), (ROWS, n_out), (n_in, n_hidden), (n_hidden, n_out))))


# ---- the program by hand: as published, with one line fixed, with both lines fixed --------------------


def forward(x: Any, p: Arrays) -> tuple[Any, Any]:
    """h (32, 200) and pred (32, 10)."""
    h = np.maximum(x @ p["dense0.W"] + p["dense0.b"], 0)
    return h, h @ p["dense1.W"] + p["dense1.b"]


def backward_as_published(x: Any, h: Any, W2: Any, dpred: Any) -> Arrays:
    """db2 (10,) is the sum of dpred (32, 10) over the rows, and is used twice in place of dpred itself."""
    db2 = dpred.sum(axis=0)
    dW2 = h.T @ db2  # (200, 32) @ (10,): does not exist
    dh = db2 @ W2.T  # (10,) @ (10, 200): exists, and is wrong
    dz = dh * (h > 0)  # (200,) * (32, 200): broadcasts, so nothing stops here
    return {"dense0.W": x.T @ dz, "dense0.b": dz.sum(axis=0), "dense1.W": dW2, "dense1.b": db2}


def backward_half_fixed(x: Any, h: Any, W2: Any, dpred: Any) -> Arrays:
    """The line that stopped is fixed, and the program runs. Its gradients by W1 and b1 are still wrong."""
    db2 = dpred.sum(axis=0)
    dW2 = h.T @ dpred
    dh = db2 @ W2.T
    dz = dh * (h > 0)
    return {"dense0.W": x.T @ dz, "dense0.b": dz.sum(axis=0), "dense1.W": dW2, "dense1.b": db2}


def backward_fixed(x: Any, h: Any, W2: Any, dpred: Any) -> Arrays:
    """dW2 = h^T dpred (200, 10),   dh = dpred W2^T (32, 200),   dz = dh * [h > 0],   dW1 = x^T dz (100, 200)."""
    db2 = dpred.sum(axis=0)
    dW2 = h.T @ dpred
    dh = dpred @ W2.T
    dz = dh * (h > 0)
    return {"dense0.W": x.T @ dz, "dense0.b": dz.sum(axis=0), "dense1.W": dW2, "dense1.b": db2}


def train_by_hand(
    backward: Backward, lr: float, steps: int = STEPS, be: cr.Backend = CPU, seed: int = SEED
) -> list[float]:
    """The loss before each step of gradient descent, p -= lr dp, with this backward pass."""
    x, t, W1, W2 = (be.upload(array) for array in draw(seed))
    b1, b2 = (be.upload(np.zeros(width)) for width in WIDTHS[1:])
    p = {"dense0.W": W1, "dense0.b": b1, "dense1.W": W2, "dense1.b": b2}
    losses = []
    with be.running():
        for _ in range(steps):
            h, pred = forward(x, p)
            error = pred - t
            losses.append(float(be.download((error * error).sum())))
            dp = backward(x, h, p["dense1.W"], 2 * error)
            p = {name: p[name] - lr * dp[name] for name in p}
    return losses


# ---- fault 1: the wrong gradient ------------------------------------------------------------------


def first_fault(be: cr.Backend = CPU, seed: int = SEED) -> tuple[str, dict[str, tuple[int, ...]]]:
    """What stops the published program, and the shapes of what it multiplies there."""
    shapes: dict[str, tuple[int, ...]] = {}

    def published(x: Any, h: Any, W2: Any, dpred: Any) -> Arrays:
        shapes.update({"h^T": h.T.shape, "db2": dpred.sum(axis=0).shape, "dpred": dpred.shape, "W2": W2.shape})
        return backward_as_published(x, h, W2, dpred)

    try:
        train_by_hand(published, PUBLISHED_RATE, 1, be, seed)
    except ValueError as error:
        return str(error), shapes
    return "nothing", shapes


def net_with(backward: Backward, be: cr.Backend = CPU) -> cr.Network:
    """A net of the library whose gradients come from the given backward pass, so that its tools can judge it."""

    class ByHand(cr.MLP):
        def loss_and_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, Arrays]:
            rows, p = self.upload_rows(X, y, sample_weight), self.parameters()
            with self.backend.running():
                h, pred = forward(rows.x, p)
                error = pred - rows.targets
                loss = float(self.backend.download((error * error).sum()))
                return loss, backward(rows.x, h, p["dense1.W"], 2 * error)

    return ByHand(WIDTHS, loss="squared_error_sum", backend=be, dtype="float64")


def judge(backward: Backward, rows: int = 8, be: cr.Backend = CPU) -> str:
    """The report of ``check_gradients`` on a few rows, or its complaint."""
    data = draw()
    try:
        return str(cr.check_gradients(net_with(backward, be), data.x[:rows], data.t[:rows]))
    except cr.GradientError as error:
        return str(error)


# ---- fault 2: a step too long for weights and loss of that size ----------------------------------------


class Outcome(NamedTuple):
    """One training: the losses before each step while they were finite, the loss at the end, the error if any."""

    losses: list[float]
    end: float
    error: cr.DivergenceError | None


def library_net(
    weights: str = "normal",
    loss: str = "squared_error_sum",
    be: cr.Backend = CPU,
    seed: int = SEED,
    dtype: str = "float64",
) -> cr.Network:
    """The same net from the library; ``weights`` is "normal" for N(0, 1) or "he" for the library's own.

    Those are He's for the hidden layer, of variance 2 / 100, and Glorot's for the output, of variance 2 / 210.
    """
    net = cr.MLP(WIDTHS, loss=loss, backend=be, dtype=dtype, seed=seed)
    if weights == "normal":
        be.assign(draw(seed).W1, out=net.parameters()["dense0.W"])
        be.assign(draw(seed).W2, out=net.parameters()["dense1.W"])
    return net


def train(net: cr.Network, lr: float, steps: int = STEPS, seed: int = SEED) -> Outcome:
    """Train by full batches: an epoch is a step."""
    x, t, *_ = draw(seed)
    # divergence_factor=None: watch the loss leave the finite numbers, and not be stopped as soon as it explodes.
    trainer = cr.Trainer(net, cr.SGD(lr), batch_size=ROWS, epochs=steps, shuffle=False, divergence_factor=None)
    try:
        run = trainer.fit(x, t)
    except cr.DivergenceError as error:
        return Outcome(error.run.history["loss"], np.nan, error)
    return Outcome(run.history["loss"], net.loss_and_gradients(x, t)[0], None)


def rate_limit(net: cr.Network, seed: int = SEED) -> float:
    """The largest learning rate that can be stable at the present weights: 2 / lambda.

    As a function of W2 and b2 alone the loss is a parabola, with second derivatives 2 H^T H / divisor, H = [h, 1], the
    same for every output (divisor: 1 for a sum, 32 * 10 for a mean). Along the direction of its largest eigenvalue
    lambda, a step multiplies the distance from the bottom by 1 - lr lambda, which is growth as soon as lr > 2 / lambda.
    The matrix by all parameters has this block, so an eigenvalue no smaller: the true limit is no larger than this one.
    """
    p = {name: net.backend.download(array) for name, array in net.parameters().items()}
    h, pred = forward(draw(seed).x, p)
    H = np.column_stack([h, np.ones(ROWS)])
    divisor = pred.size if net.loss.mean else 1
    return float(2 / (2 * np.linalg.norm(H, 2) ** 2 / divisor))


CASES = (
    ("normal", "squared_error_sum", 1e-2),
    ("normal", "squared_error_sum", 1e-3),
    ("normal", "squared_error_sum", 1e-4),
    ("normal", "squared_error_sum", 1e-5),
    ("he", "squared_error_sum", PUBLISHED_RATE),
    ("normal", "squared_error", PUBLISHED_RATE),
    ("he", "squared_error", PUBLISHED_RATE),
)


def survey(seeds: Iterable[int], be: cr.Backend = CPU) -> dict[tuple[str, str, float], list[Outcome]]:
    """Every case over many draws, to tell what always holds from the luck of one seed."""
    return {
        (weights, loss, lr): [train(library_net(weights, loss, be, seed), lr, seed=seed) for seed in seeds]
        for weights, loss, lr in CASES
    }


def main(be: cr.Backend = CPU) -> None:
    print("1. The published program\n")
    message, shapes = first_fault(be)
    print(f"stops at step 0: {message}")
    print(f"dW2 is h^T {shapes['h^T']} times db2 {shapes['db2']}, and must be {shapes['W2']} as W2 is")
    print(f"what fits to the right of h^T is dpred {shapes['dpred']}\n")
    print("with that line fixed it runs; check_gradients reports:")
    print(f"{judge(backward_half_fixed, be=be)}\n")
    print("with dh = dpred W2^T too:")
    print(f"{judge(backward_fixed, be=be)}\n")

    print("2. The fixed program\n")
    losses = train_by_hand(backward_fixed, PUBLISHED_RATE, 8, be)
    print(f"by hand, learning rate {PUBLISHED_RATE:g}: loss {', '.join(f'{loss:.1e}' for loss in losses)}\n")
    error = train(library_net(be=be), PUBLISHED_RATE).error
    print(f"the Trainer stops at the first loss that is not finite:\n{error}\n")
    print("weights  loss               lr     at most  first    outcome")
    for weights, loss, lr in CASES:
        net = library_net(weights, loss, be)
        limit, outcome = rate_limit(net), train(net, lr)
        ending = f"{outcome.end:.1e} after {STEPS} steps"
        if outcome.error is not None:
            ending = f"diverged at step {outcome.error.step}, in {outcome.error.where.partition(':')[0]}"
        print(f"{weights:<8} {loss:<18} {lr:<6.0e} {limit:<8.1e} {outcome.losses[0]:<8.1e} {ending}")


if __name__ == "__main__":
    main(cr.backend(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
