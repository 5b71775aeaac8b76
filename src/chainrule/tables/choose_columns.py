"""Which columns of a table are meant, by name or by position, and how messages show names and cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chainrule.errors import DataError, OptionError
from chainrule.plain_text import show
from chainrule.tables.selection import Selection

MOST_COLUMNS = 250_000  # with names: a kilobyte each, and ten seconds together; a model file has room for so many
POSITION = re.compile(r"[+-]?\d{1,9}", re.ASCII)
WIDEST_SEARCH = 2_000  # names among which a near miss is looked for; difflib takes 50 us a name


def show_names(names: Sequence[str]) -> str:
    """The names for a message; all of them unless there are very many."""
    shown = ", ".join(show(name) for name in names[:30])
    return shown if len(names) <= 30 else f"{shown} and {len(names) - 30} more"


def suggest(name: str, names: Sequence[str]) -> str:
    """A hint if a name there is comes near to ``name``; else empty."""
    import difflib  # takes a while, and is wanted only where something went wrong

    near = difflib.get_close_matches(name, names, n=1) if len(names) <= WIDEST_SEARCH else []
    return f"did you mean {show(near[0])}?" if near else ""


def refuse_very_many(source: str, width: int) -> None:
    """DataError for more than 250,000 columns that are to be arrays of their own."""
    if width > MOST_COLUMNS:
        raise DataError(
            f"{source}: expected at most {MOST_COLUMNS:,} columns with names or holes, got {width:,}",
            hint="a matrix of finite numbers in a .npy file has no such bound",
        )


def find_position(target: str, width: int) -> int | None:
    """The column that ``target`` means as a position: "0" is the first, "-1" the last; None where it is none."""
    if not POSITION.fullmatch(target) or not -width <= int(target) < width:
        return None
    return int(target) % width


def find_target(
    source: str, names: Sequence[str], target: str | None, *, need_target: bool, selected: bool
) -> int | None:
    """The position of the target column among ``names``.

    A name wins over a position. Where the target is optional and the features are ``selected`` by name, a target
    that is not there is simply absent, even if it looks like a position.

    Raises
    ------
    DataError     if there are no columns at all.
    OptionError   if it is needed and not said, or not there; lists the columns.
    """
    if not names:
        raise DataError(f"expected a table with columns, {source} has no columns", hint="was it written whole?")
    if target in names:
        return names.index(target)
    if target and not (selected and not need_target):
        position = find_position(target, len(names))
        if position is not None:
            return position
    if need_target and not target:
        raise OptionError(
            f"{source}: which column is the target was not said; its columns are {show_names(names)}",
            hint="name the target: a column, or a position such as -1 for the last",
        )
    if target and (need_target or (POSITION.fullmatch(target) and not selected)):
        raise OptionError(
            f"{source} has no column {show(target)}; its columns are {show_names(names)}", hint=suggest(target, names)
        )
    return None


def choose_columns(source: str, names: Sequence[str], selection: Selection) -> tuple[list[int], int | None]:
    """The positions of the features, in order, and of the target.

    Raises
    ------
    DataError     if a wanted column is not there, no feature is left, or there are more than 250,000 columns.
    OptionError   if the target is needed and not said, or a column of ``drop`` or ``categorical`` is not there.
    """
    refuse_very_many(source, len(names))
    there = set(names)
    for option, listed in (("drop", selection.drop), ("categorical", selection.categorical)):
        for name in listed:
            if name not in there:
                raise OptionError(
                    f"{source} has no column {show(name)} for {option}; its columns are {show_names(names)}",
                    hint=suggest(name, names),
                )
    wanted = selection.feature_names
    target = find_target(
        source, names, selection.target, need_target=selection.need_target, selected=bool(selection.feature_names)
    )
    if target is not None and names[target] in selection.drop:
        raise OptionError(f"{source}: the target {show(names[target])} is one of the columns to drop")
    chosen = select_features(source, names, wanted, target)
    dropped = set(selection.drop)
    chosen = [i for i in chosen if names[i] not in dropped]
    if not chosen:
        raise DataError(f"{source} has no column left besides the target: all were dropped")
    return chosen, target


def select_features(source: str, names: Sequence[str], wanted: Sequence[str], target: int | None) -> list[int]:
    """The positions of the features: those of ``wanted`` in that order, or all but the target where it is empty.

    Raises
    ------
    DataError     if wanted columns are missing, all of which it names, or if no feature is left.
    OptionError   if the target is one of the features: a net must not see what it predicts.
    """
    if not wanted:
        chosen = [i for i in range(len(names)) if i != target]
        if not chosen:
            raise DataError(f"{source} has no column besides the target {show(names[target or 0])}")
        return chosen
    at = {name: i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in at]
    hint = f"its columns are {show_names(names[:8])}{', ...' * (len(names) > 8)}"
    if missing and len(wanted) == 1:
        raise DataError(f"{source} has no column {show(missing[0])}", hint=suggest(missing[0], names) or hint)
    if missing:
        raise DataError(
            f"{source} lacks {len(missing)} of the {len(wanted)} columns that are needed: {show_names(missing)}",
            hint=suggest(missing[0], names) or hint,
        )
    chosen = [at[name] for name in wanted]
    if target in chosen:
        raise OptionError(f"{source}: the target {show(names[target])} is one of the features")
    return chosen


def check_width(where: str, width: int, wanted: Sequence[str]) -> None:
    """Refuse an array without names whose number of columns is not that of ``wanted``, unless this is empty."""
    if wanted and width != len(wanted):
        raise DataError(f"{where}: expected {len(wanted)} feature columns, got {width}")
