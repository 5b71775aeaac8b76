"""Which algorithm computes each product: timed once, then remembered, in the process and on disk.

cublasLt guesses which algorithm is fastest, and its second or third guess is often better than its first. So the first
time that a product is asked for, its algorithms are timed. The times are never quite the same twice, and algorithms
differ in the order in which they add, so a new choice could change the last bits of a result. What makes **the same
command give the same bits twice** is that the choice is made once: it goes to a file, by card, version of the library
and product, and is taken from there ever after. Besides, a later guess must win by 3 per cent.

``CHAINRULE_TUNE=0`` takes cublasLt's first guess, times nothing and does not touch the file.

The file is in ``$CHAINRULE_CACHE_DIR``, else ``$XDG_CACHE_HOME/chainrule``, else ``~/.cache/chainrule``. To lose it
costs time, no more: an entry that cannot be read or does not fit is chosen again, and if nothing can be written each
process times for itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from chainrule.backends.cupy import install_hints
from chainrule.backends.cupy.gemm.cublaslt import Algorithm, CublasLtError, Library, PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from chainrule.environment import cache_directory, switch
from chainrule.errors import DeviceError, first_line

# Runs the plan, with the algorithm that it has at the time, on arrays of the timer's own, and returns how many seconds
# one run took. Its first answer for an algorithm is not used. The more runs it averages over, the better.
Timer: TypeAlias = Callable[[PlannedProduct], float]

CANDIDATES: Final = 8  # algorithms timed
ROUNDS: Final = 7  # times that each is timed, all of them in turn, so that a clock that drifts is fair to each
GAIN: Final = 0.03  # by how much faster a later guess must be than an earlier one

FILE_NAME: Final = "products-1.json"  # the number is that of the format
NAMES_ON_FILE: Final = {"a_transposed": "a_turned", "b_transposed": "b_turned"}  # fields that have another name there
OF_MEMBERS: Final = {"members", "a_stride", "b_stride", "out_stride", "bias_stride"}  # what is chosen is that of one

_log = logging.getLogger(__name__)


class ChoiceFile:
    """The algorithms chosen so far, ``{key: bytes in hexadecimal}`` in JSON. Never raises for what is on the disk.

    Processes may share it. Each writes a whole new file and moves it into place, so that none reads half of one. Of two
    that choose for the same key the first to write wins; of two that write in the same instant one may be lost, and is
    chosen again some other time.
    """

    def __init__(self, directory: Path | None) -> None:
        self.path = None if directory is None else directory / FILE_NAME
        self._complained = False

    def read(self) -> dict[str, str]:
        """What is on the disk; nothing if that is no such file."""
        if self.path is None:
            return {}
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:  # no permission, half a file, not text, not JSON
            self._complain("not read", error)
            return {}
        if not isinstance(content, dict):
            return {}
        return {key: value for key, value in content.items() if isinstance(value, str)}

    def get(self, key: str) -> bytes | None:
        """The bytes of the algorithm chosen for ``key``."""
        try:
            return bytes.fromhex(self.read()[key])
        except (KeyError, ValueError):
            return None

    def put(self, key: str, opaque: bytes) -> None:
        """Add a choice to those on the disk."""
        if self.path is None:
            return
        choices = {**self.read(), key: opaque.hex()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=self.path.parent, prefix=FILE_NAME, suffix=".tmp")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    json.dump(choices, file, indent=0, sort_keys=True)
                Path(name).replace(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            self._complain("not written", error)

    def _complain(self, what: str, error: Exception) -> None:
        """Once, on one line: it matters only to a user who wonders why each run times its products."""
        if not self._complained:
            self._complained = True
            _log.warning("choices of algorithms were %s (%s): %s", what, self.path, first_line(error))


class GemmAutotuner:
    """The products of one device, each planned once, with the algorithm that it will always have (GEMM autotuning).

    Parameters
    ----------
    library : the loaded cublasLt.
    device : number of the CUDA device, current whenever a product is planned or run.
    card : its name, "NVIDIA H200" say.
    workspace_size : bytes of workspace that every run will be given.
    timer : how long one run of a plan takes, in seconds on the device.
    directory : where choices are kept between runs; by default as described above.
    """

    def __init__(
        self,
        library: Library,
        *,
        device: int,
        card: str,
        workspace_size: int,
        timer: Timer,
        directory: Path | None = None,
    ) -> None:
        self.library = library
        self.device = device
        self.card = card
        self.workspace_size = workspace_size
        self._timer = timer
        self._file = ChoiceFile(directory or cache_directory())
        self._plans: dict[MatrixProduct, PlannedProduct] = {}
        self._of_members: dict[MatrixProduct, PlannedProduct | None] = {}
        self._lock = threading.RLock()  # a signal handler may multiply while its own thread has it

    def __contains__(self, product: MatrixProduct) -> bool:
        """Whether :meth:`plan`, or :meth:`plan_of_members`, has its answer already and would start nothing."""
        return product in self._plans or product in self._of_members

    def plan(self, product: MatrixProduct) -> PlannedProduct:
        """``product``, ready to run. The first time, this asks cublasLt and runs on the device: not inside a capture.

        DeviceError if cublasLt has no algorithm for it, and whatever :meth:`MatrixProduct.check` raises.
        """
        plan = self._plans.get(product)
        if plan is None:
            with (
                self._lock
            ):  # of two threads that ask for a product for the first time, the second waits for the choice
                plan = self._plans.get(product)
                if plan is None:
                    plan = self.library.plan(product, self.device)
                    plan.use(self._choose(plan))
                    self._plans[product] = plan
        return plan

    def plan_of_members(self, product: MatrixProduct) -> PlannedProduct | None:
        """The products of all members as one call, with the algorithm of one of them; None if it cannot do that.

        Nothing is chosen for the number of members: another algorithm may add in another order, and then a member would
        not be, bit for bit, the net that is trained alone.
        """
        if product not in self._of_members:
            # Of two threads that get here both make a plan, with one algorithm, and the later one is kept.
            algorithm = self.plan(product.of_one).algorithm
            assert algorithm is not None
            plan: PlannedProduct | None = self.library.plan(product, self.device)
            assert plan is not None
            fitting = plan.check(algorithm.opaque)
            if fitting is None or fitting.workspace_size > self.workspace_size:
                plan = None
            else:
                plan.use(fitting)
            self._of_members[product] = plan
        return self._of_members[product]

    def _choose(self, plan: PlannedProduct) -> Algorithm:
        """The algorithm on file, or the best one, which is then on file."""
        if switch("CHAINRULE_TUNE") == "0":
            return self._candidates(plan)[0]
        key = self._key(plan.product)
        known = self._known(plan, key)
        if known is not None:
            return known
        best = self._tune(plan, self._candidates(plan))
        meanwhile = self._known(plan, key)  # another process may have been first, and has used its choice since
        if meanwhile is not None:
            return meanwhile
        self._file.put(key, best.opaque)
        return best

    def _key(self, product: MatrixProduct) -> str:
        fields: dict[str, Any] = {name: value for name, value in product._asdict().items() if name not in OF_MEMBERS}
        text = " ".join(f"{NAMES_ON_FILE.get(name, name)}={value}" for name, value in fields.items())
        return f"{self.card}, cublasLt {self.library.version}, workspace {self.workspace_size}: {text}"

    def _known(self, plan: PlannedProduct, key: str) -> Algorithm | None:
        """The algorithm on file, if there is one and it still fits."""
        opaque = self._file.get(key)
        algorithm = None if opaque is None else plan.check(opaque)
        if algorithm is None or algorithm.workspace_size > self.workspace_size:
            return None
        return algorithm

    def _candidates(self, plan: PlannedProduct) -> list[Algorithm]:
        found = plan.heuristics(self.workspace_size, CANDIDATES)
        if not found:
            raise self._impossible(plan.product)
        return found

    def _tune(self, plan: PlannedProduct, candidates: list[Algorithm]) -> Algorithm:
        """The first of the candidates, unless a later one is faster by ``GAIN``; one that fails does not count."""
        times: dict[Algorithm, list[float]] = {}
        for algorithm in candidates:
            with contextlib.suppress(CublasLtError):
                self._time(plan, algorithm)  # the first run loads the kernel
                times[algorithm] = []
        if not times:
            raise self._impossible(plan.product)
        for _ in range(ROUNDS if len(times) > 1 else 0):
            for algorithm, seconds in times.items():
                seconds.append(self._time(plan, algorithm))
        best, *others = times
        for other in others:
            if statistics.median(times[other]) <= (1 - GAIN) * statistics.median(times[best]):
                best = other
        return best

    def _time(self, plan: PlannedProduct, algorithm: Algorithm) -> float:
        plan.use(algorithm)
        return self._timer(plan)

    def _impossible(self, product: MatrixProduct) -> DeviceError:
        return DeviceError(
            f"cublasLt {self.library.version} has no algorithm on {self.card} for {product}",
            hint=f"another version may have one: {install_hints.CUDA_LIBRARIES}"
            if product.precision == "fp32"
            else 'try precision="fp32"',
        )
