"""The straight line of a net for tables begins as the ridge regression of the rows that a member is trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.nn.inputs.rows import FeatureStorage
from chainrule.nn.losses.names import SquaredError
from chainrule.nn.network import Network
from chainrule.train.ridge import Moments, ridge

MOST_COLUMNS = 512  # for more the eigenvalues would take longer than the training
PART = 16_384  # rows at a time


def begins_with_ridge(net: Network) -> bool:
    """Whether the squared error has a line in closed form that is soon found."""
    return isinstance(net.loss, SquaredError) and net.n_in - len(net.codes()) <= MOST_COLUMNS


def start_from_ridge(
    net: Network,
    X: Array,
    y: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
    copies: np.ndarray | None = None,
) -> None:
    """Give the rows of the last W that belong to the numbers of x, and b, those of :func:`ridge`.

    A row of weight 2 counts as a row that occurs twice, which says as little of new rows as it does once: the weights
    of a member's rows have as sum the number of different ones.

    Parameters
    ----------
    net : with the columns of x first in what its last layer reads
    X, y, weights : the training rows as for ``Trainer.fit``
    left_out : (k, n), the rows that each member is not trained on; None for none
    copies : (n,) the same number for copies of a row; None if all differ
    """
    targets = y.reshape(len(y), -1)
    scaled = net.preparation.targets
    targets = targets if scaled is None else scaled.of_targets(targets)
    patterns = np.zeros((net.members, len(y)), bool) if left_out is None else left_out
    groups, of_member = np.unique(patterns, axis=0, return_inverse=True)
    sums = _sums(net, X, targets, weights, groups)
    lines = [
        ridge(of_group.of_weight(_different(~group, weights, copies)))
        for of_group, group in zip(sums, groups, strict=True)
    ]
    for j, group in enumerate(of_member.reshape(-1)):
        _assign(net.member(j), *lines[group])


def _different(seen: np.ndarray, weights: np.ndarray | None, copies: np.ndarray | None) -> int:
    """Different rows among those that are seen and weigh anything."""
    if weights is not None:
        seen = seen & (weights > 0)
    return int(seen.sum()) if copies is None else len(np.unique(copies[seen]))


def _assign(member: Network, W: np.ndarray, b: np.ndarray) -> None:
    name = member.nodes[-1].name
    arrays = member.parameter_arena.download()
    whole = arrays[f"{name}.W"]
    whole[: len(W)] = W
    member.assign_parameters({f"{name}.W": whole, f"{name}.b": b.astype(whole.dtype)})


def _sums(
    net: Network, X: Array, targets: np.ndarray, weights: np.ndarray | None, left_out: np.ndarray
) -> list[Moments]:
    """For each pattern of rows that are left out, the sums over the others."""
    total: Moments | None = None
    without: list[Moments | None] = [None] * len(left_out)
    for part, z in _prepared(net, X):
        rows = targets[part], None if weights is None else weights[part]
        total = _plus(total, Moments.of(z, *rows))
        for g, pattern in enumerate(left_out):
            if (chosen := pattern[part]).any():
                own = (None if v is None else v[chosen] for v in rows)
                without[g] = _plus(without[g], Moments.of(z[chosen], *own))  # type: ignore[arg-type]
    assert total is not None
    return [total if own is None else total.plus(own, -1) for own in without]


def _plus(one: Moments | None, other: Moments) -> Moments:
    return other if one is None else one.plus(other)


def _prepared(net: Network, X: Array) -> Iterator[tuple[slice, np.ndarray]]:
    """The columns of numbers as the net reads them, some rows at a time, on the host in float64."""
    be, codes = net.backend, tuple(net.codes())
    numbers = [j for j in range(net.n_in) if j not in codes]
    for start in range(0, len(X), PART):
        part = slice(start, min(start + PART, len(X)))
        raw = be.upload(X[part])
        storage = FeatureStorage(be, raw.dtype, np.dtype(np.float64), net.preparation.features)
        z = be.empty(raw.shape, np.float64)
        with be.running():
            if storage.pending is not None:
                mean, scale, limit = storage.pending
                be.standardize(raw, mean, scale, limit=limit, out=z)
            else:
                storage.convert(raw, out=z)
        yield part, be.download(z)[:, numbers]
