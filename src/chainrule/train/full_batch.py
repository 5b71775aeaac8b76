"""A fit by L-BFGS: SciPy moves the parameters, a step computes the loss and the gradient over all rows."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DivergenceError, OptionError
from chainrule.host_memory import out_of_memory_hint
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.parameter_groups import Segment, segments
from chainrule.train.epoch_memory import state_at
from chainrule.train.fit import Fit
from chainrule.train.records.progress import Progress


class FullBatchFit(Fit):
    """A :class:`Fit` whose epochs are the iterations of an L-BFGS.

    The step is that of all fits, on one batch of all rows; the gradient that it leaves goes to the host. An entry of
    the history is of one set of weights: loss, metrics and validation all after the iteration. Its ``lr`` is 1.
    """

    def _train(self, progress: Progress) -> None:
        optimizer, run = self.settings.optimizer, self.run
        assert isinstance(optimizer, LBFGS)
        objective = _Objective(self, _free_segments(self, optimizer))

        def after_iteration(point: np.ndarray) -> None:
            objective(point)  # usually the line search's last point, and then nothing is computed
            objective.reached = point.copy()
            epoch = run.history.epochs
            record = self._end_epoch(epoch)
            progress.update(epoch + 1, record.metrics)
            if self._is_interrupted():
                run.stopped = "interrupted"
            else:
                run.stopped = self._end() or "completed"
            if run.stopped != "completed":
                raise StopIteration

        try:
            with out_of_memory_hint(self.layout.batch_hint, backend=self.backend):
                ended = optimizer.minimize(
                    objective,
                    objective.reached,
                    precision=np.finfo(self.net.dtype).eps,
                    after_iteration=after_iteration,
                )
            run.converged = ended and run.stopped == "completed"
        finally:
            objective.move_to(objective.reached)  # not the last point of a line search


def _free_segments(fit: Fit, optimizer: LBFGS) -> list[Segment]:
    """The parts of the arena that move."""
    found = segments(fit.net.parameter_arena.layout, optimizer.groups, optimizer.weight_decay)
    for segment in found:
        if segment.lr_factor not in {0, 1}:
            raise OptionError(
                f"lr_factor: expected 0 or 1 with LBFGS, which has no learning rate, got {segment.lr_factor}",
                hint="1, or 0 for parameters that stay as they are",
            )
    return [segment for segment in found if segment.lr_factor]


class _Objective:
    """f = loss + sum over segments of (weight_decay / 2) sum(W^2), and df/dW; all parameters as one float64 vector."""

    def __init__(self, fit: Fit, found: list[Segment]) -> None:
        self._fit, self._segments = fit, found
        self.reached = self._vector(fit.backend.download(fit.net.parameter_arena.flat))
        sizes = [segment.part.stop - segment.part.start for segment in found]
        self._parts = [slice(stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes), strict=True)]
        self._last: tuple[np.ndarray, float, np.ndarray] | None = None

    def _vector(self, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([flat[segment.part] for segment in self._segments]).astype(np.float64)

    def move_to(self, point: np.ndarray) -> None:
        """Give the net these parameters."""
        fit = self._fit
        for segment, part in zip(self._segments, self._parts, strict=True):
            fit.backend.assign(point[part].astype(fit.net.dtype), out=fit.net.parameter_arena.flat[segment.part])

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        if self._last is None or not np.array_equal(self._last[0], point):
            self._last = (point.copy(), *self._evaluate(point))
        return self._last[1:]

    def _evaluate(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        fit = self._fit
        be, net = fit.backend, fit.net
        self.move_to(point)
        steps = fit.steps
        steps.batches.load(0)
        be.assign(state_at(fit.run.history.epochs), out=steps.state)
        steps.replay_full(1)
        if steps.halted() is not None:
            raise self._divergence()
        totals = be.download(steps.totals)
        value = float(net.loss.value(totals))
        gradient = self._vector(be.download(net.gradient_arena.flat))
        for segment, part in zip(self._segments, self._parts, strict=True):
            value += segment.weight_decay / 2 * float(point[part] @ point[part])
            gradient[part] += segment.weight_decay * point[part]
        return value, gradient

    def _divergence(self) -> DivergenceError:
        iteration = self._fit.run.history.epochs + 1
        _, loss, where = self._fit.steps.first_nonfinite()
        return DivergenceError(
            f"L-BFGS diverged in iteration {iteration}: the loss is {loss}; the first number that is not "
            f"finite stands in {where}",
            step=iteration - 1,
            epoch=iteration,
            where=where,
            hint="bring features and targets to a size near 1, or train with cr.Adam()",
        )
