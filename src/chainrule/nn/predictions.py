"""From rows to what a net says of them, on the device: classes, numbers in the target's units, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError
from chainrule.host_memory import out_of_memory_hint, require_free_memory
from chainrule.nn.inputs.rows import InputReader, upload_features
from chainrule.nn.losses.names import GaussianNLL, refuse_standardized

if TYPE_CHECKING:
    from chainrule.nn.network import Network


FEWER = "predict fewer rows at a time"


class Normal(NamedTuple):
    """A normal distribution for each row: arrays of one shape, in units of the target, and those squared."""

    mean: Array
    variance: Array


def answers(net: Network, X: Any) -> Array:
    """What :meth:`Network.predict` says."""
    be, loss = net.backend, net.loss
    if loss.task == "classify":
        return _of_logits(net, X, lambda z, out: be.argmax(z, out=out), (), np.dtype(np.int32))
    if loss.task == "regress":
        return loss.point(_numbers(net, X))
    return loss.point(_of_logits(net, X, lambda z, out: be.positive(z, out=out), (net.n_out,), np.dtype(np.int32)))


def named(net: Network, answered: np.ndarray) -> np.ndarray:
    """What a net predicts with the names of its classes in the place of their numbers, where they have names.

    A regression answers with no class, and of several yes-or-no answers a row none is the number of one.
    """
    names = net.preparation.classes
    is_class = net.loss.task == "classify" or (net.loss.task != "regress" and net.n_out == 1)
    return np.array(names, object)[answered] if is_class and names else answered


def distribution(net: Network, X: Any) -> Normal:
    """What :meth:`Network.predict_distribution` says."""
    if not isinstance(net.loss, GaussianNLL):
        raise OptionError(f"a net trained on {net.loss_name} has no variance", hint='loss="gaussian_nll"')
    numbers = _numbers(net, X)
    return Normal(net.loss.point(numbers), net.loss.variance(numbers))


def probabilities(net: Network, X: Any) -> Array:
    """What :meth:`Network.predict_proba` says."""
    be = net.backend
    if net.loss.task == "regress":
        raise OptionError(f"a net trained on {net.loss_name} has no probabilities", hint="use predict")

    def answer(logits: Array, out: Array) -> None:
        if net.loss.task == "classify":
            be.softmax(logits, out=out)
        else:
            be.activate("sigmoid", logits, out=out)

    return net.loss.point(_of_logits(net, X, answer, (net.n_out,), net.dtype))


def _numbers(net: Network, X: Any) -> Array:
    """(n, n_out): what a regression predicts, in the target's own units.

    Targets that were standardised come back in float64, which has the digits for small differences of large numbers.
    """
    be, loss, targets = net.backend, net.loss, net.preparation.targets
    if targets is None:

        def answer(logits: Array, out: Array) -> None:
            loss.to_predictions(be, logits)
            be.copy(logits, out=out)

        return _of_logits(net, X, answer, (net.n_out,), net.dtype)

    refuse_standardized(loss)
    scale, shift = (be.upload(part) for part in loss.units(targets))

    def answer_in_units(logits: Array, out: Array) -> None:
        be.copy(logits, out=out)
        loss.to_predictions(be, out)
        be.scale_and_shift(out, scale, shift, out=out)

    return _of_logits(net, X, answer_in_units, (net.n_out,), np.result_type(net.dtype, np.float64))


@out_of_memory_hint(FEWER, doing="predicting")
def _of_logits(
    net: Network, X: Any, answer: Callable[[Array, Array], None], shape: tuple[int, ...], dtype: np.dtype
) -> Array:
    """(n, *shape): what ``answer(logits, out)`` makes of the logits of each part of the rows."""
    be = net.backend
    with be.running():
        features = upload_features(be, X, net.n_in, net.dtype, net.preparation.features, net.codes())
        n = len(features.x)
        if be.free_memory() is None:  # a device refuses by itself
            require_free_memory(n * math.prod(shape) * dtype.itemsize, doing="predicting", hint=FEWER)
        out = be.empty((n, *shape), dtype)
        batch = net.bind(net.evaluation_rows(n), training=False)
        read = InputReader(be, features, batch.n, net.dtype)
        for part, part_batch in batch.parts(n):
            answer(part_batch.forward(read(features.x[part])), out[part])
    return out
