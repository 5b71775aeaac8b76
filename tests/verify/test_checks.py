"""Each check of ``chainrule verify`` fails for what is wrong by a little more than its limit, and for no less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import LOSS, STEP
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.verify import checks

LAST_STEP = 99


class WrongPhilox(NumPyBackend):
    """One unit in the last place of its 24 bits."""

    def __init__(self, much: float) -> None:
        super().__init__()
        self.much = much

    def uniform(self, key: Any, counter: Any, *, low: float, high: float, out: Any) -> None:
        super().uniform(key, counter, low=low, high=high, out=out)
        if out.dtype == np.float64:
            out[-1] += self.much * 2.0**-24


class WrongProducts(NumPyBackend):
    """Off by ``much`` times u |A||B| for one dtype."""

    def __init__(self, much: float, dtype: str) -> None:
        super().__init__()
        self.much, self.wrong = much, np.dtype(dtype)

    def matmul(self, a: Any, b: Any, *, out: Any) -> None:
        super().matmul(a, b, out=out)
        if out.dtype == self.wrong:
            wide = np.abs(a.astype(np.longdouble)) @ np.abs(b.astype(np.longdouble))
            out[...] = out + self.much * (np.finfo(out.dtype).eps / 2) * wide


class WrongGradient(NumPyBackend):
    """That of the loss, by a factor of 1 + ``much`` for one dtype."""

    def __init__(self, much: float, dtype: str) -> None:
        super().__init__()
        self.much, self.wrong = much, np.dtype(dtype)

    def _finish(self, batch: LossBatch, *args: Any, **options: Any) -> None:
        super()._finish(batch, *args, **options)
        if batch.dlogits.dtype == self.wrong:
            np.multiply(batch.dlogits, self.wrong.type(1 + self.much), out=batch.dlogits)


class WrongValue(NumPyBackend):
    """The loss alone, by a factor of 1 + ``much``: neither its gradient nor the reference knows."""

    def __init__(self, much: float) -> None:
        super().__init__()
        self.much = much

    def _record(self, loss: Any, weight: Any, state: Any, totals: Any) -> None:
        super()._record(loss, weight, state, totals)
        totals[:, LOSS] *= 1 + self.much


class WrongUpdate(NumPyBackend):
    """The weights after a hundred steps, by a factor of 1 + ``much`` for one dtype."""

    def __init__(self, much: float, dtype: str) -> None:
        super().__init__()
        self.much, self.wrong = much, np.dtype(dtype)

    def adam(self, params: Any, grads: Any, m: Any, v: Any, lr: Any, state: Any, **options: Any) -> None:
        super().adam(params, grads, m, v, lr, state, **options)
        if state[STEP] == LAST_STEP and params.dtype == self.wrong:
            params *= params.dtype.type(1 + self.much)


class OtherBits(NumPyBackend):
    """Every other run ends one unit in the last place away, in one weight of each group."""

    def __init__(self, much: float) -> None:
        super().__init__()
        self.much, self.runs = much, 0

    def adam(self, params: Any, grads: Any, m: Any, v: Any, lr: Any, state: Any, **options: Any) -> None:
        super().adam(params, grads, m, v, lr, state, **options)
        if state[STEP] == LAST_STEP and params.dtype == np.float32 and self.much:
            self.runs += 1
            if self.runs % 2:
                params[0] = np.nextafter(params[0], np.float32(9))


# Numbers, not the limits of the code: raised limits are to be seen.
UNITS, ROUGHLY = 8.0, 4.0  # the limit of products; NumPy's own are within 4 of these units
CASES = {
    "random numbers: Philox known answers": (WrongPhilox, (), 1.0, 0.0),
    "products: element by element, float32": (WrongProducts, ("float32",), UNITS + ROUGHLY, UNITS - ROUGHLY),
    "products: element by element, float64": (WrongProducts, ("float64",), UNITS + ROUGHLY, UNITS - ROUGHLY),
    # Along a random direction, entries of both signs cancel for a part.
    "gradients of squared_error by complex step": (WrongGradient, ("float64",), 3e-11, 3e-14),
    "gradients of squared_error by central difference": (WrongValue, (), 3e-5, 3e-8),
    "gradients: float32 against float64": (WrongGradient, ("float32",), 2e-5, 0.5e-5),
    "100 steps in float64": (WrongUpdate, ("float64",), 2e-12, 0.5e-12),
    "100 steps in float32": (WrongUpdate, ("float32",), 2e-5, 0.5e-5),
    "same command, same bits": (OtherBits, (), 1.0, 0.0),
}


LIMITS_OF_TF32_AND_BF16 = {
    # precision: unit roundoff of a factor, limit of the gradient and of the weights after 100 steps
    "tf32": (2.0**-11, 5e-3),
    "bf16": (2.0**-8, 5e-2),
}


def failed(backend: NumPyBackend, monkeypatch: pytest.MonkeyPatch, part: str = "") -> list[str]:
    """The checks whose names begin with ``part`` and that fail."""
    monkeypatch.setattr(checks, "LOSSES", {"squared_error": checks.LOSSES["squared_error"]})
    chosen = {name: check for name, check in checks.checks_of(backend).items() if name.startswith(part)}
    assert chosen
    return [name for name, check in chosen.items() if checks._outcome(name, check).status == "FAILED"]


@pytest.mark.parametrize("name", CASES)
def test_a_check_fails_for_a_little_more_than_its_limit_and_no_less(monkeypatch, name):
    kind, options, too_much, tolerated = CASES[name]
    check = name.partition(", float")[0]
    assert not failed(kind(tolerated, *options), monkeypatch, check)
    assert failed(kind(too_much, *options), monkeypatch, check)


@pytest.mark.parametrize("precision", LIMITS_OF_TF32_AND_BF16)
def test_a_check_fails_beyond_the_limits_of_tf32_and_bf16(monkeypatch, precision):
    """The limits alone: NumPy itself computes in float32."""
    roundoff, limit = LIMITS_OF_TF32_AND_BF16[precision]
    units = roundoff / 2.0**-24
    for name, kind, too_much, tolerated in (
        ("products", WrongProducts, 1.5 * UNITS * units, 0.5 * UNITS * units),
        ("gradients: float32 against float64", WrongGradient, 2 * limit, 0.5 * limit),
        ("100 steps in float32", WrongUpdate, 2 * limit, 0.5 * limit),
    ):
        for much, expected in ((too_much, 1), (tolerated, 0)):
            backend = kind(much, "float32")
            monkeypatch.setattr(backend, "precision", precision)
            assert len(failed(backend, monkeypatch, name)) == expected, (name, much)


def test_every_check_is_shown_to_fail():
    names = [name for name in checks.checks_of(NumPyBackend()) if not name.startswith("gradients of")]
    shown = [*(name.partition(", float")[0] for name in CASES), "saved and loaded"]
    assert all(any(name.startswith(part) for part in shown) for name in names), names


def test_run_checks_goes_through_all_of_them_in_order(monkeypatch):
    monkeypatch.setattr(checks, "LOSSES", {})
    backend = NumPyBackend()
    outcomes = list(checks.run_checks(backend))
    assert [outcome.name for outcome in outcomes] == list(checks.checks_of(backend))
    assert {outcome.status for outcome in outcomes} == {"ok"}


def test_saved_and_loaded_fails_for_one_bit(monkeypatch):
    right = checks.load

    def load(*args: Any, **options: Any) -> Any:
        net = right(*args, **options)
        W = net.parameters()["dense1.W"]
        W[0, 0] = np.nextafter(W[0, 0], np.float32(9))
        return net

    monkeypatch.setattr(checks, "load", load)
    assert failed(NumPyBackend(), monkeypatch) == ["saved and loaded: same predictions"]
