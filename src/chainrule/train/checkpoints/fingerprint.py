"""Whose a checkpoint is: the settings and the rows, which must be the same, and the machine, which makes the bits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Backend
from chainrule.json_values import plain
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.fused import has_fused_encoding
from chainrule.nn.network import Network
from chainrule.train.monitoring.choose_metric import monitor_name
from chainrule.train.settings import TrainingSettings
from chainrule.version import __version__

SHOWN = 6  # differences that an error names
SAMPLE = 4096  # rows of X that are hashed, evenly spread; of targets and weights all are
PART = 1 << 18  # numbers that are hashed at a time


def settings_of(net: Network, settings: TrainingSettings) -> dict[str, Any]:
    """All settings and all of a net that the final weights depend on, as JSON holds it."""
    p = net.preparation
    return {
        **{"net seed" if name == "seed" else name: value for name, value in plain(net.describe()).items()},
        "standardisation": _digest(*_arrays_of(p.features), *_arrays_of(p.targets)),
        "optimizer": _without_addresses(plain(settings.optimizer)),
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "shuffle": settings.shuffle,
        "drop_last": settings.drop_last,
        "seed": settings.seed,
        "steps before": 0 if settings.moments is None else settings.moments.steps,
        "accumulate": settings.accumulate,
        "ema": settings.ema,
        "l2": settings.l2,
        "shrink": settings.shrink,
        "divergence_factor": settings.divergence_factor,
        "early_stopping": plain(settings.early_stopping),
        "monitor": monitor_name(settings),
        "metrics": [metric.name for metric in settings.valid_metrics] if settings.metrics else False,
    }


def rows_of(
    backend: Backend, X: Any, y: Any, weights: Any, validation: Any, *, left_out: np.ndarray | None = None
) -> dict[str, Any]:
    """How many rows there are and a sha256 of them, the same on every device and for every dtype."""
    if isinstance(validation, tuple | list):
        held = [_on_host(backend, part, sampled=number == 0) for number, part in enumerate(validation)]
    else:
        held = [np.array([-1.0 if validation is None else float(validation)])]
    parts = [_on_host(backend, X, sampled=True), _on_host(backend, y), _on_host(backend, weights)]
    return {"rows": len(X), "sha256": _digest(*parts, *held, *([] if left_out is None else [left_out]))}


def machine_of(net: Network) -> dict[str, Any]:
    """What the bits of a run depend on besides its settings and rows."""
    encodings = {"encodings": "fused"} if has_fused_encoding(net.fused_nodes) else {}  # other bits, in the last places
    return {"chainrule": __version__, **net.backend.fingerprint(), **encodings}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``epochs 30 -> 60`` for each difference, the first few. A setting that an older version did not have was off."""
    names = [name for name in dict.fromkeys([*now, *before]) if not _is_same(before, now, name)]
    found = [f"{name:.60} {_short(before.get(name))} -> {_short(now.get(name))}" for name in names[:SHOWN]]
    return found + [f"and {len(names) - SHOWN} more"] * (len(names) > SHOWN)


def _is_same(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    """Whether a setting, and all that it is made of, is as it was."""
    return _are_same(before[name], now.get(name)) if name in before else not now[name]


def _are_same(before: Any, now: Any) -> bool:
    if isinstance(before, dict) and isinstance(now, dict):
        return all(_is_same(before, now, name) for name in before | now)
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return all(map(_are_same, before, now))
    return bool(before == now)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _without_addresses(value: Any) -> Any:
    """A default repr has the object's address in it, another one in each process."""
    if isinstance(value, dict):
        return {name: _without_addresses(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_without_addresses(v) for v in value]
    return re.sub(r" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value


def _arrays_of(standardization: Standardization | None) -> list[np.ndarray]:
    if standardization is None:
        return [np.empty(0)]
    return [standardization.mean, standardization.scale, np.array([standardization.limit])]


def _on_host(backend: Backend, values: Any, *, sampled: bool = False) -> np.ndarray:
    if values is None:
        return np.empty(0)
    if not hasattr(values, "shape") or not hasattr(values, "dtype"):
        values = np.asarray(values)
    if sampled and len(values) > SAMPLE:
        values = values[:: len(values) // SAMPLE]
    return values if isinstance(values, np.ndarray) else backend.download(backend.upload(values))


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        values = np.asarray(array)
        is_of_numbers = values.dtype.kind in "biuf"
        values = np.atleast_1d(values) if is_of_numbers else values
        digest.update(f"{values.shape}".encode())
        if is_of_numbers:
            for part in _in_parts(values):
                digest.update(np.ascontiguousarray(part, np.float64).reshape(-1).data)
        else:
            digest.update(repr(values.tolist()).encode())
    return digest.hexdigest()


def _in_parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time, so that a copy of them is small."""
    step = max(1, PART // max(1, values[:1].size))
    return (values[start : start + step] for start in range(0, len(values), step))
