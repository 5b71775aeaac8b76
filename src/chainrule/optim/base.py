"""What every optimiser shares: parameter groups, moments over the arena, clipping."""

from __future__ import annotations

import abc
import fnmatch
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from chainrule.arena import Arena, ArenaPart, Layout, Slot, is_trained
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.optim.schedules import Schedule, as_schedule
from chainrule.options import real_number, whole_number
from chainrule.plain_text import count_of, show


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


def segments(
    layout: Layout, groups: Sequence[ParameterGroup], weight_decay: float, *, members: range = range(1)
) -> list[Segment]:
    """The arena cut into slices of equal factors, without statistics; one if all are equal.

    ``members`` are the numbers of those whose arenas these are. OptionError for a group whose pattern matches no
    parameter.
    """
    _refuse_unmatched(groups, [name for name in layout.slots if is_trained(name)])
    borders = {border for g in groups if g.members is not None for border in g.members if border in members}
    starts = sorted({members.start, *borders})
    found: list[Segment] = []
    for start, stop in itertools.pairwise([*starts, members.stop]):
        own = [g for g in groups if g.members is None or g.members[0] <= start < g.members[1]]
        which = None if len(starts) == 1 else slice(start - members.start, stop - members.start)
        found += [segment._replace(members=which) for segment in _segments_of_members(layout, own, weight_decay)]
    return _joined(found, len(starts))


def _joined(found: Sequence[Segment], runs: int) -> list[Segment]:
    """One segment in the place of those that all runs of members have."""
    of_all = [segment._replace(members=None) for segment in found]
    everywhere = {i: of_all.index(segment) for i, segment in enumerate(of_all) if of_all.count(segment) == runs}
    return [of_all[i] if i in everywhere else segment for i, segment in enumerate(found) if everywhere.get(i, i) == i]


