"""Every implementation on numbers that are none, infinite, largest, denormal or a signed zero: as the reference.

The compiled loops have its bits, but for the sign of a zero. The CUDA kernels, emulated on the CPU, have a nan or an
infinity if it has either, and otherwise its numbers to rounding. Sums get one special number each, since among several
of them the order decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.activations import ACTIVATIONS
from emulation.backend import EmulatedBackend, compiler_problem

Arrays = dict[str, Any]


def specials(dtype: str) -> np.ndarray:
    facts = np.finfo(dtype)
    positive = [np.inf, facts.max, 1e4, 2.0, 0.5, facts.tiny, facts.smallest_subnormal, 0.0]
    return np.array([np.nan, *positive, *(-x for x in positive)], dtype)


def specials_of_row(dtype: str) -> np.ndarray:
    """Without the largest: sums of several of them overflow in float32, and not in the double precision of CUDA's."""
    values = specials(dtype)
    return values[np.abs(values) != np.finfo(dtype).max]


def few(dtype: str) -> np.ndarray:
    """For all combinations of several arrays."""
    facts = np.finfo(dtype)
    return np.array([np.nan, np.inf, -np.inf, facts.max, facts.smallest_subnormal, -0.0, 0.0, 0.75], dtype)


def one_each(dtype: str, seed: int = 0) -> np.ndarray:
    """A square matrix with one special number in each row and column."""
    values = specials(dtype)
    matrix = np.random.default_rng(seed).normal(size=(values.size, values.size)).astype(dtype)
    np.fill_diagonal(matrix, values)
    return matrix


def combinations(dtype: str, count: int) -> list[np.ndarray]:
    """Flat arrays that hold together each combination of :func:`few`."""
    return [np.array(x, dtype) for x in zip(*itertools.product(few(dtype), repeat=count), strict=True)]


class Setting:
    """One call of a kernel on an implementation; with ``flushes`` on numbers as a card reads them, subnormals as 0."""

    def __init__(self, backend: cr.Backend, dtype: str, *, flushes: bool = False) -> None:
        self.backend, self.dtype, self.flushes = backend, dtype, flushes

    def array(self, values: Any, dtype: Any = None) -> Any:
        own = np.array(values, dtype)  # a copy: NumPy would hand on the given array
        if self.flushes and own.dtype == np.float32:
            own[np.abs(own) < np.finfo(np.float32).tiny] *= 0
        return self.backend.upload(own)

    def ones(self, *shape: int) -> Any:
        return self.array(np.ones(shape, self.dtype))

    def state(self) -> Any:
        return self.array([3, 0, RUNNING], np.int64)


# ---- layers ---------------------------------------------------------------------------------------


def activate(to: Setting, activation: str) -> Arrays:
    z = to.array(one_each(to.dtype))
    y, in_place = to.ones(*z.shape), to.array(one_each(to.dtype))
    to.backend.activate(activation, z, out=y)
    to.backend.activate(activation, in_place, out=in_place)
    return {"y": y, "in place": in_place}


def activation_backward(to: Setting, activation: str) -> Arrays:
    """Special inputs, special gradients, and each of the one with each of the other."""
    found: Arrays = {}
    values = specials(to.dtype)
    ordinary = np.random.default_rng(1).uniform(0.1, 0.9, (values.size, values.size)).astype(to.dtype)
    pairs = np.repeat(values[:, None], values.size, axis=1)
    for name, z, dy in (
        ("saved", one_each(to.dtype), ordinary),
        ("dy", ordinary, one_each(to.dtype)),
        ("both", pairs, pairs.T),
    ):
        saved = to.array(z)
        if ACTIVATIONS[activation].saves == "output":
            reference = z.copy()
            NumPyBackend().activate(activation, z, out=reference)
            saved = to.array(reference)
        dz, db = to.array(dy), to.ones(values.size)
        to.backend.activation_backward(activation, saved, dz, dz=dz, db=db)
        found |= {f"dz of special {name}": dz} | ({} if name == "both" else {f"db of special {name}": db})
    return found


def dense(to: Setting, activation: str) -> Arrays:
    found: Arrays = {}
    values = specials(to.dtype)
    identity = np.eye(values.size, dtype=to.dtype)
    for name, x, b in (("b", np.zeros_like(identity), values), ("x", values[:, None], np.zeros(3, to.dtype))):
        W = identity if name == "b" else np.ones((1, 3), to.dtype)
        y = to.ones(len(x), W.shape[1])
        to.backend.dense(to.array(x), to.array(W), to.array(b), activation, z=y, y=y)
        found[f"y of special {name}"] = y
    return found


