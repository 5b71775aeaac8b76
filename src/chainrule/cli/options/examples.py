"""The examples at the top of each ``--help``: they run as they stand, on built-in data and the run of the first."""

from __future__ import annotations

from collections.abc import Sequence

EXAMPLE_RUN = "chainrule train digits --preset fast --epochs 10 --run-dir runs/digits"


def examples_text(examples: Sequence[str]) -> str:
    """Them, and if they read the example's run how it is made."""
    reads = "runs/digits" in " ".join(examples) and EXAMPLE_RUN not in examples
    title = f"examples, after `{EXAMPLE_RUN}`:" if reads else "examples:"
    return "\n".join([title, *(f"  {example}" for example in examples)])
