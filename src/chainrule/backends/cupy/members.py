"""The model axis of operations whose kernels are written for one net: they are launched once for each member.

The members of an ensemble are a fixed number, so the launches of a step are too, and all of them can be recorded. What
has a kernel for all members at once does without this file.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.members import RANKS, losses_over_members
from chainrule.backends.cupy.capture.launcher import Launcher

P = ParamSpec("P")


def per_member(operation: Callable[Concatenate[Launcher, P], None]) -> Callable[Concatenate[Launcher, P], None]:
    """``operation``, which launches kernels for one net; for each member if an array has the model axis.

    Which arrays have it says :data:`~chainrule.backends.contract.members.RANKS`. An array without it is shared.
    """
    ranks = RANKS[operation.__name__]
    names = list(inspect.signature(operation).parameters)[1:]
    call: Callable[..., None] = operation

    @functools.wraps(operation)
    def method(self: Launcher, /, *args: P.args, **options: P.kwargs) -> None:
        given = {**dict(zip(names, args, strict=False)), **options}
        members = count(given, ranks)
        if members is None:
            operation(self, *args, **options)
            return
        for j in range(members):
            call(self, **{name: entry(value, ranks.get(name), j) for name, value in given.items()})

    return method


def members_behind_another(
    *names: str, shared: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[Launcher, P], None]], Callable[Concatenate[Launcher, P], None]]:
    """An operation that takes all members at once if these arrays lie one member behind the other; else one by one.

    Those that are ``shared`` may also be the same for all members.
    """

    def decorated(operation: Callable[Concatenate[Launcher, P], None]) -> Callable[Concatenate[Launcher, P], None]:
        ranks = RANKS[operation.__name__]
        parameters = list(inspect.signature(operation).parameters)[1:]
        one_by_one = per_member(operation)

        @functools.wraps(operation)
        def method(self: Launcher, /, *args: P.args, **options: P.kwargs) -> None:
            given = {**dict(zip(parameters, args, strict=False)), **options}
            arrays: list[Any] = [given[name] for name in names]
            several = count(given, ranks) is not None
            lie_so = all(
                array is None or (array.flags.c_contiguous and (name in shared or has_members(array, ranks[name])))
                for name, array in zip(names, arrays, strict=True)
            )
            (one_by_one if several and not lie_so else operation)(self, *args, **options)

        return method

    return decorated


def losses_together(loss: Callable[..., None]) -> Callable[..., None]:
    """``loss``, which is one launch for all members if their logits and gradients lie one behind the other."""
    one_by_one = losses_over_members(loss)

    @functools.wraps(loss)
    def method(self: Launcher, batch: LossBatch, *args: Any, **options: Any) -> None:
        (loss if lie_together(batch) else one_by_one)(self, batch, *args, **options)

    return method


def lie_together(batch: LossBatch) -> bool:
    """Whether it is a batch of one net, or of several whose arrays are one behind the other."""
    weights = batch.weights
    return batch.logits.ndim == 2 or (
        all(array.flags.c_contiguous for array in (batch.logits, batch.dlogits))
        and (weights is None or weights.flags.c_contiguous)
    )


def count(given: Mapping[str, Any], ranks: Mapping[str, int]) -> int | None:
    """How many members the arrays have; None if none of them has the model axis."""
    return next((len(given[name]) for name, rank in ranks.items() if has_members(given.get(name), rank)), None)


def has_members(value: Any, rank: int | None) -> bool:
    """Whether it is an array with one axis more than it has for one net."""
    return rank is not None and value is not None and value.ndim == rank + 1


def entry(value: Any, rank: int | None, j: int) -> Any:
    """The array of member ``j``; the value itself if it is shared, or no array of a member."""
    return value[j] if has_members(value, rank) else value


def stride(array: Array, rank: int) -> int:
    """Elements from an array of a member to that of the next; 0 if it is shared."""
    return int(array.strides[0] // array.itemsize) if has_members(array, rank) else 0


def ends(array: Array, rank: int) -> tuple[Array, ...]:
    """The arrays of the first two members: they show how all are aligned. The array itself if it is shared."""
    return tuple(array[:2]) if has_members(array, rank) else (array,)


def blocks_of(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays, or if one of them has gaps between members, those of each member."""
    if all(array.flags.c_contiguous for array in arrays) or arrays[0].ndim < 2:
        yield arrays
    else:
        yield from zip(*arrays, strict=True)


def blocks_of_rows(rows: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of rows, in the same memory: those of all members as (k n, ...), or if they lie apart those of each.

    ``rows`` are (n, columns), or with the model axis (k, n, columns); the others have as many rows.
    """
    arrays = (rows, *others)
    if rows.ndim < 3:
        yield arrays
    elif all(array.flags.c_contiguous for array in arrays):
        yield tuple(array.reshape(-1, *array.shape[2:]) for array in arrays)
    else:
        yield from zip(*arrays, strict=True)
