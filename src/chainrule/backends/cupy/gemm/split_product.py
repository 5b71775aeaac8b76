"""A product whose k is much larger than its result, computed in parts of k side by side.

A result of 64 x 64 is one tile, which one multiprocessor of 132 adds up over all k. In parts of k it is as many
products, one strided batch, whose results are then added up by a kernel, always in the same order.
"""

from __future__ import annotations

from typing import Final

from chainrule.backends.cupy.gemm.cublaslt import Algorithm, Library, PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import ITEM_SIZES, Dtype, MatrixProduct

TILE: Final = 128  # rows and columns of a result that one multiprocessor computes at a time, about
SHORTEST: Final = 256  # k of a part: a shorter one spends its time on its beginning and end
MULTIPLE: Final = 8  # of which the k of a part is one: so each begins as well aligned as the first, in bf16 too
SHARES: Final = (4, 2, 1)  # a part for every so many multiprocessors
SLACK: Final = 1.15  # by how much parts may be longer if then no rest is left


def lengths_of_parts(product: MatrixProduct, multiprocessors: int) -> list[int]:
    """The k of a part for each way to divide a product that is worth a try; none for most products."""
    tiles = -(-product.m // TILE) * -(-product.n // TILE)
    lengths = []
    if product.epilogue == "none" and product.members == 1:
        for share in SHARES:
            parts = multiprocessors // (share * tiles)
            if parts >= 2:
                lengths.append(_length(product.k, parts))
    return [length for length in dict.fromkeys(lengths) if SHORTEST <= length < product.k]


def _length(k: int, parts: int) -> int:
    """k of each of at most so many parts; such as leave no rest if that takes few more."""
    shortest = -(-k // (parts * MULTIPLE)) * MULTIPLE
    for length in range(shortest, int(SLACK * shortest) + 1, MULTIPLE):
        if k % length == 0:
            return length
    return shortest


def can_be_split(product: MatrixProduct, length: int) -> bool:
    """Whether parts of ``length`` are parts of this product, at least two."""
    return product.epilogue == "none" and product.members == 1 and 0 < length < product.k and length % MULTIPLE == 0


class SplitProduct:
    """out = sum_p( a_p @ b_p ) with a_p = op(a)[:, p length : (p + 1) length], b_p the same rows of op(b).

    :meth:`run` computes the parts, ``a_p @ b_p``; their sum is a launch of its own. All parts but the last are of one
    length, and one call. The last is what is left of k: a call of its own, by the same algorithm, if there is such.

    Parameters
    ----------
    product : without an epilogue, of one net; its result may be bf16, those of its parts are float32
    length : k of a part, a multiple of 8
    """

    def __init__(self, library: Library, product: MatrixProduct, length: int, device: int) -> None:
        assert can_be_split(product, length), (product, length)
        self.product = product
        self.length = length
        self._count, rest = divmod(product.k, length)
        size = ITEM_SIZES[product.operands]
        self._a_step = (product.lda if product.a_transposed else 1) * length  # elements from a part to the next
        self._b_step = (1 if product.b_transposed else product.ldb) * length
        self._steps = self._a_step * size, self._b_step * size
        one = product._replace(k=length, result=self.accumulator)
        equal = one._replace(
            members=self._count, a_stride=self._a_step, b_stride=self._b_step, out_stride=product.m * product.n
        )
        self._equal = library.plan(equal if self._count > 1 else one, device)
        self._rest: PlannedProduct | None = library.plan(one._replace(k=rest), device) if rest else None

    @property
    def accumulator(self) -> Dtype:
        """The dtype of the results of the parts."""
        return "float64" if self.product.operands == "float64" else "float32"

    @property
    def parts(self) -> int:
        """How many there are."""
        return self._count + (self._rest is not None)

    @property
    def algorithm(self) -> Algorithm | None:
        """By which all parts are computed."""
        return self._equal.algorithm

    def heuristics(self, workspace_size: int, want: int = 8) -> list[Algorithm]:
        """As of :class:`PlannedProduct`: those that compute the rest as well."""
        found = [self.check(algorithm.opaque) for algorithm in self._equal.heuristics(workspace_size, want)]
        return [
            algorithm for algorithm in found if algorithm is not None and algorithm.workspace_size <= workspace_size
        ]

    def check(self, opaque: bytes) -> Algorithm | None:
        """As of :class:`PlannedProduct`, for all parts."""
        needed = [plan.check(opaque) for plan in (self._equal, self._rest) if plan is not None]
        sizes = [algorithm.workspace_size for algorithm in needed if algorithm is not None]
        return Algorithm(opaque, max(sizes)) if len(sizes) == len(needed) else None

    def use(self, algorithm: Algorithm) -> None:
        """Compute with this algorithm from now on."""
        for plan in (self._equal, self._rest):
            if plan is not None:
                plan.use(algorithm)

    def run(self, a: int, b: int, parts: int, *, stream: int, workspace: int = 0, workspace_size: int = 0) -> None:
        """parts[p] = a_p @ b_p, (parts, m, n), queued on ``stream``; addresses as of :meth:`PlannedProduct.run`."""
        space = {"stream": stream, "workspace": workspace, "workspace_size": workspace_size}
        self._equal.run(a, b, parts, **space)
        if self._rest is not None:
            a_step, b_step = self._steps
            done = self._count * self.product.m * self.product.n * ITEM_SIZES[self.accumulator]
            self._rest.run(a + self._count * a_step, b + self._count * b_step, parts + done, **space)
