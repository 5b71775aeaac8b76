"""L-BFGS for small data, by SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.optim.base import Optimizer
from chainrule.optim.parameter_groups import Segment
from chainrule.options import real_number, whole_number

AT_LIMIT = 1  # SciPy's status for a limit of iterations or evaluations


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Minimises f(W) = loss over all rows + (weight_decay / 2) sum(W^2) by limited-memory BFGS.

    W -= a H g,   g = df/dW,   H an inverse Hessian from the last ``memory`` pairs of (change of W, change of g), a from
    a line search for the strong Wolfe conditions. No learning rate, no batches: suited to some thousand rows, for which
    it reaches a minimum that the others only approach. An iteration passes all rows through the net once, rarely more
    often. SciPy (the extra ``scipy``) works on the host in float64, the net in its own dtype.

    Parameters
    ----------
    max_iterations : at most; each is an epoch of the history
    tolerance : it ends when no |df/dW| is larger, or when f no longer falls by more than its roundoff
    memory : pairs that are kept
    max_evaluations : of f and its gradient, each a pass of all rows; it ends after the iteration that exceeds it. None
        for 100 per iteration
    weight_decay : from 0 up, of ``*.W`` alone (see ParameterGroup)
    groups : ParameterGroups; a lr_factor of 0 freezes parameters, any other than 1 is refused

    OptionError if SciPy is not installed.
    Source: Liu, Nocedal 1989; L-BFGS-B 3.0 by Zhu, Byrd, Lu, Nocedal, through scipy.optimize.minimize.
    """

    lr: ClassVar[float] = 1.0  # type: ignore[misc]  # not an option here: no field, so no argument
    max_iterations: int = 200
    _: KW_ONLY
    tolerance: float = 1e-5
    memory: int = 10
    max_evaluations: int | None = None
    clip_norm: ClassVar[None] = None  # type: ignore[misc]  # the same
    lazy_embedding: ClassVar[bool] = False  # type: ignore[misc]  # the same

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("max_iterations", self.max_iterations)
        whole_number("memory", self.memory)
        if self.max_evaluations is not None:
            whole_number("max_evaluations", self.max_evaluations)
        real_number("tolerance", self.tolerance)

    def moment_names(self) -> tuple[str, ...]:
        return ()

    def update(
        self,
        backend: Backend,
        params: Array,
        grads: Array,
        moments: Sequence[Array],
        lr: Array,
        state: Array,
        segment: Segment,
        touched: Array | None = None,
        factors: Array | None = None,
    ) -> None:
        """Does nothing: a step ends with the gradient, and :meth:`minimize` moves the parameters between steps."""

    def minimize(
        self,
        function: Callable[[np.ndarray], tuple[float, np.ndarray]],
        start: np.ndarray,
        *,
        precision: float,
        after_iteration: Callable[[np.ndarray], None],
    ) -> bool:
        """Find a minimum of ``function``, which returns f and its gradient, from ``start`` (p,) float64.

        True if it converged, False at ``max_iterations`` or ``max_evaluations``.

        ``precision`` is the relative roundoff of f. ``after_iteration`` gets the point that each iteration has reached;
        it may raise StopIteration.
        """
        evaluations = 100 * self.max_iterations if self.max_evaluations is None else self.max_evaluations
        found = find_minimize()(
            function,
            start,
            method="L-BFGS-B",
            jac=True,
            callback=_one_argument(after_iteration),
            options={
                "maxiter": self.max_iterations,
                "maxfun": evaluations,
                "maxcor": self.memory,
                "gtol": self.tolerance,
                "ftol": 10 * precision,
            },
        )
        return bool(found.status != AT_LIMIT)  # `after_iteration` got the last point


def _one_argument(function: Callable[[np.ndarray], None]) -> Callable[[np.ndarray], None]:
    """SciPy decides by the parameter's name what to pass: ``xk`` gets the point."""

    def callback(xk: np.ndarray) -> None:
        function(xk)

    return callback


def find_minimize() -> Any:
    """``scipy.optimize.minimize``; OptionError if SciPy is not installed."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise OptionError(
            "LBFGS needs SciPy, which is not installed", hint="pip install 'chainrule[scipy]', or use another optimizer"
        ) from error
    return minimize
