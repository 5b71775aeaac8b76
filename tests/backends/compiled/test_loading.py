"""Compiled loops that cannot be had: NumPy's passes do the rest, with the same bits, and one warning says so."""

from __future__ import annotations

import contextlib
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
from chainrule.backends.compiled import loading
from chainrule.backends.compiled.state import LOOPS, Loops
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.losses.names import LOSSES
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


def test_nor_if_earlier_calls_of_the_kernel_did_not_need_that_loop():
    """The losses of one target column are not added up."""

    def gradients(backend: cr.Backend) -> list[bytes]:
        found = []
        for columns in (1, 2):
            rng = np.random.default_rng(columns)
            logits, targets = rng.normal(size=(6, 2 * columns)), rng.normal(size=(6, columns))
            state, totals = np.zeros(3, np.int64), np.zeros((1, 3))
            with backend.running():
                backend.gaussian_nll(LossBatch(logits, targets, None, state, totals, logits), scale=1.0, mean=True)
            found += [logits.tobytes(), totals.tobytes()]
        return found

    expected = gradients(NumPyBackend())
    break_loop("target_losses", "sums_of_groups")
    with pytest.warns(cr.CompiledLoopsWarning):
        assert gradients(compiled.CompiledBackend()) == expected


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
