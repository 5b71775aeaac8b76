"""Compiled loops made ahead: small fits of all common kinds, so that the cache on disk has what later ones need."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.compiled import loading, loop_cache
from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.compiled.kept_step import CALLS
from chainrule.backends.compiled.state import LOOPS
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.losses.names import LOSSES, Loss, SoftmaxCrossEntropy
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.mlp import MLP
from chainrule.nn.network import Network
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import Optimizer
from chainrule.optim.schedules import Cosine
from chainrule.optim.sgd import SGD
from chainrule.train.building import Architecture, TrainingRows, Updates, build_net, build_optimizer, build_trainer
from chainrule.train.ensemble_fit import HostTable, begin_line, learn_from_left_out, leave_out_rows
from chainrule.train.recipe import ACTIVATION, FEATURE_LIMIT, SMOOTHING, Choices, resolve_preset
from chainrule.train.trainer import Trainer
from chainrule.verify.explain import random_rows

ROWS: Final = 130  # in batches of 32: the last has fewer
COLUMNS, BATCH, UNITS, CODES = 6, 32, 9, 5
WIDE: Final = {"hidden": (256, 256), "batch_size": 256, "rows": 600}  # such a step is divided among threads
SMOOTHED: Final = SoftmaxCrossEntropy(label_smoothing=SMOOTHING)  # the loss of classes in presets

Fit = Callable[[], None]


class Ahead(NamedTuple):
    """What the fits needed.

    Parameters
    ----------
    made : loops that were missing on disk
    found : loops that were there
    """

    made: int
    found: int


def is_there(dtype: str) -> bool:
    """Whether all loops of an earlier :func:`compile_ahead` are still on disk; none of them is loaded."""
    folder = loop_cache.folder()
    if folder is None:
        return False
    try:
        content = loop_cache.read(folder / _name_of_list(dtype))
        return content is not None and all(loop_cache.read(folder / name) is not None for name in json.loads(content))
    except (OSError, ValueError):
        return False


def compile_ahead(dtype: str) -> Ahead:
    """Run the fits, which leave on disk what they compile. ``LOOPS`` says what went wrong: its problem, and unkept."""
    loading.load()
    LOOPS.made.clear()
    LOOPS.found.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits to random numbers there is much to say
        for fit in fits(dtype):
            if LOOPS.problem or LOOPS.unkept:
                break
            fit()
    if not (LOOPS.problem or LOOPS.unkept):
        _write_list(dtype)
    return Ahead(len(LOOPS.made), len(LOOPS.found - LOOPS.made))


def _write_list(dtype: str) -> None:
    folder = loop_cache.folder()
    assert folder is not None  # else no loop was kept
    try:
        loop_cache.write(folder / _name_of_list(dtype), json.dumps(sorted(LOOPS.made | LOOPS.found)).encode())
    except OSError as error:
        LOOPS.is_not_kept(loop_cache.describe(error))


def _name_of_list(dtype: str) -> str:
    """One for each processor: several may share a home directory, and each needs loops of its own."""
    from llvmlite import binding

    processor = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    return f"{loop_cache.LISTS}{dtype}-{hashlib.sha256(processor.encode()).hexdigest()[:12]}"


# ---- the fits ---------------------------------------------------------------------------------------------------


def fits(dtype: str) -> Iterator[Fit]:
    """Each trains a net of its own, and predicts with it."""

    def plain(**options: Any) -> Fit:
        return functools.partial(_fit_plain, dtype, **options)

    for loss in LOSSES.values():
        yield plain(loss=loss)
        yield plain(loss=loss, weighted=True, members=2)
    for activation in ACTIVATIONS:
        yield plain(activation=activation)
    for optimizer in _optimizers():
        yield plain(optimizer=optimizer)
    yield plain(accumulate=2, ema=0.9)
    yield plain(l2=1e-3)
    yield plain(dropout=0.2)
    yield plain(normalization="layer", dropout=0.2)
    yield plain(normalization="batch", residual=True, hidden=(UNITS, UNITS))
    yield plain(embedding=Embedding((COLUMNS - 1,), (CODES,)))
    yield plain(loss=LOSSES["softmax_cross_entropy"], threads=2, **WIDE)
    yield plain(loss=SMOOTHED)
    for kind in (np.float64, np.float32, np.uint8):  # as tables, other arrays and images are given
        for limit in (FEATURE_LIMIT, math.inf):
            yield plain(kind=kind, limit=limit)
    for loss in (LOSSES["squared_error"], LOSSES["sigmoid_cross_entropy"], SMOOTHED):
        yield functools.partial(_fit_ensemble, dtype, loss)
    for loss in (LOSSES["squared_error"], SMOOTHED):
        yield functools.partial(_fit_ensemble, dtype, loss, has_text=True)
        yield functools.partial(_fit_ensemble, dtype, loss, has_text=True, step=1.0)


def _optimizers() -> list[Optimizer]:
    return [
        SGD(1e-3),
        SGD(1e-3, momentum=0.9),
        SGD(1e-3, momentum=0.9, nesterov=True, weight_decay=1e-3, clip_norm=1.0),
        Adam(1e-3, clip_norm=1.0),
        AdamW(1e-3, weight_decay=1e-2),
    ]


def _fit_plain(
    dtype: str,
    *,
    loss: Loss = LOSSES["squared_error"],
    hidden: tuple[int, ...] = (UNITS,),
    optimizer: Optimizer | None = None,
    rows: int = ROWS,
    weighted: bool = False,
    kind: type[np.number[Any]] = np.float64,
    limit: float = FEATURE_LIMIT,
    batch_size: int = BATCH,
    threads: int | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    l2: float = 0.0,
    **net_options: Any,
) -> None:
    widths = [COLUMNS, *hidden, loss.outputs_for(3)]
    net = MLP(widths, loss=loss, dtype=dtype, backend=CompiledBackend(), **net_options)
    rng = np.random.default_rng(0)
    X, y = random_rows(net, rows, rng)
    X = np.abs(100 * X).astype(kind) if kind is np.uint8 else X.astype(kind)
    if not net.codes():
        net.preparation = Preparation(features=Standardization.fit_robust(X, limit=limit))
    trainer = Trainer(
        net,
        optimizer or Adam(1e-3),
        batch_size=batch_size,
        epochs=2,
        threads=threads,
        accumulate=accumulate,
        ema=ema,
        l2=l2,
    )
    trainer.fit(X, y, sample_weight=rng.uniform(1, 2, rows) if weighted else None, validation=0.3)
    _predict(net, X)


def _fit_ensemble(dtype: str, loss: Loss, *, has_text: bool = False, step: float = 0.0) -> None:
    """As ``chainrule train`` does by default, with fewer members; numbers of few values are multiples of ``step``."""
    rng, encoder = np.random.default_rng(0), None
    X = rng.normal(size=(ROWS, COLUMNS))
    X = np.round(X / step) * step if step else X
    if has_text:
        text = Categorical(rng.integers(0, CODES, ROWS).astype(np.int32), tuple("abcdefgh"[:CODES]))
        columns: dict[str, ColumnData] = {"text": text, **{f"number {j}": X[:, j] for j in range(1, COLUMNS)}}
        encoder = TableEncoder.fit(columns, embed_above=CODES - 1)
        X = encoder.encode(columns)
    targets = {"regress": 1, "classify": 3, "multilabel": 1}[loss.task]
    y = X[:, 0] if loss.task == "regress" else rng.integers(0, 3 if targets > 1 else 2, ROWS)
    choices = Choices(preset="fast", epochs=2, batch_size=BATCH)
    settings = resolve_preset(choices, ROWS, task=loss.task)
    architecture = Architecture(
        activation=ACTIVATION,
        normalization=None,
        loss=loss,
        n_out=loss.outputs_for(targets),
        scaling="robust",
        backend=CompiledBackend(),
        dtype=dtype,
        seed=0,
    )
    net = build_net(architecture, settings, TrainingRows(X=X, y=y, encoder=encoder))
    table = HostTable(X, y)
    left_out = leave_out_rows(table, settings.members, 0)
    begin_line(net, settings, table, left_out)
    optimizer = build_optimizer(Updates(optimizer="adamw", schedule=Cosine(1e-2)))
    trainer = build_trainer(net, optimizer, settings, seed=0, monitor=LEFT_OUT)
    learn_from_left_out(net, table, trainer.fit(X, y, left_out=left_out.mask), left_out, 0)
    _predict(net, X)


def _predict(net: Network, X: np.ndarray) -> None:
    asked: list[Callable[[np.ndarray], object]] = [net.predict]
    if net.loss.task != "regress":
        asked.append(net.predict_proba)
    if net.loss_name == "gaussian_nll":
        asked.append(net.predict_distribution)
    for predict in asked:
        predict(X)
        for _ in range(CALLS + 1):  # until the step is recorded, which takes loops that a call does without
            predict(X[:1])
