"""What a hostile file may cost who opens it: an error of the library, memory that its size bounds, and a second."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from chainrule.errors import ChainruleError

MEMORY = 1 << 20  # bytes beside what the file's allow
# Bytes a byte: a text of two letters is six in a list in JSON, sixty as an object; a layer is sixty, and two thousand.
OF_ARRAYS, OF_HEADER = 2, 44
SECONDS = 1.0
LONGEST = 1000  # characters of a message


def outcome_of(
    use: Callable[[], str], *, refusal: type[ChainruleError] | tuple[type[ChainruleError], ...], path: Path
) -> str:
    """What ``use`` returns, "refused" for an error that is to be expected, or what went wrong."""
    allowed = _allowed(path)
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
    if took >= SECONDS:  # once more, without the tracing of memory, which takes a multiple
        start = time.process_time()
        with contextlib.suppress(Exception):
            use()
        took = time.process_time() - start
    if peak > allowed:
        return f"{said}, with {peak:,} bytes, {allowed:,} are allowed"
    return said if took < SECONDS else f"{said}, after {took:.1f} s"


def _allowed(path: Path) -> int:
    """Bytes of memory that opening a sealed file may take."""
    with path.open("rb") as file:
        size, start = path.stat().st_size, int.from_bytes(file.read(8), "little")
    header = min(size, start)
    return OF_ARRAYS * (size - header) + OF_HEADER * header + MEMORY
