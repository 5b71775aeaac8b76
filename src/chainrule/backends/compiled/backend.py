"""The CPU with compiled loops in place of NumPy's passes, once they are loaded (:mod:`loading`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from chainrule.backends.capture.captured_step import CapturedStep
from chainrule.backends.compiled import (
    batches,
    calls,
    columns,
    embedding,
    ensembles,
    fits,
    layers,
    loading,
    losses,
    normalization,
    optimisers,
    piecewise,
    predictions,
    random,
    target_losses,
)
from chainrule.backends.compiled.fallback import refused_in_recording
from chainrule.backends.compiled.kept_step import KeptStep
from chainrule.backends.compiled.loading import describe, is_available
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array, MapsRows
from chainrule.backends.contract.backend import KERNELS, ReplayStep
from chainrule.backends.contract.work import Work
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.blas_threads import single_thread
from chainrule.host_cores import usable_cores

__all__ = ["CompiledBackend", "cpu_backend", "describe", "is_available", "loaded"]


class CompiledBackend(NumPyBackend):
    """NumPy on the CPU with compiled loops: which file computes what; what is not listed is NumPy's."""

    fuses = frozenset({"scaled_dense", "encoded_dense"})

    gather = batches.gather
    fill = batches.fill
    copy = batches.copy
    standardize = batches.standardize
    scale_and_shift = batches.scale_and_shift
    tick = batches.tick

    matmul = layers.matmul
    dense = layers.dense
    scaled_dense = layers.scaled_dense
    scaled_dense_backward = layers.scaled_dense_backward
    add = layers.add
    activate = layers.activate
    activation_backward = layers.activation_backward

    layer_norm = normalization.layer_norm
    layer_norm_backward = normalization.layer_norm_backward
    batch_norm = normalization.batch_norm
    batch_norm_inference = normalization.batch_norm_inference
    batch_norm_backward = normalization.batch_norm_backward

    embed = embedding.embed
    embed_backward = embedding.embed_backward
    embed_means = embedding.embed_means

    join_columns = columns.join_columns
    take_columns = columns.take_columns
    add_columns = columns.add_columns
    scale_columns = columns.scale_columns
    scale_columns_backward = columns.scale_columns_backward

    piecewise_linear = piecewise.piecewise_linear
    piecewise_linear_backward = piecewise.piecewise_linear_backward
    encoded_dense = piecewise.encoded_dense
    encoded_dense_backward = piecewise.encoded_dense_backward

    softmax_cross_entropy = losses.softmax_cross_entropy
    focal_loss = losses.focal_loss
    count_correct = losses.count_correct

    elementwise_loss = target_losses.elementwise_loss
    quantile_loss = target_losses.quantile_loss
    gaussian_nll = target_losses.gaussian_nll

    softmax = predictions.softmax
    argmax = predictions.argmax
    positive = predictions.positive
    exp = predictions.exp
    quantiles = predictions.quantiles
    mean_and_variance = predictions.mean_and_variance

    mean_of_members = ensembles.mean_of_members

    sgd = optimisers.sgd
    adam = optimisers.adam
    clip_by_global_norm = optimisers.clip_by_global_norm
    penalize = optimisers.penalize
    accumulate = optimisers.accumulate
    average = optimisers.average

    dropout = random.dropout
    _fill_words = random.fill_words

    # ---- execution: how long work takes decides when loops are loaded -------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        if LOOPS.is_loaded:
            with super().running(), calls.no_recording():
                yield
            return
        with fits.time_outside() as outside, super().running(), calls.no_recording():
            yield
        if not LOOPS.is_loaded and fits.current() is None:  # in a fit it is decided before its first step
            loading.spend(outside.seconds)

    @contextlib.contextmanager
    def fitting(self, work: Work) -> Iterator[None]:
        loading.load_for(work)
        with super().fitting(work), fits.fit_scope(work):
            yield

    def beside_others(self) -> contextlib.AbstractContextManager[None] | None:
        # One thread for BLAS also before the first step and after the last, so that the bits do not depend on whether
        # another fit has asked for that.
        return single_thread() if LOOPS.is_loaded else None

    def fingerprint(self) -> dict[str, str | int]:
        found, scope = super().fingerprint(), fits.current()
        if scope is not None and LOOPS.is_loaded:
            found["blas threads"] = 1
            found["threads"] = scope.threads  # at most so many parts of a step
        return found

    def execution(self) -> dict[str, str | int]:
        found, scope = super().execution(), fits.current()
        if scope is None:
            return found
        if not LOOPS.is_loaded:
            return {**found, "implementation": f"NumPy: {LOOPS.problem or SHORT}", "threads": 1}
        one_by_one = scope.problem or ("" if scope.parts else LATE)
        how = f"called one by one: {one_by_one}" if one_by_one else "recorded steps"
        return {**found, "implementation": f"compiled, {how}", "threads": max(1, scope.parts)}

    def capture(self, step: Callable[[], None], *twins: Callable[[], None]) -> ReplayStep:
        if not LOOPS.is_loaded:
            return super().capture(step)
        scope = fits.current()
        recorder = LOOPS.programs.StepRecorder(_threads())
        captured = CapturedStep(step, recorder)

        def replay(times: int, *, unchanged: bool = False) -> None:
            if scope is not None and not captured.problem:
                scope.hold_blas()
            captured.replay(times)
            if captured.problem and LOOPS.is_loaded:
                LOOPS.are_called_one_by_one(captured.problem)
            if scope is not None:
                scope.note(captured.problem, recorder.parts)

        return replay

    def keep(self, step: MapsRows, *, operations: float) -> MapsRows:
        return KeptStep(step, operations, _threads)

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: Any) -> Array:
        recording = calls.recording()
        if recording is None:
            return super()._scratch(shape, dtype, use=use)
        return recording.scratch(shape, dtype, use, self.empty)


def _threads() -> int:
    """How many of this process may replay a step together."""
    scope = fits.current()
    return usable_cores() if scope is None else scope.threads


SHORT: Final = "the fit is shorter than loading compiled loops"
LATE: Final = "compiled loops were loaded after it began"

# Operations that are made of others, and so of launches.
COMPOSED: Final = frozenset({"matmul_activation_backward"})

for _name in KERNELS - COMPOSED - vars(CompiledBackend).keys():
    setattr(CompiledBackend, _name, refused_in_recording(_name))


def cpu_backend() -> NumPyBackend:
    """The best implementation for this host: compiled if numba is installed and not switched off."""
    if not is_available():
        backend = NumPyBackend()
        backend.reason = "CHAINRULE_COMPILED=0" if loading.wanted() == "0" else "numba is not installed"
        return backend
    if loading.wanted() == "1":
        loading.load()
    return CompiledBackend()


def loaded() -> Any:
    """The compiled backend with its loops loaded now; ImportError if they cannot be. For tests and benchmarks."""
    loading.load()
    if not LOOPS.is_loaded:
        raise ImportError(LOOPS.problem)
    return CompiledBackend()
