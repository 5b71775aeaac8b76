"""The network, from raw rows to predictions: preparation, layers in a row, a loss on top."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import OptionError
from chainrule.files.regular_file import FilePath
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn import predictions
from chainrule.nn.answer_pass import FEW, KeptPasses
from chainrule.nn.inputs.preparation import Preparation, TableLike
from chainrule.nn.inputs.row_checks import is_plain
from chainrule.nn.inputs.rows import InputReader, Rows, upload_features, upload_rows
from chainrule.nn.layered_net import LayeredNet
from chainrule.nn.losses.names import refuse_standardized
from chainrule.nn.passes import new_state
from chainrule.nn.predictions import FEWER_ROWS, Normal
from chainrule.plain_text import show

if TYPE_CHECKING:
    from chainrule.onnx.agreement import Agreement


class Network(LayeredNet):
    """Layers in a row and a loss from the logits of the last.

    Parameters
    ----------
    layers : the first one's input first; the last is a Dense of activation "identity", its output is the logits
    n_in : columns of X
    loss : a name of :data:`chainrule.nn.losses.names.LOSSES` ("softmax_cross_entropy", "squared_error", "huber",
        ...), or a loss with options: ``Huber(delta=2.0)``. ``loss.outputs_for(columns of y)`` is the number of outputs
        that it needs
    backend : where parameters live and everything is computed; the CPU by default
    dtype : "float32" or "float64", or np.float32 or np.float64
    seed : of the initial weights, from 0 to 2^64 - 1
    members : how many nets of this kind are trained at once: an ensemble, whose prediction is the mean of theirs. Each
        has its own initial weights, batches and dropout masks: member j is, bit for bit in the reference and on a GPU,
        the net that is trained alone with ``member=j``. Arrays of parameters have a leading axis of that length
    member : the number of the net, or of the first of the members
    parameters : every array of ``parameter_arena`` by name, from the host, in place of initial weights

    ``preparation`` says what happens to rows before the first layer and to predictions after the last; by default
    nothing. Several threads may predict with one net at once; only one may train it.

    Raises
    ------
    OptionError   for an option that does not exist.
    OutOfMemoryError   if its parameters do not fit.
    """

    _preparation: Preparation = Preparation()

    @property
    def preparation(self) -> Preparation:
        """What happens to rows and predictions outside the layers; OptionError if one is set that does not fit."""
        return self._preparation

    @preparation.setter
    def preparation(self, preparation: Preparation) -> None:
        if not isinstance(preparation, Preparation):
            raise OptionError(
                f"preparation: expected a Preparation, got {show(preparation)}",
                hint="cr.Preparation(features=cr.Standardization.fit(X))",
            )
        preparation.refuse_another_net(self.n_in, self.n_out, self.loss.columns)
        if preparation.targets is not None:
            refuse_standardized(self.loss)
        self._preparation = preparation

    # ---- data -------------------------------------------------------------------------------------

    def upload_rows(self, X: Any, y: Any, sample_weight: Any = None, *, training: bool = True) -> Rows:
        """Rows checked, standardised and on the device; unless for ``training`` they may have unseen codes."""
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
                members=self.members if training else 1,
            )

    # ---- forward and backward ---------------------------------------------------------------------

    @out_of_memory_hint("give it fewer rows", doing="computing gradients")
    def loss_and_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, dict[str, Array]]:
        """The loss over these rows and its gradient by every parameter; nothing in the net changes.

        Layers do what they do in training: dropout as in step 0, batch normalisation by these rows.

        Returns
        -------
        loss : float, of an ensemble the sum over its members
        gradients : {name: array} of the parameters' shapes, on the net's device, yours to keep
        """
        be = self.backend
        rows = self.upload_rows(X, y, sample_weight)
        state, totals = new_state(be, halted=0), self.new_totals(1)  # halted: statistics stay
        batch = self.bind(len(rows), training=True, state=state)
        read = InputReader(be, rows.features, len(rows), self.dtype)
        with be.running():
            logits = batch.forward(read(rows.x))
            self.loss(be, LossBatch(logits, rows.targets, rows.weights, state, totals, batch.dlogits))
            batch.backward()
            gradients = self.gradient_arena.copy()
        found = be.download(totals).reshape((self.members, 1, 3))
        return float(sum(self.loss.value(of_member) for of_member in found)), self._by_layer(gradients)

    # ---- predictions ------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """The prediction for each row.

        Parameters
        ----------
        X : (n, n_in) numbers on the host or the device of the net, as in training: raw, if the net standardises

        Returns
        -------
        classes: (n,) class numbers; sigmoid_cross_entropy: (n, k) zeros and ones; a regression: (n, k) numbers in the
        target's own units, which are exp(z) for poisson and gamma, the means for gaussian_nll, and (n, levels) or
        (n, k, levels) for quantiles. A single output gives (n,). NumPy or on the device, as X was.

        Raises
        ------
        ShapeError   if X is not (n, n_in).
        DataError    if X does not hold finite numbers, naming the first row and column that do not.
        """
        found = self._each_row(X, "prediction")
        return self.backend.returned(found if self.loss.task == "classify" else self.loss.point(found), like=X)

    def predict_members(self, X: Any) -> Array:
        """The prediction of each member of an ensemble: as :meth:`predict`, with a leading axis of its k members."""
        return self._of_members("predict", X)

    def predict_proba_members(self, X: Any) -> Array:
        """The probabilities of each member: as :meth:`predict_proba`, with a leading axis of its k members."""
        return self._of_members("predict_proba", X)

    def _of_members(self, method: str, X: Any) -> Any:
        be = self.backend
        found = [getattr(self.member(j), method)(X) for j in range(self.members)]
        shape, kind = (self.members, *found[0].shape), found[0].dtype
        if isinstance(found[0], np.ndarray):
            return np.stack(found)
        out = be.empty(shape, kind)
        for j, of_member in enumerate(found):
            be.copy(of_member, out=out[j])
        return out

    def predict_table(self, table: TableLike) -> np.ndarray:
        """The prediction for each row of a table with the columns that the net was trained on, on the host.

        Parameters
        ----------
        table : of ``chainrule.read_table(source, like=net)``; :class:`TableEncoder` says what becomes of new categories
            and missing values

        Returns
        -------
        As :meth:`predict`, but for classes with names: (n,) object, Python's texts, of which rows of one class share
        one: 8 bytes per row. ``.astype(str)`` gives each row the room of the longest name.

        Raises
        ------
        DataError   if columns are missing, naming all of them, or a cell is not what it was in training.
        """
        predicted = np.asarray(self.predict(self.preparation.encode(table, compact=True)))
        return predictions.with_class_names(predicted, self.loss, self.preparation.classes)

    def predict_distribution(self, X: Any) -> Normal:
        """Mean and variance of the target, from a net of loss gaussian_nll: two arrays, shaped as ``predict``'s.

        The mean is that of ``predict``, the variance in squared units of the target. OptionError for another loss.
        """
        loss = predictions.gaussian(self.loss)
        found = self._each_row(X, "numbers")
        return Normal(*(self.backend.returned(part, like=X) for part in (loss.point(found), loss.variance(found))))

    def predict_proba(self, X: Any) -> Array:
        """Probabilities: (n, k) of each class, or of yes in each column (a single output gives (n,)).

        Parameters
        ----------
        X : (n, n_in) numbers, as for :meth:`predict`

        Raises
        ------
        OptionError   for a regression, which has none.
        ShapeError    if X is not (n, n_in).
        DataError     if X does not hold finite numbers.
        """
        predictions.refuse_regression(self.loss)
        return self.backend.returned(self.loss.point(self._each_row(X, "probabilities")), like=X)

    @out_of_memory_hint(FEWER_ROWS, doing="predicting")
    def _each_row(self, X: Any, kind: str) -> Array:
        """(n, ...): the answer of this kind for all rows, some at a time."""
        be = self.backend
        with be.running():
            if not be.queues and is_plain(X, self.n_in) and X.size <= FEW and X.flags.c_contiguous:
                found = self._passes.answer_few(self, self.preparation, X, kind)
                if found is not None:
                    return found
            features = upload_features(be, X, self.n_in, self.dtype, self.preparation.features, self.codes())
            return self._passes.answer(self, self.preparation, features, kind)

    @functools.cached_property
    def _passes(self) -> KeptPasses:
        return KeptPasses()

    # ---- files ------------------------------------------------------------------------------------

    def save(self, path: FilePath) -> None:
        """Write the model file: parameters and all that a prediction needs; :func:`chainrule.load` opens it."""
        from chainrule.nn.saved import save

        save(self, path)

    def export_onnx(
        self, path: str | Path, *, input_dtype: str | None = None, rows: Any = None, unchecked: bool = False
    ) -> Agreement | None:
        """Write an ONNX file, preparation and units included; see :func:`chainrule.onnx.export` (extra ``onnx``)."""
        from chainrule.onnx import export

        return export(self, path, input_dtype=input_dtype, rows=rows, unchecked=unchecked)