def dropout(to: Setting) -> Arrays:
    x, out = to.array(one_each(to.dtype)), to.array(one_each(to.dtype))
    to.backend.dropout(x, to.state(), key=(1, 2), counter=(3, 4), rate=0.3, out=out)
    return {"out": out}


def add(to: Setting) -> Arrays:
    a, b = combinations(to.dtype, 2)
    out = to.ones(*a.shape)
    to.backend.add(to.array(a), to.array(b), out=out)
    return {"out": out}


def layer_norm(to: Setting) -> Arrays:
    x = to.array(one_each(to.dtype, seed=2))
    n, k = x.shape
    mean, inverse_std, y = to.ones(n), to.ones(n), to.ones(n, k)
    to.backend.layer_norm(x, to.ones(k), to.ones(k), eps=1e-5, mean=mean, inverse_std=inverse_std, y=y)
    return {"mean": mean, "inverse_std": inverse_std, "y": y}


def batch_norm(to: Setting) -> Arrays:
    x = to.array(one_each(to.dtype, seed=3))
    n, k = x.shape
    names = ("mean", "inverse_std", "running_mean", "running_var")
    found = {name: to.ones(k) for name in names} | {"y": to.ones(n, k)}
    to.backend.batch_norm(x, to.ones(k), to.ones(k), to.state(), eps=1e-5, momentum=0.1, **found)
    return found


def batch_norm_inference(to: Setting) -> Arrays:
    x = to.array(one_each(to.dtype))
    values = np.abs(specials(to.dtype))
    y = to.ones(*x.shape)
    ones = to.ones(values.size)
    to.backend.batch_norm_inference(x, ones, ones, ones, to.array(values), eps=1e-5, y=y)
    return {"y": y}


