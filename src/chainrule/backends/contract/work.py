"""How much a fit will compute, known before its first step: what an implementation may prepare for."""

from __future__ import annotations

from typing import NamedTuple


class Work(NamedTuple):
    """About how much a fit computes.

    Parameters
    ----------
    steps : at most so many
    kernels : of a step
    operations : of the matrix products of a step, floating-point
    largest : of these products
    numbers : that the other kernels of a step read and write
    threads : of the host that may compute at the same time; None for as many as this process may use
    """

    steps: int
    kernels: int
    operations: float
    largest: float
    numbers: float
    threads: int | None = None
