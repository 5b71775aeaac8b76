"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import csv
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule.backends import default_device
from chainrule.backends.contract.backend import PRECISIONS, Backend
from chainrule.cli.options.parser import OptionGroup
from chainrule.errors import OptionError
from chainrule.files.regular_file import mode_of
from chainrule.nn.losses.names import Loss
from chainrule.options import suggest
from chainrule.random import check_seed

LARGEST = 2**63  # whole numbers from here on have no 64-bit integer


def add_device(parser: OptionGroup) -> None:
    """``--device``, without it the environment variable CHAINRULE_DEVICE, else auto; and ``--precision``."""
    parser.add_argument(
        "--device", default=default_device(), metavar="D", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of products on a CUDA device (fp32)")


def add_threads(parser: OptionGroup, *, default: str = "one per core that may be used, or OMP_NUM_THREADS") -> None:
    """``--threads``."""
    parser.add_argument(
        "--threads",
        type=positive_int,
        metavar="N",
        help=f"of the CPU that a step is divided among, at most; short steps take one ({default})",
    )


def describe_device(backend: Backend, why: str) -> str:
    """The device, its precision if that is not fp32, and why it was chosen if nobody named it."""
    precision = "" if backend.precision == "fp32" else f", products in {backend.precision}"
    return f"{backend.device}{precision}{f' ({why})' if why else ''}"


def widths(text: str) -> list[int]:
    """``256,128`` as [256, 128]."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or max(numbers) >= LARGEST:
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1 up with commas between, got {text!r:.60}")
    return numbers


def names(text: str) -> list[str]:
    """``roc_auc,log_loss`` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def column_names(text: str) -> list[str]:
    """``a,"b, net"`` as a list: a name with a comma stands in double quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip()]


def positive_int(text: str) -> int:
    """A whole number from 1 to below 2^63."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number < LARGEST:
        limit = "up" if number < 1 else "to below 2^63"
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 {limit}, got {text!r:.60}")
    return number


def seed(text: str) -> int:
    """A seed, from 0 to 2^64 - 1."""
    try:
        return check_seed(int(text))
    except OptionError as error:
        raise argparse.ArgumentTypeError(error.message.removeprefix("seed: ")) from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, got {text!r:.60}") from None


def source(text: str) -> str:
    """A table: a path, or the name of a built-in data set."""
    return text


def held_out(text: str) -> float | str:
    """A fraction of the rows, or the path of another table."""
    try:
        return float(text)
    except ValueError:
        return text


def refuse_what_is_read(written: Path | None, *read: Any) -> None:
    """OptionError if the file that is to be written is one of those that the command reads, by whatever name.

    What is no path in ``read`` is ignored: a fraction in the place of a file, None.
    """
    if written is None or not stat.S_ISREG(mode_of(written) or 0):
        return
    for path in read:
        if isinstance(path, str | Path) and mode_of(path) is not None and written.samefile(path):
            raise OptionError(
                f"{written} is read by this command, and would be overwritten", hint="write to another file"
            )


def picture(text: str) -> Path:
    """A file for a picture."""
    if not text.lower().endswith(".svg"):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .svg, got {text!r:.80}")
    return Path(text)


def option(text: str) -> tuple[str, Any]:
    """``delta=2`` as ("delta", 2.0), ``levels=0.1,0.9`` with both numbers, and a word as it is."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    with contextlib.suppress(ValueError):
        numbers = tuple(float(part) for part in value.split(","))
        return name, numbers if len(numbers) > 1 else numbers[0]
    return name, value


def with_options(loss: Loss, options: Mapping[str, Any]) -> Loss:
    """The loss with these options changed."""
    for name in options:
        if name not in loss.options:
            hint = suggest(name, loss.options) or f"one of {', '.join(loss.options)}"
            raise OptionError(f"{loss.name} has no option {name!r}", hint=hint)
    return type(loss)(**{**loss.options, **options}) if options else loss
