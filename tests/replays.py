"""Whether a compiled kernel has NumPy's bits when it is called, recorded, replayed again, and divided among threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend

Arguments = dict[str, Any]  # of a kernel, by name


class Draw:
    """Normal numbers of each member, which lie apart as in an arena, or of one net; the same ones each time."""

    def __init__(self, members: tuple[int, ...], dtype: str) -> None:
        self.members, self.dtype, self._rng = members, dtype, np.random.default_rng(3)

    def __call__(self, *shape: int) -> np.ndarray:
        values = self.shared(*self.members, *shape)
        return apart(values) if self.members else values

    def shared(self, *shape: int) -> np.ndarray:
        """The same for all members."""
        return self._rng.normal(size=shape).astype(self.dtype)

    def integers(self, below: int, *shape: int) -> np.ndarray:
        return self._rng.integers(below, size=shape)


def apart(values: np.ndarray) -> np.ndarray:
    """A copy with a gap between the entries of its first axis."""
    wide = np.zeros((len(values), values[0].size + 11), values.dtype)
    found = wide[:, 3 : 3 + values[0].size].reshape(values.shape)
    found[...] = values
    return found


def check_kernel(
    name: str,
    make: Callable[..., Arguments],
    members: tuple[int, ...],
    dtype: str,
    *options: Any,
    in_numpy: Callable[..., None] | None = None,
) -> None:
    """All arrays among the arguments ``make(Draw(members, dtype), *options)``, when ``name`` has done its work.

    ``in_numpy`` does it for comparison, NumPyBackend if it is not given.
    """
    want, found, again = (make(Draw(members, dtype), *options) for _ in range(3))
    with np.errstate(all="ignore"):
        (in_numpy or getattr(NumPyBackend, name))(NumPyBackend(), **want)
        be = compiled.loaded()
        getattr(be, name)(**found)
    assert_same(found, want, f"{name} {options} called")

    before = [(array, array.copy()) for array in arrays_of(again).values()]
    recorder = LOOPS.programs.StepRecorder()
    launches = recorder.record(lambda: getattr(be, name)(**again))
    for array, old in before:
        np.testing.assert_array_equal(array, old, f"{name} computes while it is recorded")
    program = recorder.program(launches)
    for how in ("replayed", "replayed again"):
        program(1)
        assert_same(again, want, f"{name} {options} {how}")
        for array, old in before:
            array[...] = old
    for launch in launches:
        run_in_parts(launch)
    assert_same(again, want, f"{name} {options} in parts")


def run_in_parts(launch: Any) -> None:
    """The rows that may be divided, the last part first; what is not said to be written stays as it is.

    Products excepted: how many rows are multiplied at a time may change their last bits.
    """
    arrays = [a for a in launch.arguments if isinstance(a, np.ndarray)]
    written = [launch.arguments[place] for place in launch.form.writes]
    read = [(a, a.copy()) for a in arrays if not any(np.may_share_memory(a, w) for w in written)]
    parts = [launch]
    if launch.rows > 1 and not isinstance(launch, LOOPS.products.ProductLaunch):
        cuts = sorted({0, 1, launch.rows // 2, launch.rows - 1, launch.rows})
        parts = [launch.part(start, stop) for start, stop in itertools.pairwise(cuts)]
    LOOPS.programs.Program(parts[::-1])(1)
    for array, old in read:
        np.testing.assert_array_equal(array, old, f"{launch.function} writes what it does not say")


def arrays_of(arguments: Arguments) -> dict[str, np.ndarray]:
    """By name; those of a batch that a loss is given, too."""
    named = {name: value for key, value in arguments.items() for name, value in _fields(key, value)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def _fields(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    return value._asdict().items() if isinstance(value, LossBatch) else [(name, value)]


def assert_same(found: Arguments, want: Arguments, what: str) -> None:
    """The same numbers, so the same bits but for those of a nan and the sign of a zero."""
    arrays = arrays_of(found)
    for name, value in arrays_of(want).items():
        np.testing.assert_array_equal(arrays[name], value, f"{what}: {name}", strict=True)
