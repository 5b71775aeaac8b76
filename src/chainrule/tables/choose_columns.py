"""Which columns of a table are the features and the target, by name or by position."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chainrule.errors import DataError, OptionError
from chainrule.options import suggest
from chainrule.plain_text import show
from chainrule.tables.selection import Selection

MAX_COLUMNS = 250_000  # with names: a kilobyte each, ten seconds in all, and as many as a model file has room for
POSITION = re.compile(r"[+-]?\d{1,9}", re.ASCII)


def show_names(names: Sequence[str]) -> str:
    """The names for a message: all of them, or the first 30 of more."""
    listed = ", ".join(show(name) for name in names[:30])
    return listed if len(names) <= 30 else f"{listed} and {len(names) - 30} more"


def refuse_very_many(source: str, width: int) -> None:
    """DataError for more than 250,000 columns, if each is to be an array of its own."""
    if width > MAX_COLUMNS:
        raise DataError(
            f"{source}: expected at most {MAX_COLUMNS:,} columns with names or holes, got {width:,}",
            hint="a .npy matrix of finite numbers may have more",
        )


def find_position(target: str, width: int) -> int | None:
    """The column at the position ``target``: "0" is the first, "-1" the last; None if it is no position of a column."""
    if not POSITION.fullmatch(target) or not -width <= int(target) < width:
        return None
    return int(target) % width


def find_target(
    source: str, names: Sequence[str], target: str | None, *, need_target: bool, selected: bool
) -> int | None:
    """The position of the target column among ``names``.

    A name wins over a position. If the target is optional and the features are ``selected`` by name, a target that does
    not exist is no error, even if it looks like a position.

    Raises
    ------
    DataError     if there are no columns at all.
    OptionError   if it is needed and not given, or does not exist; lists the columns.
    """
    if not names:
        raise DataError(f"{source}: expected columns, got none", hint="check that the file is complete")
    if target in names:
        return names.index(target)
    if target and not (selected and not need_target):
        position = find_position(target, len(names))
        if position is not None:
            return position
    if need_target and not target:
        raise OptionError(
            f"{source}: expected a target, got none; the columns are {show_names(names)}",
            hint="name the target: the name of a column, or a position such as -1 for the last",
        )
    if target and (need_target or (POSITION.fullmatch(target) and not selected)):
        raise OptionError(
            f"{source} has no column {show(target)}; the columns are {show_names(names)}", hint=suggest(target, names)
        )
    return None


def choose_columns(source: str, names: Sequence[str], selection: Selection) -> tuple[list[int], int | None]:
    """The positions of the features, in order, and of the target.

    Raises
    ------
    DataError     if a wanted column is missing, no feature is left, or there are more than 250,000 columns.
    OptionError   if the target is needed and not given, or a column of ``drop`` or ``categorical`` does not exist.
    """
    refuse_very_many(source, len(names))
    known = set(names)
    for option, listed in (("drop", selection.drop), ("categorical", selection.categorical)):
        for name in listed:
            if name not in known:
                raise OptionError(
                    f"{source} has no column {show(name)} for {option}; the columns are {show_names(names)}",
                    hint=suggest(name, names),
                )
    wanted = selection.feature_names
    target = find_target(
        source, names, selection.target, need_target=selection.need_target, selected=bool(selection.feature_names)
    )
    if target is not None and names[target] in selection.drop:
        raise OptionError(
            f"{source}: the target {show(names[target])} is one of the columns to drop",
            hint="drop it, or predict it: not both",
        )
    chosen = select_features(source, names, wanted, target)
    dropped = set(selection.drop)
    chosen = [i for i in chosen if names[i] not in dropped]
    if not chosen:
        raise DataError(
            f"{source}: expected a feature besides the target, got none: left out are {show_names(sorted(dropped))}",
            hint="leave out fewer columns; one of groups or times is no feature",
        )
    return chosen, target


def select_features(source: str, names: Sequence[str], wanted: Sequence[str], target: int | None) -> list[int]:
    """The positions of the features: of ``wanted`` in that order, or, if it is empty, of all columns but the target.

    Raises
    ------
    DataError     if wanted columns are missing (it names them all), or if no feature is left.
    OptionError   if the target is one of the features: a net must not see what it predicts.
    """
    if not wanted:
        chosen = [i for i in range(len(names)) if i != target]
        if not chosen:
            raise DataError(f"{source} has no column besides the target {show(names[target or 0])}")
        return chosen
    at = {name: i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in at]
    hint = f"the columns are {show_names(names[:8])}{', ...' * (len(names) > 8)}"
    if missing and len(wanted) == 1:
        raise DataError(f"{source} has no column {show(missing[0])}", hint=suggest(missing[0], names) or hint)
    if missing:
        needed = {*wanted, *([] if target is None else [names[target]])}
        unused = [name for name in names if name not in needed]  # what is needed itself is no misspelling
        raise DataError(
            f"{source} lacks {len(missing)} of the {len(wanted)} columns that are needed: {show_names(missing)}",
            hint=suggest(missing[0], unused) or hint,
        )
    chosen = [at[name] for name in wanted]
    if target in chosen:
        raise OptionError(
            f"{source}: the target {show(names[target])} is one of the features", hint="leave it out of them"
        )
    return chosen


def check_width(where: str, width: int, wanted: Sequence[str]) -> None:
    """DataError for an array without names that has not as many columns as ``wanted``, unless that is empty."""
    if wanted and width != len(wanted):
        raise DataError(f"{where}: expected {len(wanted)} feature columns, got {width}")
