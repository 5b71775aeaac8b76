"""A fit by L-BFGS: SciPy moves the parameters, a step computes the loss and the gradient over all rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DivergenceError, OptionError
from chainrule.host_memory import out_of_memory_hint
from chainrule.optim.base import Segment, segments
from chainrule.optim.lbfgs import LBFGS, find_minimize
from chainrule.train.fit import Fit
from chainrule.train.records.progress import Progress
from chainrule.train.steps import state_at


def refuse_options(
    optimizer: LBFGS, *, stream: bool | None, accumulate: int, ema: float | None, checkpoints: Any = None
) -> None:
    """OptionError for options of a Trainer that contradict an L-BFGS, and where SciPy is not installed."""
    for name, value, usual in (("stream", stream or None, None), ("accumulate", accumulate, 1), ("ema", ema, None)):
        if value != usual:
            raise OptionError(
                f"{name}={value} came with LBFGS, which takes all rows at once and steps by line search",
                hint=f"leave {name} out, or take another optimizer",
            )
    if checkpoints is not None:
        raise OptionError(
            "checkpoints came with LBFGS, whose memory is SciPy's",
            hint="leave them out: it is for small data, and begun anew it takes the same way",
        )
    find_minimize()


class FullBatchFit(Fit):
    """A :class:`Fit` whose epochs are the iterations of an L-BFGS.

    The step is that of all fits, on one batch of all rows; the gradient that it leaves goes to the host. An entry of
    the history is of one set of weights: loss, metrics and validation all after the iteration. Its ``lr`` is 1.
    """

    def _batch_hint(self) -> str:
        return "LBFGS passes all rows through the net at once: give it fewer, or train in batches with cr.Adam()"

    def _train(self, progress: Progress) -> None:
        optimizer, run = self.trainer.optimizer, self.run
        assert isinstance(optimizer, LBFGS)
        objective = _Objective(self, _free_segments(self, optimizer))

        def after_iteration(point: np.ndarray) -> None:
            objective(point)  # mostly where the line search has just been, and then nothing is computed
            objective.reached = point.copy()
            epoch = run.history.epochs
            record = self._end_epoch(epoch)
            progress.update(epoch + 1, record.metrics)
            if self.trainer._stop_requested:
                run.stopped = "interrupted"
            else:
                run.stopped = self._end() or "completed"
            if run.stopped != "completed":
                raise StopIteration

        try:
            with out_of_memory_hint(self._batch_hint, backend=self.backend):
                ended = optimizer.minimize(
                    objective,
                    objective.reached,
                    precision=np.finfo(self.net.dtype).eps,
                    after_iteration=after_iteration,
                )
            run.converged = ended and run.stopped == "completed"
        finally:
            objective.move_to(objective.reached)  # not to where a line search was last


def _free_segments(fit: Fit, optimizer: LBFGS) -> list[Segment]:
    """The parts of the arena that move."""
    cuts = segments(fit.net.parameter_arena.layout, optimizer.groups, optimizer.weight_decay)
    for cut in cuts:
        if cut.lr_factor not in {0, 1}:
            raise OptionError(
                f"a lr_factor of {cut.lr_factor} came with LBFGS, which has no learning rate",
                hint="1, or 0 for parameters that stay where they are",
            )
    return [cut for cut in cuts if cut.lr_factor]


class _Objective:
    """f = loss + sum of weight_decay / 2 sum W^2 over segments, and df/dW, of all parameters as one float64 vector."""

    def __init__(self, fit: Fit, cuts: list[Segment]) -> None:
        self._fit, self._cuts = fit, cuts
        self.reached = self._vector(fit.backend.download(fit.net.parameter_arena.flat))
        sizes = [cut.part.stop - cut.part.start for cut in cuts]
        self._parts = [slice(stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes), strict=True)]
        self._last: tuple[np.ndarray, float, np.ndarray] | None = None

    def _vector(self, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([flat[cut.part] for cut in self._cuts]).astype(np.float64)

    def move_to(self, point: np.ndarray) -> None:
        """The net has these parameters."""
        fit = self._fit
        for cut, part in zip(self._cuts, self._parts, strict=True):
            fit.backend.assign(point[part].astype(fit.net.dtype), out=fit.net.parameter_arena.flat[cut.part])

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
        for cut, part in zip(self._cuts, self._parts, strict=True):
            value += cut.weight_decay / 2 * float(point[part] @ point[part])
            gradient[part] += cut.weight_decay * point[part]
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
