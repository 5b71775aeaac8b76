"""Layers in a row, from prepared rows to logits and back: parameters, gradients, memory, passes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from chainrule.arena import Arena, ArenaPart, Layout, TouchedVectors, is_trained
from chainrule.backends import backend as make_backend
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.host_memory import out_of_memory_hint, require_free_memory
from chainrule.nn.arranged_layers import arranged, kinds_of, last_of
from chainrule.nn.borders import with_signs
from chainrule.nn.layers.base import Binding, Layer, Memory, Node, Use, parameter_shapes, vectors_of, walk
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.fused import fused
from chainrule.nn.layout import Plan, lay_out
from chainrule.nn.losses.names import Loss, LossName, description_of, find_loss, name_of
from chainrule.nn.passes import NOT_SHARED, Pass, SharedRows, new_state
from chainrule.nn.row_format import DTYPES, DtypeLike, dtype_name, with_members
from chainrule.nn.sizes import widest
from chainrule.options import one_of, whole_number
from chainrule.random import MOST_MEMBERS, check_seed


class LayeredNet:
    """What :class:`~chainrule.nn.network.Network` is between prepared rows and logits; see there for the parameters."""

    _touched: TouchedVectors | None = None  # of a net that was pickled before there were any

    @out_of_memory_hint("use fewer units", doing="making a net")
    def __init__(
        self,
        layers: Sequence[Layer],
        n_in: int,
        *,
        loss: LossName | Loss = "softmax_cross_entropy",
        backend: Backend | None = None,
        dtype: DtypeLike = "float32",
        seed: int = 0,
        members: int = 1,
        member: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        top = last_of(layers)
        if not isinstance(backend, Backend | None):
            raise OptionError(f"backend: expected a Backend, got {backend!r}", hint='backend=cr.backend("cpu")')
        self.backend = backend if backend is not None else make_backend("cpu")
        self.layers = tuple(layers)
        self.n_in = whole_number("n_in", n_in)
        self.nodes = arranged(self.layers, self.n_in)  # as described; a pass binds those of `fused_nodes`
        self.n_out = top.n_out
        # complex128 is not offered and works: the gradient check by complex step runs the forward pass in it.
        name = dtype_name(dtype)
        self.dtype: np.dtype[Any] = np.dtype(one_of("dtype", name, DTYPES) if name != "complex128" else name)
        self.seed = check_seed(seed)
        self.first_member = whole_number("member", member, low=0, below=MOST_MEMBERS)
        self.members = whole_number("members", members, below=MOST_MEMBERS + 1 - self.first_member)
        self.loss = find_loss(loss, self.n_out)
        self.loss_name = name_of(self.loss)
        self.loss.prove(self.backend)
        self._gradients: Arena | None = None
        self._touched = None
        self._factors: Arena | None = None
        self._prediction_plan: Plan | None = None
        self._parameters = self._new_parameters(parameters)

    def _new_parameters(self, given: Mapping[str, Any] | None) -> Arena:
        """The parameters ``given``, else the initial ones of the seed."""
        layout = Layout(parameter_shapes(self.nodes), self.dtype)
        if self.backend.free_memory() is None:  # on the host, which promises more than it has
            require_free_memory(self.members * layout.size * self.dtype.itemsize, doing="making a net")
        arena = Arena(self.backend, layout, self.members)
        if given is not None:
            arena.assign(given)
            return arena
        with self.backend.running():
            for j in range(self.members):
                self._initialize(arena.member(j), self.first_member + j)
        return arena

    def _initialize(self, arena: Arena, member: int) -> None:
        for node in walk(self.nodes):
            names = node.layer.parameter_shapes(node.n_in)
            own = {name: arena[f"{node.name}.{name}"] for name in names}
            node.layer.initialize(self.backend, own, seed=self.seed, number=node.number, member=member)

    def __repr__(self) -> str:
        facts = [
            " -> ".join(map(str, self.widths)),
            *kinds_of(self.nodes),
            self.loss.shown_as or self.loss_name,
            *([] if self.members == 1 else [f"{self.members} members"]),
            f"{self.parameter_count:,} parameters",
        ]
        return f"<{type(self).__name__} {', '.join(facts)}, {self.dtype} on {self.backend.device}>"

    # ---- parameters -------------------------------------------------------------------------------

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of X, then of each dense layer's output."""
        return (self.n_in, *(node.n_out for node in walk(self.nodes) if isinstance(node.layer, Dense)))

    def parameters(self) -> dict[str, Array]:
        """{"dense0.W": array, "dense0.b": array, "dense1.W": ...}: views, so writing into them changes the net."""
        return self._by_layer(self._parameters)

    def _by_layer(self, arena: Arena) -> dict[str, Array]:
        """The parameters in an arena, layer by layer, without the running statistics that lie beside them."""
        return {
            name: arena[name]
            for node in walk(self.nodes)
            for name in sorted(f"{node.name}.{parameter}" for parameter in node.layer.parameter_shapes(node.n_in))
            if is_trained(name)
        }

    def assign_parameters(self, values: Mapping[str, Any]) -> None:
        """Overwrite these parameters, by name, with arrays from the host; the others stay.

        ShapeError for a name that does not exist or a shape that does not fit; then nothing is changed.
        """
        self._parameters.assign(values, partly=True)

    @property
    def parameter_arena(self) -> Arena:
        """The memory of the parameters, for an optimiser."""
        return self._parameters

    @property
    def factor_arena(self) -> Arena:
        """The weights as products read them: the parameters themselves, or their copy rounded to the storage dtype.

        Every forward pass renews a copy; steps that train leave that to their update, which has the weights at hand.
        """
        storage = self.backend.storage(self.dtype)
        if storage == self.dtype:
            return self._parameters
        if self._factors is None:
            self._factors = Arena(self.backend, self._parameters.layout.astype(storage), self.members)
        return self._factors

    @property
    def gradient_arena(self) -> Arena:
        """The memory of the gradients: made at the first access, overwritten by every backward pass."""
        if self._gradients is None:
            self._gradients = self._parameters.like()
        if self._touched is None and (counts := vectors_of(self.nodes)):
            self._touched = TouchedVectors(self.backend, counts, self.members)
        return self._gradients

    @property
    def touched_vectors(self) -> TouchedVectors | None:
        """Which vectors of embeddings have gradients there that may not be 0; None without embeddings."""
        _ = self.gradient_arena  # they are made together
        return self._touched

    @property
    def fused_nodes(self) -> tuple[Node, ...]:
        """The layers as a pass binds them: some in a row as one, if the backend has something faster for them."""
        return fused(self.nodes, self.backend, self.dtype)

    @property
    def prediction_plan(self) -> Plan:
        """Where the intermediate results of a prediction lie; made at the first access."""
        if self._prediction_plan is None:
            nodes = self.fused_nodes
            self._prediction_plan = Plan(nodes, self._memories(nodes, training=False))
        return self._prediction_plan

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained, of all members."""
        of_one = sum(slot.size for name, slot in self._parameters.layout.slots.items() if is_trained(name))
        return self.members * of_one

    def member(self, j: int) -> Self:
        """Member ``j`` of an ensemble as a net of its own, in the same memory: to train it is to train the ensemble's.

        It is the net of that seed with ``member=j``, whose initial weights, batches and masks are those of the member.
        """
        j = whole_number("member", j, low=0, below=self.members)
        if self.members == 1:
            return self
        other = copy.copy(self)
        other.members, other.first_member = 1, self.first_member + j
        other._parameters = self._parameters.member(j)
        other._gradients = None if self._gradients is None else self._gradients.member(j)
        other._touched = None if self._touched is None else self._touched.member(j)
        other._factors = None if self._factors is None else self._factors.member(j)
        return other

    def new_totals(self, batches: int) -> Array:
        """The totals of so many batches, (batches, 3), or (k, batches, 3) of k members; their values undefined."""
        return self.backend.empty(with_members((batches, 3), self.members), self.totals_dtype)

    def describe(self) -> dict[str, Any]:
        """What the net is, as values of JSON: all that makes it but its parameters and its preparation."""
        return {
            "n_in": self.n_in,
            "layers": [layer.describe() for layer in self.layers],
            "loss": description_of(self.loss),
            "dtype": str(self.dtype),
            "seed": self.seed,
            **({} if self.members == 1 else {"members": self.members}),
            **({} if self.first_member == 0 else {"member": self.first_member}),
        }

    def copy(self, *, backend: Backend | None = None, dtype: str | None = None) -> Self:
        """A net that is the same but for the backend or the dtype."""
        other = copy.copy(self)  # of the same class, so that what a subclass overrides is kept
        LayeredNet.__init__(
            other,
            self.layers,
            self.n_in,
            loss=self.loss,
            backend=backend or self.backend,
            dtype=dtype or str(self.dtype),
            seed=self.seed,
            members=self.members,
            member=self.first_member,
            parameters=self._parameters.download(),
        )
        return other

    def on_parameters(self, parameters: Arena) -> Self:
        """This net with other memory for its parameters, of the same layout; all else is shared."""
        _ = self.factor_arena  # made here, so that both share it: every forward pass renews it
        other = copy.copy(self)
        other._parameters = parameters
        return other

    # ---- forward and backward ---------------------------------------------------------------------

    def codes(self, *, training: bool = False) -> dict[int, int]:
        """{column of X: how many codes it may hold, from 0 up}; in a prediction there may be one more."""
        return self.layers[0].codes(training=training)

    def bind(
        self,
        n: int,
        *,
        training: bool,
        state: Array = None,
        keep_outputs: bool = False,
        own_rows: bool = False,
        fixed: Sequence[ArenaPart] = (),
        renews_factors: bool = True,
    ) -> Pass:
        """The forward and the backward pass on a batch of up to ``n`` rows, in memory of their own.

        Parameters
        ----------
        training : whether layers do what they do in training (drop out, measure) and there is room for gradients
        state : of the step, for layers that draw random numbers or keep statistics; by default that of step 0
        keep_outputs : every layer has an output of its own, which stays as it is until the next pass, to be read
        own_rows : each member of an ensemble has rows of its own, (k, n, n_in); else all have the same, (n, n_in)
        fixed : parts of the parameters whose gradients no one reads, so that they need not be computed
        renews_factors : whether every forward pass renews the copy of the weights that products read, if there is one
        """
        be, k, nodes = self.backend, self.members, self.nodes if keep_outputs else self.fused_nodes
        if training or keep_outputs:
            memory = lay_out(be, self._memories(nodes, training=training, n=n), n, k)
        else:
            memory = self.prediction_plan.lay_out(be, n, k)
        state = new_state(be) if state is None else state
        gradients, touched = (self.gradient_arena, self.touched_vectors) if training else (None, None)
        memories = self._parameters, self.factor_arena, gradients, touched
        binding = Binding(be, *memories, state, self.seed, self.first_member, fixed, renews_factors)
        shared = NOT_SHARED if k == 1 or own_rows else self._shared_rows(n, training=training)
        return Pass(nodes, binding, memory, n, shared)

    def _shared_rows(self, n: int, *, training: bool) -> SharedRows:
        be, dtype = self.backend, self.dtype if self.codes() else self.backend.storage(self.dtype)
        x = be.empty((self.members, n, self.n_in), dtype)
        if training:
            return SharedRows(x)
        return SharedRows(x, functools.partial(self.loss.mean_of_members, be), be.empty((n, self.n_out), self.dtype))

    def memory_of(self, node: Node, *, training: bool) -> Memory:
        """What one of the layers asks for to work on a batch."""
        return node.layer.memory(node.n_in, Use(self.dtype, self.backend.storage(self.dtype), training, node.is_last))

    def _memories(self, nodes: Sequence[Node], *, training: bool, n: int = 0) -> dict[str, Memory]:
        memories = {node.name: self.memory_of(node, training=training) for node in walk(nodes)}
        return with_signs(memories, nodes, self.backend, self.dtype, n) if training else memories

    @property
    def totals_dtype(self) -> Any:
        """The dtype of totals: float64 (complex128 under the complex step)."""
        return np.result_type(self.dtype, np.float64)

    def evaluation_rows(self, n: int) -> int:
        """How many of ``n`` rows to pass through the net at a time when no gradient is wanted."""
        return min(n, max(64, self.backend.working_set // (widest(self.nodes, self.n_in) * self.members)))
