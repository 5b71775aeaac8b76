"""Custom losses: a value per row and its gradient, checked against each other before they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from chainrule.backends.contract.backend import Backend
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import ChainruleError, GradientError, OptionError
from chainrule.nn.losses.base import Loss, Task
from chainrule.nn.losses.class_losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from chainrule.nn.losses.target_losses import SquaredError
from chainrule.nn.user_functions import STEP, Function, central_difference, check_given, disagreement, failure, mismatch
from chainrule.options import one_of

ROWS, OUTPUTS = 9, 50  # of the check, at most
# The loss whose check of the targets holds for each task.
_USUAL: dict[Task, type[Loss]] = {
    "classify": SoftmaxCrossEntropy,
    "multilabel": SigmoidCrossEntropy,
    "regress": SquaredError,
}


@dataclass(frozen=True, repr=False)
class CustomLoss(Loss):
    """l_i = value_of_rows(z, t)_i, with a gradient by the logits that you supply; a weighted mean or sum over rows.

    >>> def value(xp, z, t):
    ...     return xp.log(xp.cosh(z - t)).sum(axis=-1)
    >>> def gradient(xp, z, t):
    ...     return xp.tanh(z - t)
    >>> log_cosh = CustomLoss("log_cosh", value, gradient)

    Parameters
    ----------
    name : its name in a model file; :func:`chainrule.load` takes the loss itself in ``custom=[...]``
    value_of_rows, gradient_of_rows : functions of (xp, z, t): the array module of the backend (NumPy or CuPy), logits
        (n, k) and targets: labels (n,) for "classify", else numbers (n, k). They return (n,), and dl_i / dz_ij (n, k),
        and read no value on the host; each row is independent of the others.
    task : "regress", "classify" (predictions are those of a softmax) or "multilabel" (of sigmoids)

    On a GPU its steps are launched kernel by kernel rather than replayed as a graph, which makes small nets slower.

    Raises
    ------
    GradientError   when a net is made with it, if the gradient is not that of the value: names the entry.
    OptionError     if a function fails or returns another shape.
    """

    name: str  # type: ignore[misc]  # of this one, not of the class
    value_of_rows: Function
    gradient_of_rows: Function
    task: Task = field(default="regress", kw_only=True)  # type: ignore[misc]
    support: ClassVar = "real"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"value_of_rows": self.value_of_rows, "gradient_of_rows": self.gradient_of_rows}
        check_given(self.name, given, "(xp, z, t)")
        one_of("task", self.task, _USUAL)

    def __repr__(self) -> str:
        return f"CustomLoss({self.name!r})"

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Accuracy for classes; a regression has the loss alone."""
        return "" if self.task == "regress" else "accuracy"

    @property
    def mean_kind(self) -> MemberMeanName:  # type: ignore[override]
        """That of the loss whose predictions it has."""
        return _USUAL[self.task].mean_kind

    @property
    def formula(self) -> str:
        return f"{self.reduction}_i( {self.name}(z_i, t_i) )"

    @property
    def gradient(self) -> str:
        return f"d{self.name}/dz" + (" / n" if self.mean else "")

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.custom_loss(batch, self.value_of_rows, self.gradient_of_rows, scale=self.scale, mean=self.mean)

    def check_targets(self, y: np.ndarray) -> np.ndarray:
        return _USUAL[self.task]().bind(self.n_out).check_targets(y)

    def prove(self, backend: Backend) -> None:
        """GradientError if the gradient is not that of the value, by central differences in float64."""
        rng = np.random.default_rng(0)
        k = self.n_out
        z = rng.normal(size=(ROWS, k))
        of_task = {"classify": lambda: rng.integers(0, k, ROWS), "multilabel": lambda: rng.integers(0, 2, z.shape)}
        t = of_task.get(self.task, lambda: rng.normal(size=z.shape))()
        targets = backend.upload(t, np.int32 if self.task == "classify" else np.float64)

        def of(what: str, function: Function, at: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
            found = backend.empty(shape, np.float64)
            with backend.running():
                try:
                    backend.apply(function, backend.upload(at), targets, out=found)
                except ChainruleError as error:
                    raise OptionError(f"{what} of {self.name}: {error}") from error
                except MemoryError:
                    raise
                except Exception as error:
                    raise failure(f"{what} of {self.name}", error, "(xp, z, t)") from error
            return backend.download(found)

        analytic = of("gradient_of_rows", self.gradient_of_rows, z, z.shape)
        columns = np.sort(rng.permutation(k)[:OUTPUTS])
        numeric = np.empty((ROWS, len(columns)))
        for place, j in enumerate(columns):
            step = np.zeros_like(z)
            step[:, j] = STEP
            ahead, behind = (of("value_of_rows", self.value_of_rows, z + s, (ROWS,)) for s in (step, -step))
            numeric[:, place] = central_difference(ahead, behind)
        wrong = disagreement(analytic[:, columns], numeric)
        if wrong.any():
            row, place = (int(i) for i in np.argwhere(wrong)[0])
            j = int(columns[place])
            raise GradientError(
                f"gradient of {self.name} by output {j} at z = {z[row]} with target {t[row]}: "
                f"{mismatch(analytic[row, j], numeric[row, place])}",
                hint="the gradient is that of one row, not divided by the number of rows",
            )
