"""The compiled body: the loops of :mod:`loops` in place of NumPy's passes once they are loaded (:mod:`loading`)."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from chainrule.backends.compiled.loading import LOOPS, describe, is_available, or_numpy
from chainrule.backends.compiled.losses import CompiledLosses
from chainrule.backends.compiled.normalization import COMPILED, CompiledNormalization
from chainrule.backends.contract.backend import HALTED, RUNNING, ActivationName, Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.activations import DERIVATIVE

__all__ = ["LOOPS", "CompiledBackend", "cpu_backend", "describe", "is_available", "loaded"]


class CompiledBackend(CompiledLosses, CompiledNormalization):
    """NumPy on the CPU, its element-wise passes compiled once that pays."""

    @property
    def _loss_loops(self) -> ModuleType | None:
        return LOOPS.module

    @property
    def _normalization_loops(self) -> ModuleType | None:
        return LOOPS.normalization

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        start, booked = time.perf_counter(), LOOPS.spent
        with super().running():
            yield
        if LOOPS.module is None:  # predictions count too; steps have been booked by `capture`
            LOOPS.spend(time.perf_counter() - start - (LOOPS.spent - booked))

    def capture(self, step: Callable[[], None]) -> Callable[[int], None]:
        run = super().capture(step)

        def replay(times: int) -> None:
            if LOOPS.module is not None or LOOPS.problem:
                run(times)
                return
            start = time.perf_counter()
            run(times)
            LOOPS.spend(time.perf_counter() - start)

        return replay

    # ---- layers -----------------------------------------------------------------------------------

    def dense(self, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
        loops = LOOPS.module
        if loops is None or z is not y or z.ndim != 2 or y.dtype.char not in COMPILED:
            super().dense(x, W, b, activation, z=z, y=y)
            return
        self.matmul(x, W, out=y)
        try:
            if activation == "relu":
                loops.add_bias_relu(y, b)
                return
            loops.add_bias(y, b)
        except Exception as error:
            LOOPS.withdraw(error)
            self.dense(x, W, b, activation, z=z, y=y)
            return
        if activation != "identity":
            self.activate(activation, y, out=y)

    @or_numpy
    def activate(self, activation: ActivationName, z: Array, *, out: Array) -> None:
        loops = LOOPS.activations
        gated = None if loops is None else loops.GATED.get((activation, z.dtype.char))
        if gated is None or out.dtype != z.dtype:
            super().activate(activation, z, out=out)
            return
        e = self._scratch(z.shape, z.dtype, use="gate") if np.may_share_memory(z, out) else out
        self._by_exp(gated.argument, gated.function, z, e)
        if e is not out:
            out[...] = e

    def _by_exp(self, argument: Callable[..., None], function: Callable[..., None], z: Array, e: Array) -> None:
        z, e = z.reshape(-1), e.reshape(-1)
        argument(z, e)
        np.exp(e, out=e)
        function(z, e)

    def activation_backward(self, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array) -> None:
        loops = LOOPS.activations
        single_column = dz.shape[-1] == 1  # which NumPy sums in another order
        if loops is None or dz.ndim != 2 or single_column or dz.dtype.char not in COMPILED:
            super().activation_backward(activation, saved, dy, dz=dz, db=db)
            return
        if dz is not dy:
            dz[...] = dy
        try:
            if backward := loops.BACKWARD.get(activation):
                backward(saved, dz, db)
                return
            derivative = self._scratch(saved.shape, saved.dtype, use="derivative")
            if gated := loops.GATED.get((activation, saved.dtype.char)):
                self._by_exp(gated.argument, gated.derivative, saved, derivative)
            else:
                scratch = functools.partial(self._scratch, saved.shape, saved.dtype)
                DERIVATIVE[activation](np, saved, derivative, scratch)
            loops.multiply_backward(derivative, dz, db)
        except Exception as error:
            LOOPS.withdraw(error)
            self.activation_backward(activation, saved, dy, dz=dz, db=db)

    # ---- random numbers ---------------------------------------------------------------------------

    @or_numpy
    def _words(self, key: tuple[int, int], counter: tuple[int, int, int], count: int) -> Array:
        loops = LOOPS.module
        if loops is None:
            return super()._words(key, counter, count)
        words = np.empty(count, np.uint32)
        loops.philox_words(*key, *counter, words)
        return words.astype(np.uint64)

    # ---- optimisers -------------------------------------------------------------------------------

    def sgd(
        self,
        params: Array,
        grads: Array,
        velocity: Array | None,
        lr: Array,
        state: Array,
        *,
        lr_factor: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        loops, real = LOOPS.module, params.dtype.type
        if loops is None or state[HALTED] != RUNNING:
            super().sgd(
                params,
                grads,
                velocity,
                lr,
                state,
                lr_factor=lr_factor,
                momentum=momentum,
                nesterov=nesterov,
                weight_decay=weight_decay,
            )
            return
        rate = real(self._learning_rate(lr, state, lr_factor))
        try:
            if velocity is None:
                loops.sgd(params, grads, rate, real(weight_decay))
            else:
                loops.sgd_momentum(params, grads, velocity, rate, real(weight_decay), real(momentum), nesterov)
        except Exception as error:
            LOOPS.withdraw(error)
            self.sgd(
                params,
                grads,
                velocity,
                lr,
                state,
                lr_factor=lr_factor,
                momentum=momentum,
                nesterov=nesterov,
                weight_decay=weight_decay,
            )

    def adam(
        self,
        params: Array,
        grads: Array,
        m: Array,
        v: Array,
        lr: Array,
        state: Array,
        *,
        lr_factor: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        eps_hat: bool = False,
    ) -> None:
        loops, real = LOOPS.module, params.dtype.type
        if loops is None or state[HALTED] != RUNNING:
            super().adam(
                params,
                grads,
                m,
                v,
                lr,
                state,
                lr_factor=lr_factor,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
                weight_decay=weight_decay,
                decoupled=decoupled,
                eps_hat=eps_hat,
            )
            return
        rate = self._learning_rate(lr, state, lr_factor)
        step_size, step_eps = self._corrected(rate, state, beta1, beta2, eps, params.dtype, eps_hat)
        keep = real(1 - rate * weight_decay) if decoupled else real(1)
        decay = real(0) if decoupled else real(weight_decay)
        try:
            loops.adam(
                params,
                grads,
                m,
                v,
                keep,
                decay,
                real(beta1),
                real(1 - beta1),
                real(beta2),
                real(1 - beta2),
                step_eps,
                step_size,
            )
        except Exception as error:
            LOOPS.withdraw(error)
            self.adam(
                params,
                grads,
                m,
                v,
                lr,
                state,
                lr_factor=lr_factor,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
                weight_decay=weight_decay,
                decoupled=decoupled,
                eps_hat=eps_hat,
            )

    @or_numpy
    def _approach(self, target: Array, share: Any, out: Array) -> None:
        loops = LOOPS.module
        if loops is None:
            super()._approach(target, share, out)
        else:
            loops.approach(target, share, out)


def cpu_backend() -> NumPyBackend:
    """The best body for this host: compiled where numba is installed and not switched off."""
    if not is_available():
        return NumPyBackend()
    if LOOPS.wanted() == "1":
        LOOPS.load()
    return CompiledBackend()


def loaded() -> Any:
    """The compiled body with its loops loaded now; ImportError where they cannot be. For tests and benchmarks."""
    LOOPS.load()
    if LOOPS.module is None:
        raise ImportError(LOOPS.problem)
    return CompiledBackend()
