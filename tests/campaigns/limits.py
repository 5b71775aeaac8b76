"""What a hostile file may cost who opens it: an error of the library, memory that its size bounds, and a second."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

from chainrule.errors import ChainruleError

MEMORY = 1 << 20  # bytes beside twice those of the file
SECONDS = 1.0
LONGEST = 1000  # characters of a message


def outcome_of(
    use: Callable[[], str], *, refusal: type[ChainruleError] | tuple[type[ChainruleError], ...], size: int
) -> str:
    """What ``use`` returns, "refused" for an error that is to be expected, or what went wrong."""
    tracemalloc.start()
    start = time.process_time()
    try:
        said = use()
    except refusal as error:
        said = "refused" if len(str(error)) < LONGEST else f"a message of {len(str(error))} characters: {error!s:.200}"
    except BaseException as error:  # a panic of safetensors is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{type(error).__name__}: {error!s:.200}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    took = time.process_time() - start
    if peak > 2 * size + MEMORY:
        return f"{said}, with {peak:,} bytes for {size:,}"
    return said if took < SECONDS else f"{said}, after {took:.1f} s"
