"""Parameter groups: factors of the learning rate and the weight decay, and the slices of the arena that have them."""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chainrule.arena import Layout, Slot, is_trained
from chainrule.errors import OptionError
from chainrule.options import real_number, whole_number
from chainrule.plain_text import show


@dataclass(frozen=True)
class ParameterGroup:
    """Factors of the learning rate and of the weight decay, for the parameters whose name matches.

    A slower first layer; all biases six times as fast; nothing but the first layer decayed; a frozen layer::

        Adam(groups=[ParameterGroup("dense0.*", lr_factor=0.1)])
        Adam(groups=[ParameterGroup("*.b", lr_factor=6, decay_factor=0), ParameterGroup("dense0.W", lr_factor=0.1)])
        AdamW(weight_decay=0.1, groups=[ParameterGroup("dense0.W"), ParameterGroup("*", decay_factor=0)])
        Adam(groups=[ParameterGroup("dense1.*", lr_factor=0)])
        Adam(groups=[ParameterGroup("*.W", by_fan_in=True), ParameterGroup("*.b", lr_factor=0.1, decay_factor=0)])

    The first group that matches decides the factors. Without one: factors 1, but neither biases nor the gain and bias
    of a normalisation nor the factors of a Scale are decayed, as is usual: decaying them regularises nothing. What has
    the same factors and lies side by side in the arena is one kernel of an update.

    Parameters
    ----------
    pattern : of names in ``net.parameters()``: * matches any characters, ? one, [..] one of these
    lr_factor, decay_factor : from 0 up; 0 freezes the parameters, or leaves them undecayed
    rows : (start, stop), only these rows of a W, those of some of the layer's inputs; None for all
    members : (start, stop), only these members of an ensemble, by their numbers; None for all. What ``lr_factor=0``
        freezes in some members is not trained at all: moments stay as they are too, and without ``clip_norm`` its
        gradients need not be computed
    by_fan_in : divide ``lr_factor`` by sqrt(n_in) for each W (n_in, n_out). Adam moves every weight by about the
        learning rate, and so z = x @ W by up to n_in times as much: this lets one rate suit layers of any width.
        Parameters other than a W keep ``lr_factor``
    """

    pattern: str
    lr_factor: float = 1.0
    decay_factor: float = 1.0
    by_fan_in: bool = False
    rows: tuple[int, int] | None = None
    members: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        real_number("lr_factor", self.lr_factor)
        real_number("decay_factor", self.decay_factor)
        if not isinstance(self.by_fan_in, bool):
            raise OptionError(f"by_fan_in: expected True or False, got {self.by_fan_in!r:.60}")
        for name in ("rows", "members"):
            if (stretch := getattr(self, name)) is not None:
                start, stop = (whole_number(name, number, low=0) for number in stretch)
                if not start < stop:
                    raise OptionError(f"{name}: expected (start, stop) with start below stop, got {stretch!r:.60}")

    def rate_of(self, name: str, slot: Slot) -> float:
        """The factor of the learning rate of this parameter."""
        divides = self.by_fan_in and name.endswith(".W")
        return self.lr_factor / math.sqrt(slot.shape[-2]) if divides else self.lr_factor

    def covers(self, name: str, row: int) -> bool:
        """Whether it is for this row of this parameter."""
        matches = fnmatch.fnmatchcase(name, self.pattern)
        return matches and (self.rows is None or (name.endswith(".W") and self.rows[0] <= row < self.rows[1]))


NOT_DECAYED = ("*.b", "*.bias", "*.gain", "*.s")
MAX_LISTED = 20  # names of parameters in a hint
DEFAULT_GROUPS = (*(ParameterGroup(pattern, decay_factor=0.0) for pattern in NOT_DECAYED), ParameterGroup("*"))


class Segment(NamedTuple):
    """A slice of the arena whose parameters have the same factors."""

    part: slice
    lr_factor: float
    weight_decay: float
    members: slice | None = None  # of an ensemble, counted from its first; None for all
    is_fixed: bool = False  # never updated
    table: str = ""  # the table of vectors that it is, if updates may leave some of them out


