"""The arrays of a call: of all members, one behind the other or apart as in an arena, and of each by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from chainrule.backends.contract.arrays import Pieces
from model_axis.case import Case, values

GAP = 4  # elements on either side of an array of a member that lies apart from the next one's


class Arrays:
    """The arrays of a call on k members, and of the calls of each by itself."""

    def __init__(self, case: Case, k: int, dtype: str, rng: np.random.Generator) -> None:
        self.written = {name: (shape, kind or dtype) for name, (shape, kind) in case.written.items()}
        self.shared = case.shared
        self.values = {
            name: values(rng, shape if name in case.shared else (k, *shape), kind, dtype)
            for name, (shape, kind) in case.read.items()
        }
        self.dtype = dtype

    def of_all(self, memory: Any, k: int, *, apart: bool) -> SimpleNamespace:
        """Those of the first k members at once."""
        arrays = self._of_step(memory)
        for name, given in self.values.items():
            if name in self.shared:
                arrays[name] = memory.array(given)
            else:
                arrays[name] = placed(memory, (k, *given.shape[1:]), given.dtype, apart)
                for j in range(k):
                    arrays[name][j][...] = memory.array(given[j])
        for name, (shape, dtype) in self.written.items():
            arrays[name] = placed(memory, (k, *shape), dtype, apart)
        return SimpleNamespace(**arrays)

    def of_member(self, memory: Any, j: int) -> SimpleNamespace:
        """Those of one net."""
        arrays = self._of_step(memory)
        for name, given in self.values.items():
            arrays[name] = memory.array(given if name in self.shared else given[j])
        for name, (shape, dtype) in self.written.items():
            arrays[name] = memory.output(shape, dtype)
        return SimpleNamespace(**arrays)

    def compare(self, memory: Any, together: Any, alone: list[Any], close: dict[str, float] | None, what: str) -> None:
        """Every array, those that are only read too; to the bit, or if it is said as close as that."""
        for name in [*self.values, *self.written, "state", "position"]:
            ours = memory.backend.download(getattr(together, name))
            for j, member in enumerate(alone):
                found = ours if name in (*self.shared, "state", "position") else ours[j]
                expected = memory.backend.download(getattr(member, name))
                if close and expected.dtype.kind == "f":
                    np.testing.assert_allclose(found, expected, err_msg=f"{what}: {name} of member {j}", **close)
                else:
                    np.testing.assert_array_equal(found, expected, err_msg=f"{what}: {name} of member {j}")

    def _of_step(self, memory: Any) -> dict[str, Any]:
        edges = np.array([0, 0, 0, -1, 0, -0.5, 0.5]), np.array([1, 1, 1, 1, 0.5, 1, 2])
        limits = np.array([-np.inf] * 3 + [0, 0.1, 0, 0]), np.array([np.inf] * 3 + [1, 1, 0.9, 1])
        of_pieces = (memory.array(part, self.dtype) for part in (*edges, *limits))
        columns, first = memory.array([0, 1, 2, 0, 0, 2, 2], np.int64), memory.array([3, 5, 5, 7], np.int64)
        return {
            "state": memory.state(step=3, batch=1),
            "lr": memory.array([0.1, 0.05]),
            "position": memory.array([1], np.int64),
            "pieces": Pieces(columns, *of_pieces, first),
        }


def placed(memory: Any, shape: tuple[int, ...], dtype: Any, apart: bool) -> Any:
    """Memory for k arrays: behind each other, or apart as ranges of the members of an arena."""
    if not apart:
        return memory.output(shape, dtype)
    size = int(np.prod(shape[1:]))
    return memory.output((shape[0], size + 2 * GAP), dtype)[:, GAP : GAP + size].reshape(shape)
