"""Compiled loops that cannot be had: NumPy's passes do the rest, with the same bits, and one warning says so."""

from __future__ import annotations

import contextlib
import itertools
import math
import inspect
import os
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import fits, loading
from chainrule.backends.compiled.state import LOOPS, Loops
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.work import Work
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.losses.names import LOSSES
from chainrule.train.work import work_of
from chainrule.verify.explain import random_rows

numba = pytest.importorskip("numba", reason="numba is not installed")


def loop_that_does_not_compile(loop: Any) -> Any:
    """With the arguments of ``loop``."""
    names = ", ".join(inspect.signature(loop.py_func).parameters)
    broken = numba.njit(eval(f"lambda {names}: {names.partition(',')[0]}.no_such_method()"))
    broken.form, broken.__name__ = loop.form, loop.__name__
    return broken


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The loops as they are in a process that has just begun, and afterwards as they were."""
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    yield
    vars(LOOPS).update(before)


def break_loop(room: str, name: str) -> None:
    """Load the loops, and put one in that cannot be compiled."""
    loading.load()
    broken = types.SimpleNamespace(**vars(getattr(LOOPS, room)))
    if room == "layers" and name in broken.GRADIENT:
        broken.GRADIENT = broken.GRADIENT | {name: loop_that_does_not_compile(broken.GRADIENT[name])}
    elif room == "gates":
        broken.GATED = {
            key: value._replace(function=loop_that_does_not_compile(value.function)) if key[0] == name else value
            for key, value in broken.GATED.items()
        }
    else:
        setattr(broken, name, loop_that_does_not_compile(getattr(broken, name)))
    setattr(LOOPS, room, broken)


def train(backend: cr.Backend, loss: str, activation: str, optimizer: str, layers: str) -> list[bytes]:
    n, k = 60, LOSSES[loss].outputs_for(3)
    optimizers = {"sgd": cr.SGD(1e-3), "momentum": cr.SGD(1e-3, momentum=0.9), "adam": cr.Adam(1e-3)}
    between = {"": [], "dropout": [cr.Dropout(0.3)], "layer": [cr.LayerNorm()], "batch": [cr.BatchNorm()]}[layers]
    hidden = [cr.Dense(9), *between, cr.Activation(activation)] if between else [cr.Dense(9, activation)]
    net = cr.Network([*hidden, cr.Dense(7, activation), cr.Dense(k)], 6, loss=loss, backend=backend, seed=1)
    X, y = random_rows(net, n, np.random.default_rng(3))
    run = cr.Trainer(net, optimizers[optimizer], batch_size=16, epochs=2, ema=0.9, seed=1).fit(X, y, validation=0.2)
    return [
        net.parameter_arena.flat.tobytes(),
        repr(run.history["loss"]).encode(),
        np.asarray(net.predict(X)).tobytes(),
    ]


CASES = [
    *[(room, name, ("softmax_cross_entropy", "relu", "adam", "")) for room, name in (
        ("layers", "add_bias"), ("layers", "add_bias_relu"), ("losses", "subtract_row_max"), ("losses", "choose"),
        ("losses", "normalize_less_targets"), ("losses", "record_loss"), ("optimisers", "adam"),
        ("optimisers", "approach"), ("random", "philox_words"),
    )],
    ("losses", "times", ("squared_error", "tanh", "sgd", "")),
    ("optimisers", "sgd", ("squared_error", "sigmoid", "sgd", "")),
    ("optimisers", "sgd_momentum", ("absolute_error", "sigmoid", "momentum", "")),
    ("target_losses", "huber", ("huber", "relu", "adam", "")),
    ("target_losses", "pinball", ("quantile", "relu", "adam", "")),
    ("target_losses", "gaussian", ("gaussian_nll", "relu", "adam", "")),
    ("predictions", "argmax", ("softmax_cross_entropy", "relu", "adam", "")),
    ("target_losses", "gamma", ("gamma", "relu", "adam", "")),
    *[("target_losses", name, ("sigmoid_cross_entropy", "relu", "adam", "")) for name in (
        "less_twice_positive_part", "sigmoid_losses", "sigmoid_less_targets",
    )],
    *[("layers", name, ("squared_error", name, "adam", "")) for name in ("relu", "tanh")],
    *[("gates", name, ("squared_error", name, "adam", "")) for name in ("gelu", "silu", "mish")],
    *[("layers", name, ("squared_error", name, "adam", "")) for name in ("elu", "selu")],
    ("layers", "negative_part", ("squared_error", "selu", "adam", "")),
    ("layers", "minus_magnitude", ("squared_error", "softplus", "adam", "")),
    ("random", "dropout", ("squared_error", "relu", "adam", "dropout")),
    *[("normalization", name, ("squared_error", "relu", "adam", "layer")) for name in (
        "invert", "row_moments", "normalize_rows", "times_normalized_rows", "row_input_gradient",
    )],
    *[("normalization", name, ("squared_error", "relu", "adam", "batch")) for name in (
        "column_moments", "move", "normalize_columns", "column_gradients", "column_factors", "column_input_gradient",
    )],
]  # fmt: skip


@pytest.mark.parametrize(("room", "name", "setting"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_loop_that_does_not_compile_leaves_the_bits_as_they_are(room, name, setting):
    expected = train(NumPyBackend(), *setting)
    break_loop(room, name)
    with pytest.warns(
        cr.CompiledLoopsWarning, match="given up: TypingError.*NumPy computes the same numbers"
    ) as caught:
        assert train(compiled.CompiledBackend(), *setting) == expected
    assert len(caught) == 1
    assert not LOOPS.is_loaded
    assert LOOPS.layers is LOOPS.gates is LOOPS.losses is LOOPS.target_losses is None
    assert LOOPS.normalization is LOOPS.optimisers is LOOPS.random is None
    assert compiled.describe().startswith("given up: TypingError")


def losses_in_place(backend: cr.Backend, kind: str, rng: np.random.Generator) -> list[bytes]:
    """The gradient written over the logits, as the contract allows."""
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6).astype(np.int32)
    state, totals = np.zeros(3, np.int64), np.zeros((1, 3))
    options = {"scale": 1.0, "mean": True}
    with backend.running():
        if kind == "softmax":
            backend.softmax(logits, out=logits)
        elif kind == "softmax_cross_entropy":
            backend.softmax_cross_entropy(LossBatch(logits, labels, None, state, totals, logits), **options)
        else:
            targets = rng.integers(0, 2, (6, 4)).astype(float)
            backend.elementwise_loss(LossBatch(logits, targets, None, state, totals, logits), kind, **options)
    return [logits.tobytes(), totals.tobytes()]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("choose", "softmax_cross_entropy"),
        ("normalize_less_targets", "softmax_cross_entropy"),
        ("divide_by_sum", "softmax"),
        ("sigmoid_less_targets", "sigmoid_cross_entropy"),
    ],
)
def test_logits_that_are_written_over_are_there_when_a_later_loop_does_not_compile(name, kind):
    expected = losses_in_place(NumPyBackend(), kind, np.random.default_rng(2))
    break_loop({"sigmoid_cross_entropy": "target_losses", "softmax": "predictions"}.get(kind, "losses"), name)
    with pytest.warns(cr.CompiledLoopsWarning):
        assert losses_in_place(compiled.CompiledBackend(), kind, np.random.default_rng(2)) == expected


def test_warnings_made_errors_end_no_fit():
    break_loop("optimisers", "adam")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(compiled.CompiledBackend(), "squared_error", "relu", "adam", "")
    assert "given up" in LOOPS.problem


def test_an_error_that_is_not_of_the_compiler_is_raised_as_it_is():
    loading.load()
    backend = compiled.CompiledBackend()
    with pytest.raises(ValueError, match="matmul"):
        backend.dense(np.ones((2, 3)), np.ones((4, 5)), np.ones(5), "relu", z=(y := np.ones((2, 5))), y=y)
    assert LOOPS.is_loaded


def stopping_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "chainrule.backends.compiled.loops.layers", None)
    monkeypatch.delattr("chainrule.backends.compiled.loops.layers", raising=False)


def leaving_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_host_memory", lambda: 100 << 20)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (stopping_imports, "cannot be loaded: ModuleNotFoundError"),
        (leaving_little_memory, "not loaded: they need 536,870,912 bytes of memory and 104,857,600 are free"),
    ],
)
def test_loops_that_cannot_be_loaded_leave_numpy(
    prepare: Callable[[pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(monkeypatch)
    with pytest.warns(cr.CompiledLoopsWarning, match=said):
        loading.load()
    assert not LOOPS.is_loaded
    assert compiled.describe().startswith(said)
    setting = ("squared_error", "relu", "adam", "")
    assert train(compiled.CompiledBackend(), *setting) == train(NumPyBackend(), *setting)


@pytest.mark.parametrize("value", ["yes", "2", " ", "true"])
def test_a_value_of_chainrule_compiled_that_means_nothing_is_refused(value, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", value)
    with pytest.raises(cr.OptionError, match=f"CHAINRULE_COMPILED: expected 0 or 1, got '{value}'"):
        cr.backend("cpu")
    with contextlib.suppress(cr.ChainruleError):
        assert compiled.describe()  # for run.json of a run on another device


def test_a_numba_that_compiles_nothing_is_not_used(monkeypatch):
    from chainrule.backends.compiled import jit

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(ImportError, match="NUMBA_DISABLE_JIT is set"):
        jit.loop(writes="")(os.getpid)


SHORT, LONG = Work(100, 30, 1e5, 1e5, 1e4), Work(100_000, 30, 1e5, 1e5, 1e4)


@pytest.fixture
def kept(monkeypatch) -> None:
    """Loops that an earlier process has compiled."""
    monkeypatch.setattr(loading.loop_cache, "has_loops", lambda: True)


def test_a_fit_loads_them_before_its_first_step_by_its_work(kept):
    assert loading.seconds_in_numpy(SHORT) < loading.LOADING < loading.seconds_in_numpy(LONG) < loading.COMPILING
    backend = compiled.CompiledBackend()
    with backend.fitting(SHORT):
        assert not LOOPS.is_loaded
    with backend.fitting(LONG):
        assert LOOPS.is_loaded


def test_a_fit_that_would_have_to_compile_them_is_longer(monkeypatch):
    monkeypatch.setattr(loading.loop_cache, "has_loops", lambda: False)
    backend = compiled.CompiledBackend()
    with backend.fitting(LONG):
        assert not LOOPS.is_loaded
    with backend.fitting(LONG._replace(steps=10 * LONG.steps)):
        assert LOOPS.is_loaded


def test_many_short_fits_load_them_by_their_work(kept):
    backend, count = compiled.CompiledBackend(), 0
    while not LOOPS.is_loaded:
        with backend.fitting(SHORT):
            count += 1
    assert count == math.ceil(loading.LOADING / loading.seconds_in_numpy(SHORT))


def seconds_pass(monkeypatch: pytest.MonkeyPatch, each: float) -> None:
    """Whenever the time is asked for, so many have passed."""
    clock = itertools.count()
    monkeypatch.setattr(fits.time, "perf_counter", lambda: each * next(clock))


def test_predictions_load_them_by_the_time_spent(kept, monkeypatch):
    backend = compiled.CompiledBackend()
    seconds_pass(monkeypatch, 0.6 * loading.LOADING)
    for is_loaded in (False, True):
        with backend.running():
            pass
        assert LOOPS.is_loaded is is_loaded


def test_the_time_of_fits_and_of_what_is_within_counts_once(kept, monkeypatch):
    backend = compiled.CompiledBackend()
    seconds_pass(monkeypatch, 10 * loading.LOADING)
    with fits.time_outside() as outside, backend.fitting(SHORT):
        for _ in range(3):
            with backend.running():  # the rows that validate it
                pass
    assert not LOOPS.is_loaded
    assert outside.seconds == 20 * loading.LOADING  # before the fit, and after it
    with fits.time_outside() as outside:
        with fits.time_outside() as inner:
            pass
        assert inner.seconds == 10 * loading.LOADING
    assert outside.seconds == 20 * loading.LOADING


@pytest.mark.parametrize(
    ("widths", "batch_size", "loss", "per_step"),
    [  # microseconds that a step takes NumPy on one core, about: measured on a Xeon of 2023
        ([100, 200, 10], 32, "squared_error", 120),
        ([64, 100, 10], 200, "softmax_cross_entropy", 195),
        ([32, 256, 256, 256, 1], 256, "squared_error", 2350),
        ([784, 512, 512, 10], 128, "softmax_cross_entropy", 4900),
    ],
)
def test_the_estimate_is_about_what_was_measured(widths, batch_size, loss, per_step):
    trainer = cr.Trainer(cr.MLP(widths, loss=loss), batch_size=batch_size, epochs=1)
    work = work_of(trainer.net, trainer.settings, batch_size)
    assert per_step / 2 < 1e6 * loading.seconds_in_numpy(work) < per_step * 2


def test_work_counts_what_takes_long(rng):
    def numbers(*layers: cr.Layer) -> float:
        trainer = cr.Trainer(cr.Network([*layers, cr.Dense(2)], 4), batch_size=8, epochs=1)
        return work_of(trainer.net, trainer.settings, 80).numbers

    plain = numbers(cr.Dense(50, "relu"))
    assert numbers(cr.Dense(50, "gelu")) > 1.5 * plain
    assert numbers(cr.Dense(50, "relu"), cr.Dropout(0.5)) > 1.5 * plain


def test_steps_that_are_not_recorded_are_said_once():
    with pytest.warns(cr.CompiledLoopsWarning, match="^steps are called one by one: custom_loss has no compiled loop$"):
        runs = [fit_with_custom_loss(compiled.loaded()) for _ in range(2)]
    assert [run.execution["implementation"] for run in runs] == [
        "compiled, called one by one: custom_loss has no compiled loop"
    ] * 2


def fit_with_custom_loss(backend: cr.Backend) -> cr.Run:
    loss = cr.CustomLoss("half", lambda xp, z, t: ((z - t) ** 2).sum(axis=1) / 2, lambda xp, z, t: z - t)
    net = cr.MLP([3, 4, 1], loss=loss, backend=backend)
    return cr.Trainer(net, epochs=1).fit(np.ones((9, 3)), np.ones((9, 1)))


def test_a_run_says_how_it_was_computed():
    def execution(backend: cr.Backend, widths: list[int], **options: int) -> dict[str, str | int]:
        net = cr.MLP(widths, backend=backend)
        X, y = random_rows(net, 512, np.random.default_rng(0))
        return cr.Trainer(net, batch_size=256, epochs=1, **options).fit(X, y).execution

    short = [8, 4, 2]
    assert execution(compiled.CompiledBackend(), short)["implementation"].startswith("NumPy: the fit is shorter")
    assert execution(NumPyBackend(), short)["implementation"] == "NumPy"
    assert execution(cr.GuardedBackend(), short) == {"implementation": "guarded"}
    recorded = {"implementation": "compiled, recorded steps", "blas threads": 1}
    backend = compiled.loaded()
    assert execution(backend, short, threads=2) == {**recorded, "threads": 1}
    assert execution(backend, [64, 256, 256, 4], threads=2) == {**recorded, "threads": 2}
    assert execution(backend, [64, 256, 256, 4], threads=1) == {**recorded, "threads": 1}
    assert backend.execution()["implementation"] == "NumPy"  # outside of fits nothing is said of steps


@pytest.mark.parametrize(("setting", "why"), [("0", "CHAINRULE_COMPILED=0"), ("", "numba is not installed")])
def test_numpy_alone_says_why(monkeypatch, setting, why):
    monkeypatch.setenv("CHAINRULE_COMPILED", setting)
    monkeypatch.setattr(loading, "_is_installed", lambda: False)
    assert cr.backend("cpu").execution()["implementation"] == f"NumPy: {why}"
