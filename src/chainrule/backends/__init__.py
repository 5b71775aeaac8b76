"""Where arrays live and what is computed on them: one object per device, chosen on request."""

from __future__ import annotations

import os
import re

from chainrule.backends.compiled.backend import cpu_backend
from chainrule.backends.contract.backend import PRECISIONS, Backend
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import DeviceError, OptionError
from chainrule.options import one_of, suggest
from chainrule.plain_text import show

__all__ = ["Backend", "backend", "choose_backend"]

DEVICES = ("auto", "cpu", "cuda")


def backend(device: str = "auto", *, precision: str = "fp32") -> Backend:
    """The backend for a device.

    Parameters
    ----------
    device : "auto", "cpu", "cuda" (the same as "cuda:0") or "cuda:N".
        ``auto`` takes the first CUDA device that works and the CPU otherwise. An explicit CUDA device that
        cannot be had is an error; it is never replaced by the CPU.
    precision : "fp32", "tf32" or "bf16".
        How float32 matrix products are computed; the CPU has fp32 only.

    Raises
    ------
    OptionError   for a device or precision of another name.
    DeviceError   if the CUDA device cannot be used; the message says why and the hint what to do.
    """
    return choose_backend(device, precision=precision)[0]


def choose_backend(device: str = "auto", *, precision: str = "fp32") -> tuple[Backend, str]:
    """As :func:`backend`, with the reason for the choice; empty if the device was named."""
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        source = "CHAINRULE_DEVICE: " if device == os.environ.get("CHAINRULE_DEVICE") else "device: "
        hint = suggest(device, DEVICES) if isinstance(device, str) else ""
        raise OptionError(f"{source}expected auto, cpu, cuda or cuda:N, got {show(device)}", hint=hint)
    one_of("precision", precision, PRECISIONS)
    if device == "cpu":
        return _cpu(precision), ""

    from chainrule.backends.cupy import detection  # first mention of CUDA: `import chainrule` never gets here

    if device == "auto":
        problem = detection.find_problem(0)
        if problem is not None:
            return _cpu(precision), f"auto: {problem.what}; see `chainrule doctor`"
        return _cuda(0, precision), "auto: a CUDA device works"
    index = int(device.partition(":")[2] or 0)
    problem = detection.find_problem(index)
    if problem is not None:
        raise DeviceError(f"{device} cannot be used: {problem.what}", hint=problem.hint)
    return _cuda(index, precision), ""


def default_device() -> str:
    """The device if none was named: the environment variable ``CHAINRULE_DEVICE``, else ``auto``."""
    return os.environ.get("CHAINRULE_DEVICE") or "auto"


def _cuda(index: int, precision: str) -> Backend:
    from chainrule.backends.cupy.backend import CuPyBackend

    return CuPyBackend(index, precision=precision)


def _cpu(precision: str) -> NumPyBackend:
    if precision != "fp32":
        raise DeviceError(
            f"precision: expected fp32 on a CPU, which computes in it alone, got {precision!r}",
            hint="precision fp32, or a CUDA device",
        )
    return cpu_backend()
