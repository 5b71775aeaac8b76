"""The contract of embeddings: codes of categories to vectors.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array, EmbeddingPlan


class EmbeddingContract(abc.ABC):
    """Codes of categories to vectors, and back to gradients.

    x (n, n_in) and tables, means, shares, dtables, all flat, in the net's own dtype: bf16 has no code above 256.
    y and dy (n, width) in the storage dtype; codes (n, m) int32. Table t of a plan is
    T_t = tables[start : start + rows width] as (rows, width); in means and shares those of one table follow another's.
    """

    @abc.abstractmethod
    def embed(
        self, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
    ) -> None:
        """y_i = [numbers of x_i | T_1[c_i1] | T_2[c_i2] | ...],   codes_it = c_it = x[i, column_t].

        The codes are whole numbers in [0, rows_t), checked when the rows are taken in. With ``means``, rows_t is a code
        too and stands for means_t.
        """

    @abc.abstractmethod
    def embed_backward(self, dy: Array, codes: Array, plan: EmbeddingPlan, *, touched: Array, dtables: Array) -> None:
        """dT_t[c] = sum over rows i with codes_it = c of the part of dy_i that T_t[c] went to; else 0.

        ``touched`` (sum of rows_t,) float32, those of one table after another's, becomes 1 for a vector whose code
        occurs, else 0. Where it is 0 before, the gradient must be 0 as well: an implementation may set others alone to
        0. What lies between the tables stays as it is. Each implementation adds in an order of its own, the same in
        every run. The codes are below rows_t.
        """

    @abc.abstractmethod
    def embed_means(self, tables: Array, shares: Array, plan: EmbeddingPlan, *, means: Array) -> None:
        """means_t = sum_c(shares_tc T_t[c])."""
