"""The task of a target (classes, several yes/no labels, or numbers), and the target coded for the loss."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.losses.names import LOSSES, Task
from chainrule.options import one_of
from chainrule.plain_text import show
from chainrule.tables.choose_columns import show_names
from chainrule.tables.text.parsing import label_name
from chainrule.tables.text_arrays import TEXT, is_text, unique_with_codes

MAX_CLASSES = 20  # whole numbers with more distinct values are taken for quantities
MOST_SINGLE = 0.9  # different texts per row, beyond which text is no class: nothing could be learned of a row by others
DIGIT = re.compile(r"\d", re.ASCII)
REMARKS = "name another --target; with --task classify each text is a class"
QUANTITIES = f"write quantities as numbers, all with one known sign or unit or all without; or {REMARKS}"
TEXT_TARGET = "text"  # why it is classified: nothing else can be done with it


@dataclass(frozen=True, eq=False)
class TargetPlan:
    """A target coded for the loss.

    Parameters
    ----------
    task : "classify", "multilabel" or "regress"
    y : classify: (n,) int64 codes 0, 1, ...; else float64, (n,) or (n, k)
    classes : the names of the codes; empty unless ``task`` is "classify", or "multilabel" of two names
    n_out : the number of outputs of a net for it
    why : what in the values decided the task, "6 different whole numbers"; "" if a loss did
    """

    task: Task
    y: np.ndarray
    classes: tuple[str, ...]
    n_out: int
    why: str = ""


def plan_target(target: np.ndarray, *, loss: str | None = None, source: str = "") -> TargetPlan:
    """Decide the task, by ``loss`` or else by the values, and code the target for it.

    Without a loss: text is classified; so are whole numbers (n,), whatever their dtype, of at most 20 distinct values;
    several columns of whole zeros and ones are multilabel; all else is a regression. More than 20 texts that differ in
    nearly every row are refused.

    Parameters
    ----------
    target : (n,) or (n, k) finite numbers, or (n,) text, as in :class:`chainrule.tables.table.Table`
    loss : a name of :data:`chainrule.nn.losses.names.LOSSES`, or None
    source : for messages

    Raises
    ------
    DataError     if the target does not suit the loss, naming the first row (from 0), or has fewer than two classes,
        or, without a loss, nearly as many as rows.
    OptionError   if there is no such loss.
    """
    if loss is not None:
        one_of("loss", loss, LOSSES)
    target = _check_target(target, source)
    task, why = _guess_task(target) if loss is None else (LOSSES[loss].task, "")
    text = target.dtype == TEXT
    classes: tuple[str, ...] = ()
    if task == "classify" or (task == "multilabel" and text):
        if target.ndim != 1:
            raise DataError(
                f"{_prefix(source)}expected a target of one class per row, (n,), got one of shape {target.shape}",
                hint="several labels per row are for loss sigmoid_cross_entropy",
            )
        classes = tuple(label_name(value) for value in unique_with_codes(target)[0])
        if loss is None and len(classes) > max(MAX_CLASSES, MOST_SINGLE * len(target)):
            raise DataError(
                f"{_prefix(source)}expected a target of numbers or of classes, got text that differs in nearly every "
                f"row, {len(classes):,} texts in {len(target):,} rows: {show_names(classes[:3])}, ...",
                hint=QUANTITIES if all(map(DIGIT.search, classes)) else REMARKS,
            )
        if len(classes) < 2:
            raise DataError(f"{_prefix(source)}expected at least two classes, got {show(classes[0])} in every row")
        if task == "multilabel" and len(classes) > 2:
            raise DataError(
                f"{_prefix(source)}expected two classes, got {len(classes)}: {show_names(classes[:5])}, ...",
                hint="more than two classes are for loss softmax_cross_entropy",
            )
    y = encode_target(target, task, classes, source=source)
    return TargetPlan(task, y, classes, len(classes) if task == "classify" else y.size // len(y), why)


def encode_target(target: np.ndarray, task: str, classes: Sequence[str], *, source: str = "") -> np.ndarray:
    """The target coded as :func:`plan_target` coded that of the training.

    A class is identified by its name (:func:`~chainrule.tables.text.parsing.label_name`), so that 3 in a text file, 3.0
    and an int8 in an array file are all the class "3".

    Parameters
    ----------
    target : as for :func:`plan_target`
    task, classes : of the plan; without names of classes the labels of a classification must be codes
    source : for messages

    Raises
    ------
    DataError   naming value and row (from 0) of a class that training did not see, or of a value that does not suit.
    """
    target = _check_target(target, source)
    if task == "classify" or (task == "multilabel" and classes):
        if target.ndim != 1:
            raise DataError(f"{_prefix(source)}expected a target of shape (n,), got shape {target.shape}")
        codes = _encode_classes(target, classes, source) if classes else _check_codes(target, source)
        return codes if task == "classify" else codes.astype(np.float64)
    if target.dtype == TEXT:
        raise DataError(f"{_prefix(source)}expected numbers in the target, got text: {show(str(target[0]))}, ...")
    y = target.astype(np.float64)
    if task == "multilabel":
        _refuse_if_any((y < 0) | (y > 1), target, "a number from 0 to 1", source)
    return y


def _guess_task(target: np.ndarray) -> tuple[Task, str]:
    """The task by the values, and what in them decided it."""
    if target.dtype == TEXT:
        return "classify", TEXT_TARGET
    if target.dtype.kind == "f" and (target != np.floor(target)).any():
        return "regress", "numbers with decimals"
    if target.ndim == 2:
        if target.dtype.kind != "f" and ((target == 0) | (target == 1)).all():
            return "multilabel", "zeros and ones in several columns"
        return "regress", "numbers in several columns"
    if target.dtype.kind == "b":
        return "classify", "true and false"
    k = len(np.unique(target))
    why = f"{k:,} different whole numbers"
    if k > MAX_CLASSES:
        return "regress", f"{why} (more than {MAX_CLASSES})"
    return "classify", why


def _encode_classes(target: np.ndarray, classes: Sequence[str], source: str) -> np.ndarray:
    values, inverse = unique_with_codes(target)
    codes = {name: code for code, name in enumerate(classes)}
    codes = {name.strip(): code for name, code in codes.items()} | codes  # readers strip text
    found = np.array([codes.get(label_name(value), -1) for value in values], np.int64)
    y: np.ndarray = found[inverse]
    if (y < 0).any():
        row = int((y < 0).argmax())
        raise DataError(
            f"{_prefix(source)}row {row} (from 0) of the target: expected one of the classes of training, "
            f"{show_names(classes)}, got {show(label_name(target[row]))}"
        )
    return y


def _check_codes(target: np.ndarray, source: str) -> np.ndarray:
    if target.dtype == TEXT:
        raise DataError(f"{_prefix(source)}expected codes 0, 1, ..., got text: {show(str(target[0]))}, ...")
    _refuse_if_any((target < 0) | (target != np.floor(target)), target, "a code 0, 1, ...", source)
    return target.astype(np.int64)


def _refuse_if_any(bad: np.ndarray, target: np.ndarray, expected: str, source: str) -> None:
    if bad.any():
        at = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        where = f"row {at[0]}" + (f", column {at[1]}" if len(at) > 1 else "")
        raise DataError(f"{_prefix(source)}{where} (from 0) of the target: expected {expected}, got {target[at]}")


def _check_target(target: np.ndarray, source: str) -> np.ndarray:
    """Finite, not empty; (n, 1) as (n,), several columns of bool as uint8, text as objects."""
    text = is_text(target)
    if not (text or target.dtype.kind in "biuf") or target.ndim not in {1, 2} or not target.size:
        raise DataError(
            f"{_prefix(source)}expected a target of numbers, (n,) or (n, k), or of str, (n,), "
            f"got shape {target.shape} and dtype {target.dtype}"
        )
    if text:
        target = target.astype(TEXT, copy=False)
    if target.dtype.kind == "f":
        _refuse_if_any(~np.isfinite(target), target, "a finite number", source)
    target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    return target.astype(np.uint8) if target.dtype.kind == "b" and target.ndim == 2 else target


def _prefix(source: str) -> str:
    return f"{source}: " if source else ""
