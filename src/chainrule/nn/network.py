"""The network: layers in a row, a loss on top, and the two ways through them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arena import Arena, Layout, is_trained
from chainrule.backends import backend as make_backend
from chainrule.backends.contract.backend import Array, Backend
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import OptionError
from chainrule.files.regular_file import FilePath
from chainrule.host_memory import out_of_memory_hint, refuse_what_is_not_free
from chainrule.nn import predictions
from chainrule.nn.inputs.preparation import Preparation, TableLike
from chainrule.nn.inputs.rows import InputReader, Rows, upload_rows
from chainrule.nn.layers.base import Layer, arrange, parameter_shapes, walk
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layout import Plan, use_of
from chainrule.nn.losses.names import Loss, find_loss, name_of
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.predictions import Normal
from chainrule.options import one_of, whole_number
from chainrule.random import check_seed

if TYPE_CHECKING:
    from chainrule.onnx import Agreement

DTYPES = ("float32", "float64")
DRAWING = 32  # bytes a weight while it is drawn: words of 64 bits, and what becomes of them


class Network:
    """Layers in a row and a loss from the logits of the last.

    Parameters
    ----------
    layers : the first one's input first; the last is a Dense of activation "identity", its output is the logits
    n_in : columns of X
    loss : a name of :data:`chainrule.nn.losses.names.LOSSES` ("softmax_cross_entropy", "squared_error", "huber",
        ...), or a loss with options: ``Huber(delta=2.0)``. It says how many outputs it
        wants: ``loss.outputs_for(columns of y)``
    backend : where parameters live and everything is computed; the CPU by default
    dtype : "float32" or "float64"
    seed : initial weights, from 0 to 2^64 - 1
    parameters : every array of ``parameter_arena`` by name, from the host, in the place of initial weights

    ``preparation`` says what happens to rows before the first layer and to predictions after the last; by default
    nothing. Predictions of one net may be asked for from several threads at once; training it may not.

    Raises
    ------
    OptionError   for an option that does not exist.
    OutOfMemoryError   if its parameters do not fit.
    """

    @out_of_memory_hint("use fewer units", doing="making a net")
    def __init__(
        self,
        layers: Sequence[Layer],
        n_in: int,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        backend: Backend | None = None,
        dtype: str = "float32",
        seed: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise OptionError(f"expected a layer, got {layer!r}", hint="cr.Dense(256, 'relu'), for example")
        top = layers[-1] if layers else None
        if not isinstance(top, Dense) or top.activation != "identity":
            raise OptionError("the last layer must be a Dense of activation 'identity': the losses work from logits")
        if not isinstance(backend, Backend | None):
            raise OptionError(f"backend: expected a Backend, got {backend!r}", hint='backend=cr.backend("cpu")')
        self.backend = backend if backend is not None else make_backend("cpu")
        self.layers = tuple(layers)
        self.n_in = whole_number("n_in", n_in)
        self.nodes = arrange(self.layers, self.n_in)
        for node in walk(self.nodes):
            if node is not self.nodes[0] and node.layer.codes(training=True):
                raise OptionError(f"{node.name} takes codes, which X alone has: it must be the first layer")
        self.n_out = top.n_out
        # complex128 is not offered and works: the gradient check by complex step runs the forward pass in it.
        self.dtype = np.dtype(one_of("dtype", dtype, DTYPES) if dtype != "complex128" else dtype)
        self.seed = check_seed(seed)
        self.loss = find_loss(loss, self.n_out)
        self.loss_name = name_of(self.loss)
        self.loss.prove(self.backend)
        self.preparation = Preparation()
        self._gradients: Arena | None = None
        self._factors: Arena | None = None
        self._prediction_plan: Plan | None = None
        layout = Layout(parameter_shapes(self.nodes), self.dtype)
        if self.backend.free_memory() is None:  # on the host, which promises more than it has
            drawn = 0 if parameters is not None else max(slot.size for slot in layout.slots.values())
            refuse_what_is_not_free(layout.size * self.dtype.itemsize + DRAWING * drawn, doing="making a net")
        self._parameters = Arena(self.backend, layout)
        if parameters is not None:
            self._parameters.assign(parameters)
            return
        with self.backend.running():
            for node in walk(self.nodes):
                names = node.layer.parameter_shapes(node.n_in)
                mine = {name: self._parameters[f"{node.name}.{name}"] for name in names}
                node.layer.initialize(self.backend, mine, seed=self.seed, number=node.number)

    def __repr__(self) -> str:
        widths = " -> ".join(str(w) for w in self.widths)
        return f"<{type(self).__name__} {widths}, {self.loss_name}, {self.dtype} on {self.backend.device}>"

    # ---- parameters -------------------------------------------------------------------------------

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of X, then of each dense layer's output."""
        return (self.n_in, *(node.n_out for node in walk(self.nodes) if isinstance(node.layer, Dense)))

    def parameters(self) -> dict[str, Array]:
        """{"dense0.W": array, "dense0.b": array, "dense1.W": ...}: views, so assigning into them changes the net."""
        return self._by_layer(self._parameters)

    def _by_layer(self, arena: Arena) -> dict[str, Array]:
        """The parameters' arrays of an arena, layer by layer; the statistics beside them are left out."""
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
        """The memory of the gradients: made when first asked for, overwritten by every backward pass."""
        if self._gradients is None:
            self._gradients = self._parameters.like()
        return self._gradients

    @property
    def prediction_plan(self) -> Plan:
        """Where the intermediate results of a prediction lie; made when first asked for, and the same ever after."""
        if self._prediction_plan is None:
            self._prediction_plan = Plan(
                self.nodes, lambda node: node.layer.memory(node.n_in, use_of(self, node, training=False))
            )
        return self._prediction_plan

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(slot.size for name, slot in self._parameters.layout.slots.items() if is_trained(name))

    def copy(self, *, backend: Backend | None = None, dtype: str | None = None) -> Network:
        """A net of the same layers, parameters and preparation, on another backend or in another dtype."""
        other = copy.copy(self)  # of the same class, so that what a subclass overrides is kept
        Network.__init__(
            other,
            self.layers,
            self.n_in,
            loss=self.loss,
            backend=backend or self.backend,
            dtype=dtype or str(self.dtype),
            seed=self.seed,
            parameters=self._parameters.download(),
        )
        other.preparation = self.preparation
        return other

    def on_parameters(self, parameters: Arena) -> Network:
        """This net with other memory for its parameters, of the same layout; all else is shared."""
        _ = self.factor_arena  # every forward pass renews the copy: one serves both
        other = copy.copy(self)
        other._parameters = parameters
        return other

    # ---- data -------------------------------------------------------------------------------------

    def codes(self, *, training: bool = False) -> dict[int, int]:
        """{column of X: how many codes it may hold, from 0 up}; a prediction may take one more than training."""
        return self.layers[0].codes(training=training)

    def upload_rows(self, X: Any, y: Any, sample_weight: Any = None, *, training: bool = True) -> Rows:
        """Rows checked, standardised and resident on the device; not for ``training`` they may have unseen codes."""
        self.preparation.refuse_other_codes(self.codes())
        with self.backend.running():
            return upload_rows(
                self.backend,
                X,
                y,
                sample_weight,
                n_in=self.n_in,
                dtype=self.dtype,
                loss=self.loss,
                features=self.preparation.features,
                targets=self.preparation.targets,
                codes=self.codes(training=training),
            )

    # ---- forward and backward ---------------------------------------------------------------------

    def bind(self, n: int, *, training: bool, state: Array = None, apart: bool = False) -> Pass:
        """Memory for a batch of up to ``n`` rows, and the two ways through the net on it; see :class:`Pass`."""
        return Pass(self, n, training=training, state=state, apart=apart)

    @out_of_memory_hint("give it fewer rows", doing="computing gradients")
    def loss_and_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, dict[str, Array]]:
        """The loss over these rows and its gradient by every parameter; nothing in the net changes.

        Layers do what they do in training: dropout as in step 0, batch normalisation by these rows.

        Returns
        -------
        loss : float
        gradients : {name: array} of the parameters' shapes, on the net's device, yours to keep
        """
        be = self.backend
        rows = self.upload_rows(X, y, sample_weight)
        state, totals = new_state(be, halted=0), be.empty((1, 3), self.totals_dtype)  # halted: statistics stay
        batch = self.bind(len(rows), training=True, state=state)
        read = InputReader(be, rows.features, len(rows), self.dtype)
        with be.running():
            logits = batch.forward(read(rows.x))
            self.loss(be, LossBatch(logits, rows.targets, rows.weights, state, totals, batch.dlogits))
            batch.backward()
            gradients = self.gradient_arena.copy()
        value = float(self.loss.value(be.download(totals)))
        return value, self._by_layer(gradients)

    @property
    def totals_dtype(self) -> Any:
        """The dtype of totals: float64 (complex128 under the complex step)."""
        return np.result_type(self.dtype, np.float64)

    # ---- predictions ------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """What the net says of each row.

        Returns
        -------
        classes: (n,) class numbers; sigmoid_cross_entropy: (n, k) zeros and ones; a regression: (n, k) numbers in the
        target's own units, which are exp(z) for poisson and gamma, the means for gaussian_nll, and (n, levels) or
        (n, k, levels) for quantiles. One output comes as (n,). Of the kind that X was: NumPy or on the device.
        """
        return self.backend.returned(predictions.answers(self, X), like=X)

    def predict_table(self, table: TableLike) -> np.ndarray:
        """What the net says of each row of a table with the columns that it was trained on, on the host.

        Parameters
        ----------
        table : of ``chainrule.read_table(source, like=net)``; what new categories and holes become says
            :class:`TableEncoder`

        Returns
        -------
        As :meth:`predict`, but for classes with names: (n,) object, Python's texts, of which rows of one class share
        one: 8 bytes a row. ``.astype(str)`` gives each row the room of the longest name.

        Raises
        ------
        DataError   if columns are missing, all of which it names, or a cell is not what it was in training.
        """
        answers = np.asarray(self.predict(self.preparation.encode(table)))
        return predictions.named(self, answers)

    def predict_distribution(self, X: Any) -> Normal:
        """Mean and variance of the target, as a net of loss gaussian_nll sees them: two arrays, as ``predict`` answers.

        The mean is that of ``predict``, the variance in squared units of the target. OptionError for another loss.
        """
        return Normal(*(self.backend.returned(part, like=X) for part in predictions.distribution(self, X)))

    def predict_proba(self, X: Any) -> Array:
        """Probabilities: (n, k) of each class, or of yes in each column (one output comes as (n,)).

        OptionError for a regression, which has none.
        """
        return self.backend.returned(predictions.probabilities(self, X), like=X)

    def evaluation_rows(self, n: int) -> int:
        """How many of ``n`` rows to pass through the net at a time where no gradient is wanted."""
        widest = max(self.n_in, *(node.n_out for node in walk(self.nodes)))
        return min(n, max(64, self.backend.working_set // widest))

    # ---- files ------------------------------------------------------------------------------------

    def save(self, path: FilePath) -> None:
        """Write the model file: parameters and all that a prediction needs; :func:`chainrule.load` opens it."""
        from chainrule.nn.saved import save  # the file format knows the net, not the other way round

        save(self, path)

    def export_onnx(
        self, path: str | Path, *, input_dtype: str | None = None, rows: Any = None, unchecked: bool = False
    ) -> Agreement | None:
        """Write an ONNX file, preparation and units included; see :func:`chainrule.onnx.export` (extra ``onnx``)."""
        from chainrule.onnx import export

        return export(self, path, input_dtype=input_dtype, rows=rows, unchecked=unchecked)
