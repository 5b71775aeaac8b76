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
import statistics
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from chainrule.backends.cupy import install_hints
from chainrule.backends.cupy.gemm.choice_file import ChoiceFile
from chainrule.backends.cupy.gemm.cublaslt import Algorithm, CublasLtError, Library
from chainrule.backends.cupy.gemm.launching import Plan
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from chainrule.backends.cupy.gemm.split_product import SplitProduct, can_be_split, lengths_of_parts
from chainrule.environment import cache_directory, switch
from chainrule.errors import DeviceError

# Runs the plan, with the algorithm that it has at the time, on arrays of the timer's own, and returns how many seconds
# one run took. Its first answer for an algorithm is not used. The more runs it averages over, the better.
Timer: TypeAlias = Callable[[Plan], float]
Candidate: TypeAlias = tuple[Plan, Algorithm]

CANDIDATES: Final = 8  # algorithms timed, of a product or of its parts
OF_LARGE_K: Final = 48  # of a product that can also be computed in parts: cublasLt's guesses are of little use there
ROUNDS: Final = 7  # times that each is timed, all of them in turn, so that a clock that drifts is fair to each
GAIN: Final = 0.03  # by how much faster a later guess must be than an earlier one

NAMES_ON_FILE: Final = {"a_transposed": "a_turned", "b_transposed": "b_turned"}  # fields that have another name there
OF_MEMBERS: Final = {"members", "a_stride", "b_stride", "out_stride", "bias_stride", "signs_stride"}  # not of one


class Choice(NamedTuple):
    """How a product is computed: by which algorithm, and in parts of so many k; 0 if it is not divided."""

    opaque: bytes  # of the algorithm
    length: int = 0

    def __str__(self) -> str:
        """As it is on file. Without parts this is what a file had before there were any."""
        return f"{self.length}:{self.opaque.hex()}" if self.length else self.opaque.hex()

    @classmethod
    def of(cls, text: str) -> Choice | None:
        """What a file says; None if that is no choice."""
        length, _, opaque = text.rpartition(":")
        try:
            return cls(bytes.fromhex(opaque), int(length or 0))
        except ValueError:
            return None


