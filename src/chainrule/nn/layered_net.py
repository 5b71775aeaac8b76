"""Layers in a row, from prepared rows to logits and back: parameters, gradients, memory, passes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np

from chainrule.arena import Arena, Layout, is_trained
from chainrule.backends import backend as make_backend
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.host_memory import out_of_memory_hint, require_free_memory
from chainrule.nn.layers.base import Binding, Layer, Memory, Node, Use, arrange, parameter_shapes, walk
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layout import Plan, lay_out
from chainrule.nn.losses.names import Loss, LossName, description_of, find_loss, name_of
from chainrule.nn.passes import Pass, new_state
from chainrule.options import one_of, whole_number
from chainrule.random import check_seed

DTYPES = ("float32", "float64")
DtypeLike: TypeAlias = str | type[np.floating[Any]] | np.dtype[Any]  # "float32", np.float32
INITIALIZING = 32  # bytes per weight while it is drawn: words of 64 bits, and what becomes of them


class LayeredNet:
    """What :class:`~chainrule.nn.network.Network` is between prepared rows and logits; see there for the parameters."""

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
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        top = _last_of(layers)
        if not isinstance(backend, Backend | None):
            raise OptionError(f"backend: expected a Backend, got {backend!r}", hint='backend=cr.backend("cpu")')
        self.backend = backend if backend is not None else make_backend("cpu")
        self.layers = tuple(layers)
        self.n_in = whole_number("n_in", n_in)
        self.nodes = _arranged(self.layers, self.n_in)
        self.n_out = top.n_out
        # complex128 is not offered and works: the gradient check by complex step runs the forward pass in it.
        name = dtype_name(dtype)
        self.dtype: np.dtype[Any] = np.dtype(one_of("dtype", name, DTYPES) if name != "complex128" else name)
        self.seed = check_seed(seed)
        self.loss = find_loss(loss, self.n_out)
        self.loss_name = name_of(self.loss)
        self.loss.prove(self.backend)
        self._gradients: Arena | None = None
        self._factors: Arena | None = None
        self._prediction_plan: Plan | None = None
        self._parameters = self._new_parameters(parameters)

    def _new_parameters(self, given: Mapping[str, Any] | None) -> Arena:
        """The parameters ``given``, else the initial ones of the seed."""
        layout = Layout(parameter_shapes(self.nodes), self.dtype)
        if self.backend.free_memory() is None:  # on the host, which promises more than it has
            largest = 0 if given is not None else max(slot.size for slot in layout.slots.values())
            require_free_memory(layout.size * self.dtype.itemsize + INITIALIZING * largest, doing="making a net")
        arena = Arena(self.backend, layout)
        if given is not None:
            arena.assign(given)
            return arena
        with self.backend.running():
            for node in walk(self.nodes):
                names = node.layer.parameter_shapes(node.n_in)
                own = {name: arena[f"{node.name}.{name}"] for name in names}
                node.layer.initialize(self.backend, own, seed=self.seed, number=node.number)
        return arena

    def __repr__(self) -> str:
        widths = " -> ".join(map(str, self.widths))
        facts = [
            widths,
            *_kinds_of(self.nodes),
            self.loss.shown_as or self.loss_name,
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

        Every forward pass renews a copy, so it never has to be kept in step.
        """
        storage = self.backend.storage(self.dtype)
        if storage == self.dtype:
            return self._parameters
        if self._factors is None:
            self._factors = Arena(self.backend, self._parameters.layout.astype(storage))
        return self._factors

    @property
    def gradient_arena(self) -> Arena:
        """The memory of the gradients: made at the first access, overwritten by every backward pass."""
        if self._gradients is None:
            self._gradients = self._parameters.like()
        return self._gradients

    @property
    def prediction_plan(self) -> Plan:
        """Where the intermediate results of a prediction lie; made at the first access."""
        if self._prediction_plan is None:
            self._prediction_plan = Plan(self.nodes, self._memories(training=False))
        return self._prediction_plan

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(slot.size for name, slot in self._parameters.layout.slots.items() if is_trained(name))

    def describe(self) -> dict[str, Any]:
        """What the net is, as values of JSON: all that makes it but its parameters and its preparation."""
        return {
            "n_in": self.n_in,
            "layers": [layer.describe() for layer in self.layers],
            "loss": description_of(self.loss),
            "dtype": str(self.dtype),
            "seed": self.seed,
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

    def bind(self, n: int, *, training: bool, state: Array = None, keep_outputs: bool = False) -> Pass:
        """The forward and the backward pass on a batch of up to ``n`` rows, in memory of their own.

        Parameters
        ----------
        training : whether layers do what they do in training (drop out, measure) and there is room for gradients
        state : of the step, for layers that draw random numbers or keep statistics; by default that of step 0
        keep_outputs : of a prediction, every layer's output stays as it is until the next pass, to be read
        """
        be = self.backend
        if training or keep_outputs:
            memory = lay_out(be, self._memories(training=training), n)
        else:
            memory = self.prediction_plan.lay_out(be, n)
        state = new_state(be) if state is None else state
        gradients = self.gradient_arena if training else None
        binding = Binding(be, self._parameters, self.factor_arena, gradients, state, self.seed)
        return Pass(self.nodes, binding, memory, n)

    def memory_of(self, node: Node, *, training: bool) -> Memory:
        """What one of the layers asks for to work on a batch."""
        return node.layer.memory(node.n_in, Use(self.dtype, self.backend.storage(self.dtype), training, node.is_last))

    def _memories(self, *, training: bool) -> dict[str, Memory]:
        return {node.name: self.memory_of(node, training=training) for node in walk(self.nodes)}

    @property
    def totals_dtype(self) -> Any:
        """The dtype of totals: float64 (complex128 under the complex step)."""
        return np.result_type(self.dtype, np.float64)

    def evaluation_rows(self, n: int) -> int:
        """How many of ``n`` rows to pass through the net at a time when no gradient is wanted."""
        widest = max(self.n_in, *(node.n_out for node in walk(self.nodes)))
        return min(n, max(64, self.backend.working_set // widest))


def dtype_name(dtype: Any) -> Any:
    """``np.float32`` and its like as "float32"; anything else as it is."""
    is_numpy = isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, np.generic))
    return np.dtype(dtype).name if is_numpy else dtype


def _last_of(layers: Sequence[Layer]) -> Dense:
    """The layer that gives the logits; OptionError unless it is one that can, and all are layers."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise OptionError(f"expected a layer, got {layer!r}", hint="cr.Dense(256, 'relu'), for example")
    top = layers[-1] if layers else None
    if not isinstance(top, Dense) or top.activation != "identity":
        raise OptionError(
            f"layers: expected a Dense of activation 'identity' as the last, got {'none' if top is None else top}",
            hint="the losses work from logits: end with cr.Dense(outputs)",
        )
    return top


def _arranged(layers: Sequence[Layer], n_in: int) -> tuple[Node, ...]:
    """The layers in their places; OptionError if one above the first takes codes."""
    nodes = arrange(layers, n_in)
    for node in walk(nodes):
        if node is not nodes[0] and node.layer.codes(training=True):
            raise OptionError(f"{node.name} takes codes, which only X holds: it must be the first layer")
    return nodes


def _kinds_of(nodes: Sequence[Node]) -> list[str]:
    """The activations and the layers besides the dense ones, each once, in the order in which a batch meets them."""
    found = [getattr(node.layer, "activation", node.layer.kind) for node in walk(nodes)]
    return [name for name in dict.fromkeys(found) if name != "identity"]
