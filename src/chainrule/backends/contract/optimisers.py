"""The contract of optimisers, and of what is done to gradients before and to weights after an update.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array


class OptimiserContract(abc.ABC):
    """Flat arrays of one length, slices of the arenas; ``lr_factor`` and ``weight_decay`` are a parameter group's.

    Nothing is updated once state[HALTED] is set: the weights stay as the failing step found them. With ``touched`` (r,)
    float32 the arrays are r vectors of one length, the table of an embedding. Only the vectors are updated whose number
    in ``touched`` is not 0, they and their moments, as without it; the others stay as they are.

    ``factors`` are the params as products read them, rounded to what ``storage`` names. The update keeps them so in the
    same pass over memory: they must be those of ``params`` before it, and are afterwards.
    """

    @abc.abstractmethod
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
        touched: Array | None = None,
        factors: Array | None = None,
    ) -> None:
        """Gradient descent with momentum.

        g = grads + weight_decay * params;   v = momentum * v + g;
        params -= lr * (g + momentum * v  if nesterov  else  v)

        ``velocity`` is None when momentum is 0. Source: Sutskever et al. 2013, in the form of torch.optim.SGD.
        """

    @abc.abstractmethod
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
        touched: Array | None = None,
        factors: Array | None = None,
    ) -> None:
        """Adam, and AdamW if the decay is decoupled.   t = state[STEP] + 1.

        coupled: g = grads + weight_decay * params;     decoupled: g = grads, params -= lr * weight_decay * params
        m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
        params -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

        With ``eps_hat`` eps stands beside sqrt(v), not beside the corrected root: eps / sqrt(1 - beta2^t) for eps.
        Source: Kingma, Ba 2015, algorithm 1, and section 2 for eps_hat; Loshchilov, Hutter 2019, algorithm 2.
        """

    @abc.abstractmethod
    def clip_by_global_norm(self, grads: Array, *, max_norm: float) -> None:
        """grads *= min(max_norm, norm) / norm,   norm = sqrt(sum g^2); unchanged if norm is 0.

        No branch on the norm, so the host does not synchronise. Source: Pascanu, Mikolov, Bengio 2013, algorithm 1.
        """

    @abc.abstractmethod
    def penalize(self, params: Array, grads: Array, totals: Array, state: Array, *, alpha: float, mean: bool) -> None:
        """The penalty (alpha / 2) sum(params^2) on a batch as a whole, beside its loss: per row, if that is a mean.

        totals[state[BATCH], LOSS] += (alpha / 2) sum(params^2);   grads += alpha params / W,
        W = totals[state[BATCH], WEIGHT] if mean else 1, and 1 if that is 0

        So a batch of n rows without weights has the loss mean_i l_i + alpha / (2 n) sum params^2. The squares are added
        up in float64. After the backward pass and before ``tick``. Source: sklearn.neural_network, its ``alpha``.
        """

    @abc.abstractmethod
    def accumulate(self, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array) -> None:
        """``out`` = the gradient of all batches of a group so far, from ``grads``, that of the newest one alone.

        j = state[BATCH] % group, the batch's number in its group;   W_i = totals[state[BATCH] - j + i, WEIGHT]
        j = 0: out = grads, whatever ``out`` held;   else
        mean: out += (grads - out) W_j / (W_0 + ... + W_j);     sum: out += grads

        The mean by weight of the batches' means is the mean over their rows. Weights that add up to 0 are divided by 1.
        After the loss and before ``tick``, as ``totals`` must hold this batch and ``state`` must still point at it.
        """

    @abc.abstractmethod
    def average(self, params: Array, state: Array, *, decay: float, out: Array) -> None:
        """out += (1 - d) (params - out),   d = min(decay, (1 + t) / (10 + t)),   t = state[STEP] + 1.

        An exponential moving average of the parameters, after update t and before ``tick``. ``out`` begins as the
        parameters; while t is small so is d, and they are soon forgotten. Nothing happens once state[HALTED] is set.
        Source: Polyak, Juditsky 1992; the rising decay is that of tf.train.ExponentialMovingAverage.
        """