class GemmAutotuner:
    """The products of one device, each planned once, with the algorithm that it will always have (GEMM autotuning).

    Parameters
    ----------
    library : the loaded cublasLt.
    device : number of the CUDA device, current whenever a product is planned or run.
    card : its name, "NVIDIA H200" say.
    multiprocessors : how many it has.
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
        multiprocessors: int,
        workspace_size: int,
        timer: Timer,
        directory: Path | None = None,
    ) -> None:
        self.library = library
        self.device = device
        self.card = card
        self.multiprocessors = multiprocessors
        self.workspace_size = workspace_size
        self._timer = timer
        self.file = ChoiceFile(directory or cache_directory())
        self._plans: dict[MatrixProduct, Plan] = {}
        self._of_members: dict[MatrixProduct, Plan] = {}
        self._lock = threading.RLock()  # a signal handler may multiply while its own thread has it

    def __contains__(self, product: MatrixProduct) -> bool:
        """Whether :meth:`plan`, or :meth:`plan_of_members`, has its answer already and would start nothing."""
        return product in self._plans or product in self._of_members

    def plan(self, product: MatrixProduct) -> Plan:
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
                    plan, algorithm = self._choose(product)
                    plan.use(algorithm)
                    self._plans[product] = plan
        return plan

    def plan_of_members(self, product: MatrixProduct) -> Plan:
        """The products of all members as one call, with the algorithm of one; the plan of one if that cannot be.

        Nothing is chosen for the number of members: another algorithm may add in another order, and then a member would
        not be, bit for bit, the net that is trained alone. Parts of k are such a call of each member.
        """
        if product not in self._of_members:
            # Of two threads that get here both make a plan, with one algorithm, and the later one is kept.
            one = self.plan(product.of_one)
            together = None if isinstance(one, SplitProduct) else self._together(product, one)
            self._of_members[product] = one if together is None else together
        return self._of_members[product]

    def _together(self, product: MatrixProduct, one: Plan) -> Plan | None:
        assert one.algorithm is not None
        plan = self.library.plan(product, self.device)
        algorithm = self._fitting(plan, one.algorithm.opaque)
        if algorithm is None:
            return None
        plan.use(algorithm)
        return plan

    def _choose(self, product: MatrixProduct) -> Candidate:
        """The way that is on file, or the best one, which is then on file."""
        plan = self.library.plan(product, self.device)
        if switch("CHAINRULE_TUNE") == "0":
            return plan, self._algorithms(plan, CANDIDATES)[0]
        key = self._key(product)
        known = self._known(plan, key)
        if known is not None:
            return known
        best, algorithm = self._tune(product, self._candidates(plan))
        meanwhile = self._known(plan, key)  # another process may have been first, and has used its choice since
        if meanwhile is not None:
            return meanwhile
        self.file.put(key, str(Choice(algorithm.opaque, best.length if isinstance(best, SplitProduct) else 0)))
        return best, algorithm

    def _key(self, product: MatrixProduct) -> str:
        fields: dict[str, Any] = {name: value for name, value in product._asdict().items() if name not in OF_MEMBERS}
        if not product.signs_step:  # a key from before there were any
            del fields["signs_step"]
        return self.key(" ".join(f"{NAMES_ON_FILE.get(name, name)}={value}" for name, value in fields.items()))

    def key(self, what: str) -> str:
        """The key on file of a choice that holds for this card, library and workspace."""
        return f"{self.card}, cublasLt {self.library.version}, workspace {self.workspace_size}: {what}"

    def _known(self, plan: Plan, key: str) -> Candidate | None:
        """The way on file, if there is one and it still fits."""
        text = self.file.get(key)
        choice = None if text is None else Choice.of(text)
        if choice is None:
            return None
        if choice.length:
            if not can_be_split(plan.product, choice.length):
                return None
            plan = SplitProduct(self.library, plan.product, choice.length, self.device)
        algorithm = self._fitting(plan, choice.opaque)
        return None if algorithm is None else (plan, algorithm)

    def _fitting(self, plan: Plan, opaque: bytes) -> Algorithm | None:
        """The algorithm that these bytes stand for, if it is one of this plan and needs no more workspace than is."""
        algorithm = plan.check(opaque)
        return None if algorithm is None or algorithm.workspace_size > self.workspace_size else algorithm

    def _algorithms(self, plan: Plan, want: int) -> list[Algorithm]:
        found = plan.heuristics(self.workspace_size, want)
        if not found:
            raise self._impossible(plan.product)
        return found

    def _candidates(self, plan: Plan) -> list[Candidate]:
        """Algorithms of the product; if its k is large more of them, and some of its parts."""
        lengths = lengths_of_parts(plan.product, self.multiprocessors)
        found = [(plan, algorithm) for algorithm in self._algorithms(plan, OF_LARGE_K if lengths else CANDIDATES)]
        for length in lengths:
            split = SplitProduct(self.library, plan.product, length, self.device)
            found += [(split, algorithm) for algorithm in split.heuristics(self.workspace_size, CANDIDATES)]
        return found

    def _tune(self, product: MatrixProduct, candidates: Sequence[Candidate]) -> Candidate:
        """The first of the candidates, unless a later one is faster by ``GAIN``; one that fails does not count."""
        working = []
        for candidate in candidates:
            with contextlib.suppress(CublasLtError):
                self._time(candidate)  # the first run loads the kernel
                working.append(candidate)
        if not working:
            raise self._impossible(product)
        if len(working) > CANDIDATES:  # one look at each, and the quickest are timed in earnest
            looks = [self._time(candidate) for candidate in working]
            quickest = sorted(range(len(working)), key=looks.__getitem__)[:CANDIDATES]
            working = [working[place] for place in sorted(quickest)]
        times: list[list[float]] = [[] for _ in working]
        for _ in range(ROUNDS if len(working) > 1 else 0):
            for candidate, seconds in zip(working, times, strict=True):
                seconds.append(self._time(candidate))
        best = 0
        for other in range(1, len(working)):
            if statistics.median(times[other]) <= (1 - GAIN) * statistics.median(times[best]):
                best = other
        return working[best]

    def _time(self, candidate: Candidate) -> float:
        plan, algorithm = candidate
        plan.use(algorithm)
        return self._timer(plan)

    def _impossible(self, product: MatrixProduct) -> DeviceError:
        return DeviceError(
            f"cublasLt {self.library.version} has no algorithm on {self.card} for {product}",
            hint=f"another version may have one: {install_hints.CUDA_LIBRARIES}"
            if product.precision == "fp32"
            else 'try precision="fp32"',
        )