def segments(
    layout: Layout,
    groups: Sequence[ParameterGroup],
    weight_decay: float,
    *,
    members: range = range(1),
    tables: Container[str] = (),
) -> list[Segment]:
    """The arena cut into slices of equal factors, without statistics; one if all are equal.

    ``members`` are the numbers of those whose arenas these are; ``tables`` get a slice each. OptionError for a group
    whose pattern matches no parameter.
    """
    _refuse_unmatched(groups, [name for name in layout.slots if is_trained(name)])
    borders = {border for g in groups if g.members is not None for border in g.members if border in members}
    starts = sorted({members.start, *borders})
    found: list[Segment] = []
    for start, stop in itertools.pairwise([*starts, members.stop]):
        own = [g for g in groups if g.members is None or g.members[0] <= start < g.members[1]]
        which = None if len(starts) == 1 else slice(start - members.start, stop - members.start)
        found += [
            segment._replace(members=which) for segment in _segments_of_members(layout, own, weight_decay, tables)
        ]
    return _joined(found, len(starts))


def cut_at_slots(cuts: Sequence[Segment], layout: Layout, *, least: int) -> list[Segment]:
    """Segments cut further: a parameter of ``least`` numbers or more has one to itself, others between them share one.

    The updates are the same number by number. Small ones stay together, apart from the large: the biases of all layers
    lie side by side, and with them a large one would have to wait for the gradient of the last.
    """
    large = [slot for slot in layout.slots.values() if slot.extent >= least]
    borders = sorted({border for slot in large for border in (slot.start, slot.start + slot.extent)})
    found: list[Segment] = []
    for segment in cuts:
        start, stop = segment.part.start, segment.part.stop
        ends = [start, *(border for border in borders if start < border < stop), stop]
        parts = [segment.part] if segment.table else itertools.starmap(slice, itertools.pairwise(ends))
        found += [segment._replace(part=part) for part in parts]
    return found


def _joined(found: Sequence[Segment], runs: int) -> list[Segment]:
    """One segment in the place of those that all runs of members have."""
    of_all = [segment._replace(members=None) for segment in found]
    everywhere = {i: of_all.index(segment) for i, segment in enumerate(of_all) if of_all.count(segment) == runs}
    return [of_all[i] if i in everywhere else segment for i, segment in enumerate(found) if everywhere.get(i, i) == i]


def _segments_of_members(
    layout: Layout, groups: Sequence[ParameterGroup], weight_decay: float, tables: Container[str]
) -> list[Segment]:
    found: list[Segment] = []
    for name, slot in layout.slots.items():
        if not is_trained(name):
            continue
        for row, part in _cuts(name, slot, groups):
            group = next(g for g in (*groups, *DEFAULT_GROUPS) if g.covers(name, row))
            is_fixed = group.lr_factor == 0 and group.members is not None
            factors = group.rate_of(name, slot), weight_decay * group.decay_factor
            if name in tables:  # without the padding behind it
                found.append(Segment(slice(slot.start, slot.start + slot.size), *factors, None, is_fixed, name))
                continue
            new = Segment(part, *factors, is_fixed=is_fixed)
            if found and found[-1].part.stop == part.start and found[-1][1:] == new[1:]:
                found[-1] = found[-1]._replace(part=slice(found[-1].part.start, part.stop))
            else:
                found.append(new)
    return found


def _cuts(name: str, slot: Slot, groups: Sequence[ParameterGroup]) -> Iterator[tuple[int, slice]]:
    """The parts of a slot with rows of one group each: their first row, and their place in the arena."""
    borders = {row for g in groups if g.rows is not None and g.covers(name, g.rows[0]) for row in g.rows}
    first = [0, *sorted(row for row in borders if 0 < row < slot.shape[0])] if borders else [0]
    size = slot.size // slot.shape[0]
    ends = [*(slot.start + row * size for row in first[1:]), slot.start + slot.extent]
    for row, end in zip(first, ends, strict=True):
        yield row, slice(slot.start + row * size, end)


def _refuse_unmatched(groups: Sequence[ParameterGroup], names: Sequence[str]) -> None:
    for group in groups:
        if not any(fnmatch.fnmatchcase(name, group.pattern) for name in names):
            listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
            raise OptionError(
                f"groups: expected a pattern that matches a parameter, got {show(group.pattern)}",
                hint=f"the parameters are {listed}",
            )
