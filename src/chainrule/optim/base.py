"""What every optimiser shares: its settings, moments over the arena, clipping."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final, NamedTuple

from chainrule.arena import Arena, ArenaPart, TouchedVectors
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.optim.parameter_groups import ParameterGroup, Segment, cut_at_slots, segments
from chainrule.optim.schedules import Schedule, as_schedule
from chainrule.options import real_number
from chainrule.plain_text import count_of

# Where launches run side by side, a large arena is updated by several: each parameter of OWN_LAUNCH numbers or more has
# one of its own, which starts as soon as its gradient is there, beside the backward pass of the layers below. Smaller
# ones share one: of Adam 28 bytes a number pass through memory, which is done in the time that a launch takes.
LARGE_ARENA: Final = 8 << 20  # numbers, of all members
OWN_LAUNCH: Final = 1 << 20


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
    lazy_embedding : update only those vectors of an embedding whose categories are in the batch, they, their moments
        and their decay. By default all are updated, as moments move a vector for some steps after its last gradient;
        where that makes no difference, without momentum and decay, only those are updated in any case
    """

    lr: float | Schedule = 1e-3
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None
    groups: Sequence[ParameterGroup] = ()
    lazy_embedding: bool = False

    def __post_init__(self) -> None:
        as_schedule(self.lr)  # checks it
        real_number("weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            real_number("clip_norm", self.clip_norm, above=True)
        if not isinstance(self.lazy_embedding, bool):
            raise OptionError(f"lazy_embedding: expected True or False, got {self.lazy_embedding!r:.60}")

    @property
    def leaves_out_untouched(self) -> bool:
        """Whether vectors of an embedding whose gradient is 0 stay as they are."""
        return self.lazy_embedding

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
        touched: Array | None = None,
        factors: Array | None = None,
    ) -> None:
        """One step on one segment, whose slices of all arrays these are; of a table on its ``touched`` vectors alone,
        if they are given. ``factors`` are kept those of ``params``, see the contract."""

    def bind(
        self,
        parameters: Arena,
        gradients: Arena,
        moments: Moments | None = None,
        *,
        first_member: int = 0,
        touched: TouchedVectors | None = None,
        factors: Arena | None = None,
        by_layer: bool = False,
    ) -> BoundOptimizer:
        """This optimiser attached to these arenas, continuing from ``moments``, by default from zeros.

        Parameters
        ----------
        first_member : the number of the first of the nets whose arenas these are
        touched : says which vectors have gradients; without it all are updated
        factors : the parameters as products read them, if that is another arena: kept in step by every update
        by_layer : the gradients come layer by layer, so that those of a layer need not wait for all others
        """
        moments = Moments() if moments is None else moments
        return BoundOptimizer(
            self, parameters, gradients, moments, first_member, touched, factors=factors, by_layer=by_layer
        )


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


class _Work(NamedTuple):
    """What is updated by one call: a segment, its slices of all arenas, and what of the call is not always given."""

    segment: Segment
    arrays: list[Array]
    touched: Array | None
    factors: dict[str, Array]


class BoundOptimizer:
    """An optimiser and its moments; ``step`` reads the gradients and writes the parameters.

    Attributes
    ----------
    fixed : parts of the parameters whose gradients it does not read
    """

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: Arena,
        gradients: Arena,
        moments: Moments,
        first_member: int = 0,
        touched: TouchedVectors | None = None,
        *,
        factors: Arena | None = None,
        by_layer: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.backend = parameters.backend
        self.gradients = gradients.by_member
        self.moments = moments.take(optimizer.moment_names(), parameters)
        arenas = [parameters, gradients, *self.moments.values()]
        members = range(first_member, first_member + parameters.members)
        places = touched.places if touched is not None and optimizer.leaves_out_untouched else {}
        cuts = segments(parameters.layout, optimizer.groups, optimizer.weight_decay, members=members, tables=places)
        size = parameters.layout.size * parameters.members
        if by_layer and self.backend.runs_side_by_side and optimizer.clip_norm is None and size > LARGE_ARENA:
            cuts = cut_at_slots(cuts, parameters.layout, least=-(-OWN_LAUNCH // parameters.members))
        self._work = [
            _Work(
                segment,
                [arena.part(segment.part, segment.members) for arena in arenas],
                touched.of(segment.table, segment.members) if touched is not None and segment.table else None,
                {} if factors is None else {"factors": factors.part(segment.part, segment.members)},
            )
            for segment in cuts
            if not segment.is_fixed
        ]
        fixed = [ArenaPart(segment.part, segment.members) for segment in cuts if segment.is_fixed]
        self.fixed = fixed if optimizer.clip_norm is None else []  # which reads the norm of all gradients

    def step(self, lr: Array, state: Array) -> None:
        """Clip, then update every segment."""
        if self.optimizer.clip_norm is not None:
            self.backend.clip_by_global_norm(self.gradients, max_norm=self.optimizer.clip_norm)
        for segment, (params, grads, *moments), touched, factors in self._work:
            self.optimizer.update(self.backend, params, grads, moments, lr, state, segment, touched, **factors)