def norm_backward(to: Setting, kind: str, special: str) -> Arrays:
    rng = np.random.default_rng(4)
    n = specials(to.dtype).size
    ordinary = {name: rng.normal(size=(n, n)).astype(to.dtype) for name in ("dy", "x")}
    dy, x = (to.array(one_each(to.dtype) if name == special else ordinary[name]) for name in ("dy", "x"))
    # The largest is far from an ordinary mean; what a forward pass would have written is not the question here.
    mean, inverse_std = to.array(np.zeros(n, to.dtype)), to.ones(n)
    dx, dgain, dbias = to.ones(n, n), to.ones(n), to.ones(n)
    getattr(to.backend, f"{kind}_norm_backward")(dy, x, to.ones(n), mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
    return {"dx": dx, "dgain": dgain, "dbias": dbias}


# ---- losses ---------------------------------------------------------------------------------------


def elementwise_loss(to: Setting, kind: str, weighted: bool) -> Arrays:
    """A row for each special number: rows are summed, so each is a batch of its own."""
    found: Arrays = {"dlogits": [], "totals": [], "state": []}
    for value, target in itertools.product(specials(to.dtype), (0.0, 1.0, 2.5)):
        logits, dlogits = to.array([[value, 0.5, -0.25]], to.dtype), to.ones(1, 3)
        targets, totals, state = to.array([[target, 1.0, 0.5]], to.dtype), to.array(np.zeros((1, 3))), to.state()
        weights = to.array([0.7], to.dtype) if weighted else None
        batch = LossBatch(logits, targets, weights, state, totals, dlogits)
        to.backend.elementwise_loss(batch, kind, parameter=1.5, scale=0.5, mean=True)
        for name, array in (("dlogits", dlogits), ("totals", totals), ("state", state)):
            found[name].append(to.backend.download(array))
    return found


def class_loss(to: Setting, kind: str, options: dict[str, float]) -> Arrays:
    found: Arrays = {"dlogits": [], "totals": [], "state": []}
    for value, label in itertools.product(specials_of_row(to.dtype), (0, 1)):
        logits, dlogits = to.array([[value, 0.5, -0.25]], to.dtype), to.ones(1, 3)
        totals, state = to.array(np.zeros((1, 3))), to.state()
        batch = LossBatch(logits, to.array([label], np.int32), None, state, totals, dlogits)
        getattr(to.backend, kind)(batch, **options, scale=1.0, mean=True)
        for name, array in (("dlogits", dlogits), ("totals", totals), ("state", state)):
            found[name].append(to.backend.download(array))
    return found


def distribution_loss(to: Setting, kind: str, place: int) -> Arrays:
    found: Arrays = {"dlogits": [], "totals": [], "state": []}
    options = {"levels": (0.1, 0.5, 0.9)} if kind == "quantile_loss" else {}
    for value, target in itertools.product(specials_of_row(to.dtype), (-2.0, 0.0, 2.5)):
        row = np.array([[0.5, -0.25, 0.75, 0.125]], to.dtype)[:, : 3 if options else 4]
        row[0, place] = value
        logits, dlogits = to.array(row), to.ones(*row.shape)
        targets = to.array([[target]] if options else [[target, 1.0]], to.dtype)
        totals, state = to.array(np.zeros((1, 3))), to.state()
        batch = LossBatch(logits, targets, None, state, totals, dlogits)
        getattr(to.backend, kind)(batch, **options, scale=1.0, mean=True)
        for name, array in (("dlogits", dlogits), ("totals", totals), ("state", state)):
            found[name].append(to.backend.download(array))
    return found


def predictions(to: Setting, kind: str) -> Arrays:
    logits = to.array(one_each(to.dtype)[:, : 16 if kind == "quantiles" else None])
    if kind == "mean_and_variance":
        logits = to.array(one_each(to.dtype)[:, :16])
    whole = kind in {"argmax", "positive"}
    out = to.array(np.zeros(logits.shape[:1] if kind == "argmax" else logits.shape, np.int32 if whole else to.dtype))
    getattr(to.backend, kind)(logits, out=out, **({"count": 4} if kind == "quantiles" else {}))
    return {"out": out}


def mean_of_members(to: Setting, kind: str) -> Arrays:
    """Each special number of one member beside each of another."""
    pairs = np.stack(combinations(to.dtype, 2))
    pairs = np.stack([np.resize(part, (part.size // 2, 2)) for part in pairs])
    out = to.array(np.zeros(pairs.shape[1:], to.dtype))
    to.backend.mean_of_members(to.array(pairs), kind, count=2, out=out)
    return {"out": out}


# ---- optimisers -----------------------------------------------------------------------------------


def sgd(to: Setting, momentum: float, nesterov: bool, weight_decay: float) -> Arrays:
    params, grads, velocity = (to.array(x) for x in combinations(to.dtype, 3))
    to.backend.sgd(
        params,
        grads,
        velocity if momentum else None,
        to.array([0.01]),
        to.state(),
        lr_factor=1.0,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
    return {"params": params, "velocity": velocity}


def adam(to: Setting, weight_decay: float, decoupled: bool) -> Arrays:
    params, grads, m, v = combinations(to.dtype, 4)
    params, grads, m, v = (to.array(x) for x in (params, grads, m, np.abs(v)))
    to.backend.adam(
        params,
        grads,
        m,
        v,
        to.array([0.01]),
        to.state(),
        lr_factor=1.0,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        weight_decay=weight_decay,
        decoupled=decoupled,
    )
    return {"params": params, "m": m, "v": v}


def average(to: Setting) -> Arrays:
    params, out = (to.array(x) for x in combinations(to.dtype, 2))
    to.backend.average(params, to.state(), decay=0.9, out=out)
    return {"out": out}


def accumulate(to: Setting, batch: int, mean: bool) -> Arrays:
    grads, out = (to.array(x) for x in combinations(to.dtype, 2))
    state = to.array([3, batch, RUNNING], np.int64)
    totals = to.array([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
    to.backend.accumulate(grads, totals, state, group=2, mean=mean, out=out)
    return {"out": out}


def penalize(to: Setting) -> Arrays:
    """One special number among the parameters: their squares are summed."""
    found: Arrays = {}
    for i, value in enumerate(specials(to.dtype)):
        params, grads = to.array([0.5, value, 2.0], to.dtype), to.array([1.0, 1.0, np.inf], to.dtype)
        totals = to.array([[1.0, 2.0, 0.0]])
        to.backend.penalize(params, grads, totals, to.state(), alpha=0.1, mean=True)
        found |= {f"grads {i}": grads, f"totals {i}": totals}
    return found


def clip(to: Setting) -> Arrays:
    found: Arrays = {}
    # A card makes 0 of the factor for the largest norm, which is no normal number.
    for i, value in enumerate(specials(to.dtype) / (8 if to.flushes else 1)):
        grads = to.array([0.5, value, 2.0, -0.0], to.dtype)
        to.backend.clip_by_global_norm(grads, max_norm=1.0)
        found[f"grads {i}"] = grads
    return found


LOSSES = ("sigmoid_cross_entropy", "squared_error", "absolute_error", "huber", "poisson", "gamma")
CASES: dict[str, Callable[[Setting], Arrays]] = {
    **{f"activate {name}": lambda to, name=name: activate(to, name) for name in ACTIVATIONS},
    **{f"activation_backward {name}": lambda to, name=name: activation_backward(to, name) for name in ACTIVATIONS},
    **{f"dense {name}": lambda to, name=name: dense(to, name) for name in ("identity", "relu", "tanh")},
    "dropout": dropout,
    "add": add,
    "layer_norm": layer_norm,
    "batch_norm": batch_norm,
    "batch_norm_inference": batch_norm_inference,
    **{
        f"{kind}_norm_backward, special {special}": lambda to, k=kind, s=special: norm_backward(to, k, s)
        for kind, special in itertools.product(("layer", "batch"), ("dy", "x"))
    },
    **{
        f"{kind}{', weighted' * weighted}": lambda to, k=kind, w=weighted: elementwise_loss(to, k, w)
        for kind, weighted in itertools.product(LOSSES, (False, True))
    },
    "softmax_cross_entropy": lambda to: class_loss(to, "softmax_cross_entropy", {}),
    "softmax_cross_entropy, smoothed": lambda to: class_loss(to, "softmax_cross_entropy", {"label_smoothing": 0.1}),
    "focal_loss": lambda to: class_loss(to, "focal_loss", {"gamma": 2.0}),
    **{
        f"{kind}, special logit {place}": lambda to, k=kind, p=place: distribution_loss(to, k, p)
        for kind, place in itertools.product(("quantile_loss", "gaussian_nll"), (0, 1, 2))
    },
    **{
        kind: lambda to, k=kind: predictions(to, k)
        for kind in ("softmax", "argmax", "positive", "exp", "quantiles", "mean_and_variance")
    },
    **{
        f"mean_of_members, {kind}": lambda to, k=kind: mean_of_members(to, k)
        for kind in ("identity", "softmax", "sigmoid", "exp", "quantiles", "mean_and_variance")
    },
    **{
        f"sgd, momentum {m}, nesterov {n}, decay {d}": lambda to, m=m, n=n, d=d: sgd(to, m, n, d)
        for m, n, d in ((0.0, False, 0.0), (0.0, False, 0.1), (0.9, False, 0.0), (0.9, True, 0.1))
    },
    "adam": lambda to: adam(to, 0.0, False),
    "adam, coupled decay": lambda to: adam(to, 0.1, False),
    "adam, decoupled decay": lambda to: adam(to, 0.1, True),
    "adam, decoupled decay of 0": lambda to: adam(to, 0.0, True),
    "average": average,
    **{
        f"accumulate, batch {b}, mean {mean}": lambda to, b=b, mean=mean: accumulate(to, b, mean)
        for b, mean in itertools.product((0, 1), (False, True))
    },
    "penalize": penalize,
    "clip_by_global_norm": clip,
}  # fmt: skip


def outcome(backend: cr.Backend, case: str, dtype: str, *, flushes: bool = False) -> dict[str, np.ndarray]:
    with backend.running(), np.errstate(all="ignore"):
        found = CASES[case](Setting(backend, dtype, flushes=flushes))
        return {
            name: np.array(values) if isinstance(values, list) else np.array(backend.download(values))
            for name, values in found.items()
        }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", ["compiled", "guarded"])
def test_the_compiled_loops_have_the_bits_of_the_reference(implementation, case, dtype):
    if implementation == "compiled":
        pytest.importorskip("numba", reason="numba is not installed")
    found = outcome(compiled.loaded() if implementation == "compiled" else cr.GuardedBackend(), case, dtype)
    for name, expected in outcome(NumPyBackend(), case, dtype).items():
        np.testing.assert_array_equal(found[name], expected, err_msg=f"{case}: {name}")


@pytest.mark.parametrize("case", CASES)
def test_the_cuda_kernels_have_a_nan_or_an_infinity_where_the_reference_has_one(case):
    """In float32 alone: kernels are one text for both, and emulating them takes time.

    Which of the two depends on what a compiler fuses: inf - 2 z is nan if 2 z is rounded, to inf, and else inf.
    """
    if problem := compiler_problem():
        pytest.skip(problem)
    found = outcome(EmulatedBackend(), case, "float32", flushes=True)
    for name, expected in outcome(NumPyBackend(), case, "float32", flushes=True).items():
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found[name]), finite, err_msg=f"{case}: {name}")
        got, want = (np.where(finite, values, 0) for values in (found[name], expected))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4, err_msg=f"{case}: {name}")