def _segments_of_members(layout: Layout, groups: Sequence[ParameterGroup], weight_decay: float) -> list[Segment]:
    found: list[Segment] = []
    for name, slot in layout.slots.items():
        if not is_trained(name):
            continue
        for row, part in _cuts(name, slot, groups):
            group = next(g for g in (*groups, *DEFAULT_GROUPS) if g.covers(name, row))
            is_fixed = group.lr_factor == 0 and group.members is not None
            new = Segment(part, group.rate_of(name, slot), weight_decay * group.decay_factor, is_fixed=is_fixed)
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


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """Settings of an optimiser; :meth:`bind` attaches it to the arenas of a net.

    Parameters
    ----------
    lr : a number, or a schedule
    weight_decay : from 0 up, of ``*.W`` and the tables of embeddings (see ParameterGroup). In the gradient,
        dW + weight_decay W, which is that of the loss + (weight_decay / 2) sum(W^2); AdamW subtracts lr weight_decay W
        separately instead
    clip_norm : the largest norm of the whole gradient, or None for no clipping
    groups : ParameterGroups; the first that matches a parameter's name decides
    """

    lr: float | Schedule = 1e-3
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None
    groups: Sequence[ParameterGroup] = ()

    def __post_init__(self) -> None:
        as_schedule(self.lr)  # checks it
        real_number("weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            real_number("clip_norm", self.clip_norm, above=True)

    @property
    def schedule(self) -> Schedule:
        """The learning rate over the run."""
        return as_schedule(self.lr)

    @abc.abstractmethod
    def moment_names(self) -> tuple[str, ...]:
        """The arrays, in the parameters' layout, that this optimiser keeps from step to step."""

    @abc.abstractmethod
    def update(
        self,
        backend: Backend,
        params: Array,
        grads: Array,
        moments: Sequence[Array],
        lr: Array,
        state: Array,
        segment: Segment,
    ) -> None:
        """One step on one segment, whose slices of all arrays these are."""

    def bind(
        self, parameters: Arena, gradients: Arena, moments: Moments | None = None, *, first_member: int = 0
    ) -> BoundOptimizer:
        """This optimiser attached to these arenas, continuing from ``moments``, by default from zeros."""
        moments = Moments() if moments is None else moments
        return BoundOptimizer(self, parameters, gradients, moments, first_member)


class Moments:
    """What an optimiser keeps from step to step: its moments, and how many steps it has made.

    Passed from one fit to the next (``Trainer(moments=...)``), they make the two one: Adam's bias correction continues.

    Attributes
    ----------
    steps : updates made so far
    arenas : {name: array in the parameters' layout}, of the last fit
    """

    def __init__(self) -> None:
        self.steps = 0
        self.arenas: dict[str, Arena] = {}

    def __repr__(self) -> str:
        kept = ", ".join(f"{name} of {arena.layout.size:,} numbers" for name, arena in self.arenas.items())
        return f"<Moments after {count_of(self.steps, 'step')}: {kept or 'none'}>"

    def take(self, names: Sequence[str], parameters: Arena) -> dict[str, Arena]:
        """The arenas of these ``names``, zeros if there are none yet, on the device of the parameters.

        OptionError if they are those of another net or optimiser.
        """
        if not self.steps:
            self.arenas = {name: parameters.like() for name in names}
        if not self.fits(names, parameters):
            raise OptionError(
                f"moments: expected {', '.join(names) or 'none'} for {parameters.layout.size} numbers, got "
                f"{', '.join(self.arenas) or 'none'} of another optimiser or net",
                hint="start with new ones: Moments()",
            )
        if any(arena.backend is not parameters.backend for arena in self.arenas.values()):
            self.arenas = self.on(parameters.backend).arenas
        return self.arenas

    def fits(self, names: Sequence[str], parameters: Arena) -> bool:
        """Whether an optimiser with moments of these names can continue from here."""
        own = [(arena.layout.slots, arena.layout.dtype, arena.members) for arena in self.arenas.values()]
        wanted = (parameters.layout.slots, parameters.layout.dtype, parameters.members)
        return not self.steps or (tuple(self.arenas) == tuple(names) and all(one == wanted for one in own))

    def on(self, backend: Backend) -> Moments:
        """A copy on another backend."""
        other = Moments()
        other.steps = self.steps
        for name, arena in self.arenas.items():
            other.arenas[name] = Arena(backend, arena.layout, arena.members)
            other.arenas[name].assign(arena.download())
        return other


class BoundOptimizer:
    """An optimiser and its moments; ``step`` reads the gradients and writes the parameters.

    Attributes
    ----------
    fixed : parts of the parameters whose gradients it does not read
    """

    def __init__(
        self, optimizer: Optimizer, parameters: Arena, gradients: Arena, moments: Moments, first_member: int = 0
    ) -> None:
        self.optimizer = optimizer
        self.backend = parameters.backend
        self.gradients = gradients.by_member
        self.moments = moments.take(optimizer.moment_names(), parameters)
        arenas = [parameters, gradients, *self.moments.values()]
        members = range(first_member, first_member + parameters.members)
        cuts = segments(parameters.layout, optimizer.groups, optimizer.weight_decay, members=members)
        self._work = [
            (segment, [arena.part(segment.part, segment.members) for arena in arenas])
            for segment in cuts
            if not segment.is_fixed
        ]
        fixed = [ArenaPart(segment.part, segment.members) for segment in cuts if segment.is_fixed]
        self.fixed = fixed if optimizer.clip_norm is None else []  # which reads the norm of all gradients

    def step(self, lr: Array, state: Array) -> None:
        """Clip, then update every segment."""
        if self.optimizer.clip_norm is not None:
            self.backend.clip_by_global_norm(self.gradients, max_norm=self.optimizer.clip_norm)
        for segment, (params, grads, *moments) in self._work:
            self.optimizer.update(self.backend, params, grads, moments, lr, state, segment)
