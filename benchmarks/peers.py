"""The peers of ``compare_cpu.py``: the protocol, chainrule, those on NumPy arrays, and the bare matrix products.

Each trains the same net on the same rows, in a process of its own (``worker.py``). A step is: gather a batch through a
shuffled order, forward, mean loss, backward, Adam (1e-3, 0.9, 0.999, 1e-8), in float32. Each does it in the fastest
way found for it; its docstring says what that is and how its mathematics differ.
"""

from __future__ import annotations

import abc
import sys
import time
from typing import Any, NamedTuple

import numpy as np

LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


class Case(NamedTuple):
    """A workload: widths of the net, rows per step, which loss, steps per epoch."""

    widths: tuple[int, ...]
    batch: int
    loss: str
    steps: int

    @property
    def classifies(self) -> bool:
        return self.loss == "softmax_cross_entropy"


class Peer(abc.ABC):
    """One way to train; ``weights`` is [(W (n_in, n_out), b (n_out,)), ...], a ragged last batch is left out."""

    module: str  # whose version is reported

    def setup(self, case: Case, weights: list[tuple[np.ndarray, np.ndarray]], X: np.ndarray, y: np.ndarray) -> None:
        """Take data and weights into the peer's own memory."""
        self.case, self.weights, self.X, self.y = case, weights, X, y
        self.prepare()
        self.reset(0)

    @abc.abstractmethod
    def prepare(self) -> None:
        """What is done once for a workload."""

    @abc.abstractmethod
    def reset(self, seed: int) -> None:
        """Back to the initial weights, with moments of zero, before a run that shuffles by ``seed``."""

    @abc.abstractmethod
    def train(self, epochs: int) -> None:
        """Train that many epochs, each through a new order; back when all is computed, losses included."""

    def losses_in_order(self, count: int) -> list[float] | None:
        """The losses of the first ``count`` batches in order, from the initial weights; None if there are none."""
        self.reset(0)
        size = self.case.batch
        return [float(self.step_on(np.arange(i * size, (i + 1) * size))) for i in range(count)]

    def step_on(self, rows: np.ndarray) -> Any:
        """One step on these rows; its mean loss."""
        raise NotImplementedError

    def accuracy(self, X: np.ndarray, y: np.ndarray) -> float:
        raise NotImplementedError

    def run(self, steps: int, seed: int) -> float:
        """Seconds of ``steps`` steps (whole epochs), from the initial weights."""
        self.reset(seed)
        start = time.perf_counter()
        self.train(steps // self.case.steps)
        return time.perf_counter() - start

    def reach(self, goal: float, X: np.ndarray, y: np.ndarray, most: int, seed: int) -> dict[str, float]:
        """Train until an epoch ends with an accuracy of at least ``goal`` on (X, y)."""
        self.reset(seed)
        start, accuracy, epoch = time.perf_counter(), 0.0, 0
        while accuracy < goal and epoch < most:
            self.train(1)
            accuracy, epoch = self.accuracy(X, y), epoch + 1
        return {"seconds": time.perf_counter() - start, "epochs": epoch, "accuracy": accuracy}


class Chainrule(Peer):
    """`Trainer.fit`. Its own clock leaves out checking and laying out the data, as for the others, and one epoch."""

    module = "chainrule"

    def prepare(self) -> None:
        import chainrule as cr

        self.cr = cr
        self.net = cr.MLP(self.case.widths, loss=self.case.loss)

    def reset(self, seed: int) -> None:
        self.seed = seed
        self.net.assign_parameters(
            {f"dense{i}.{name}": a for i, pair in enumerate(self.weights) for name, a in zip("Wb", pair, strict=True)}
        )

    def _trainer(self, epochs: int, **options: Any) -> Any:
        adam = self.cr.Adam(LR, beta1=BETA1, beta2=BETA2, eps=EPS)
        return self.cr.Trainer(
            self.net,
            adam,
            batch_size=self.case.batch,
            epochs=epochs,
            seed=self.seed,
            drop_last=True,
            metrics=False,
            **options,
        )

    def losses_in_order(self, count: int) -> list[float]:
        sums = [0.0]  # an epoch reports its mean loss only: the sums of the first 1, 2, ... batches, then differences
        for batches in range(1, count + 1):
            self.reset(0)
            rows = slice(batches * self.case.batch)
            run = self._trainer(1, shuffle=False).fit(self.X[rows], self.y[rows])
            sums.append(batches * run.history["loss"][0])
        return np.diff(sums).tolist()

    def train(self, epochs: int) -> None:
        self.history = self._trainer(epochs).fit(self.X, self.y).history

    def run(self, steps: int, seed: int) -> float:
        self.reset(seed)
        self.train(steps // self.case.steps + 1)
        return self.history["seconds"][-1] - self.history["seconds"][0]

    def reach(self, goal: float, X: np.ndarray, y: np.ndarray, most: int, seed: int) -> dict[str, float]:
        self.reset(seed)
        found: dict[str, float] = {}

        def look(record: Any) -> None:
            accuracy = record.metrics["valid_accuracy"]
            found.update(seconds=time.perf_counter() - start, epochs=record.epoch, accuracy=accuracy)
            if accuracy >= goal:
                trainer.stop()

        start = time.perf_counter()
        trainer = self._trainer(most, callbacks=[look])
        trainer.fit(self.X, self.y, validation=(X, y))
        return found


class ScikitLearn(Peer):
    """`MLPClassifier` or `MLPRegressor`, one `partial_fit` per epoch, alpha 0.

    The regressor minimises half the squared error, summed over the outputs: the same steps, as Adam cancels a factor of
    the gradient, up to its epsilon. The classifier clips the probabilities in the loss that it reports. So the losses
    in order are computed from its weights. A ragged last batch cannot be left out.
    """

    module = "sklearn"

    def prepare(self) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        kind = MLPClassifier if self.case.classifies else MLPRegressor
        self.model = kind(
            hidden_layer_sizes=self.case.widths[1:-1],
            solver="adam",
            alpha=0.0,
            batch_size=self.case.batch,
            learning_rate_init=LR,
            beta_1=BETA1,
            beta_2=BETA2,
            epsilon=EPS,
            n_iter_no_change=np.inf,
        )
        self.first = {"classes": np.arange(self.case.widths[-1])} if self.case.classifies else {}
        self.targets = self.y[:, 0] if self.y.shape[1:] == (1,) else self.y
        self.model.partial_fit(self.X[: self.case.batch], self.targets[: self.case.batch], **self.first)

    def reset(self, seed: int) -> None:
        self.model.set_params(random_state=np.random.RandomState(seed), shuffle=True)
        initial = [W for W, _ in self.weights] + [b for _, b in self.weights]
        for mine, value in zip(self.model.coefs_ + self.model.intercepts_, initial, strict=True):
            mine[...] = value
        vars(self.model).pop("_optimizer", None)  # so that partial_fit makes one whose moments are zero

    def step_on(self, rows: np.ndarray) -> float:
        z, n = self.X[rows], len(rows)
        for i, (W, b) in enumerate(zip(self.model.coefs_, self.model.intercepts_, strict=True)):
            z = (np.maximum(z, 0) if i else z) @ W + b
        self.model.set_params(shuffle=False)
        self.model.partial_fit(self.X[rows], self.targets[rows])
        if self.case.classifies:
            return float((np.logaddexp.reduce(z, axis=1) - z[np.arange(n), self.y[rows]]).mean())
        return float(((z - self.y[rows]) ** 2).mean())

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.model.partial_fit(self.X, self.targets)

    def accuracy(self, X: np.ndarray, y: np.ndarray) -> float:
        return float((self.model.predict(X) == y).mean())


class Thinc(Peer):
    """`Relu` layers and `Softmax_v2` or `Linear`, thinc's Adam without averages and clipping, batches by `multibatch`.

    The products go through NumPy (`use_blis=False`), which is faster here than thinc's own single-threaded BLIS. The
    gradient by the output is written out, as thinc's losses compute something else: (p - onehot) / n, 2 (p - t) / n k.
    Its Adam adds epsilon to sqrt(v), not to sqrt(v^).
    """

    module = "thinc"

    def prepare(self) -> None:
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # thinc imports it if it is installed, without need
        from thinc import api

        self.api, self.ops = api, api.NumpyOps(use_blis=False)
        api.set_current_ops(self.ops)
        *hidden, last = [(b, a) for a, b in zip(self.case.widths, self.case.widths[1:], strict=False)]
        top = api.Softmax_v2 if self.case.classifies else api.Linear
        self.layers = [*(api.Relu(*shape) for shape in hidden), top(*last)]
        self.model = api.chain(*self.layers)
        self.model.initialize()
        outputs = self.case.widths[-1]
        self.targets = np.eye(outputs, dtype=np.float32)[self.y] if self.case.classifies else self.y

    def reset(self, seed: int) -> None:
        np.random.seed(seed)  # multibatch shuffles with it
        for layer, (W, b) in zip(self.layers, self.weights, strict=True):
            layer.set_param("W", np.array(W.T, order="C"))
            layer.set_param("b", b.copy())
        options = {"beta1": BETA1, "beta2": BETA2, "eps": EPS, "use_averages": False, "grad_clip": 0.0}
        self.adam = self.api.Adam(LR, **options)

    def step(self, x: np.ndarray, targets: np.ndarray) -> float:
        predicted, backward = self.model.begin_update(x)
        difference = predicted - targets
        if self.case.classifies:
            loss = -np.log((predicted * targets).sum(axis=1)).mean()
            difference *= 1 / len(x)
        else:
            loss = (difference * difference).mean()
            difference *= 2 / difference.size
        backward(difference)
        self.model.finish_update(self.adam)
        self.adam.step_schedules()
        return float(loss)

    def step_on(self, rows: np.ndarray) -> float:
        return self.step(self.X[rows], self.targets[rows])

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            batches = self.ops.multibatch(self.case.batch, self.X, self.targets, shuffle=True)
            for _, (x, targets) in zip(range(self.case.steps), batches, strict=False):
                self.step(x, targets)

    def accuracy(self, X: np.ndarray, y: np.ndarray) -> float:
        return float((self.model.predict(X).argmax(axis=1) == y).mean())


class Gemm(Peer):
    """No training: the matrix products of a step through `np.matmul(out=)`, forward, by the weights, by the inputs."""

    module = "numpy"

    def prepare(self) -> None:
        rng = np.random.default_rng(0)
        shapes = [(self.case.batch, width) for width in self.case.widths]
        acts = [rng.standard_normal(shape, np.float32) for shape in shapes]
        grads = [rng.standard_normal(shape, np.float32) for shape in shapes]
        Ws = [np.array(W) for W, _ in self.weights]
        dWs = [np.empty_like(W) for W in Ws]
        self.products = [(acts[i], W, np.empty_like(acts[i + 1])) for i, W in enumerate(Ws)]
        for i, W in reversed(list(enumerate(Ws))):
            self.products.append((acts[i].T, grads[i + 1], dWs[i]))
            if i:
                self.products.append((grads[i + 1], W.T, np.empty_like(acts[i])))

    def reset(self, seed: int) -> None:
        """There is nothing to reset."""

    def losses_in_order(self, count: int) -> None:
        return None

    def train(self, epochs: int) -> None:
        for _ in range(epochs * self.case.steps):
            for a, b, out in self.products:
                np.matmul(a, b, out=out)

    def reach(self, *args: Any) -> dict[str, float]:
        return {}
