"""The net of an estimator: kept, pickled, asked for predictions."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from chainrule.backends import Backend, backend, default_device
from chainrule.backends.contract.backend import Array
from chainrule.estimators.array_namespaces import (
    NUMBERS,
    ArrayNamespace,
    check_same_namespace,
    is_on_gpu,
    namespace_of,
    on_host,
)
from chainrule.estimators.fitted import FittedAttributes
from chainrule.estimators.solvers import SolverState
from chainrule.estimators.validation import rows_to_predict
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.network import Network


class FittedNet(FittedAttributes, BaseEstimator):
    """An estimator with a net that has been trained, and the state of its solver."""

    _net: Network
    _solver_state: SolverState

    @property
    def network_(self) -> Network:
        """The net, on its device: ``network_.save(path)`` writes the model file."""
        check_is_fitted(self)
        return self._net

    def _backend(self) -> Backend:
        return backend(default_device() if self.device is None else self.device)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "_net" in state:  # as NumPy arrays, whatever it was trained on, and without what only a fit needs
            copy, host = type(self).__new__(type(self)), backend("cpu")
            copy.__dict__ = state
            copy._net, copy._solver_state = self._net.copy(backend=host), self._solver_state.on(host)
            copy._publish_weights(None)
            if state.get("oof_prediction_") is not None:
                copy.oof_prediction_ = on_host(state["oof_prediction_"])
        return state

    def _publish_weights(self, namespace: ArrayNamespace | None) -> None:
        """Set coefs_ and intercepts_, copies of the weights, in NumPy or where the rows live."""
        arrays = self._net.parameter_arena.download()
        to_device = (lambda values: values) if namespace is None else namespace.to_device
        layers = range(self.n_layers_ - 1)
        self.coefs_ = [to_device(arrays[f"dense{i}.W"]) for i in layers]
        self.intercepts_ = [to_device(arrays[f"dense{i}.b"]) for i in layers]

    @property
    def _first_weights(self) -> Any:
        """An array that lives where the estimator does."""
        return self.coefs_[0]

    @out_of_memory_hint("predict fewer rows at a time", doing="predicting")
    def _predict_with(
        self, X: Any, method: str, question: Callable[[Network, Array], Array], answer: Callable[[Any, Array], Any]
    ) -> Any:
        """The answers of the net for rows, where these live.

        Parameters
        ----------
        method : whose rules these are, for messages
        question : to the net and (n, n_in)
        answer : ``answer(xp, the net's answer)``, xp being NumPy or, for rows in a GPU's memory, CuPy
        """
        if "n_features_in_" not in self.__dict__:  # asks for more than is needed here, and takes its time
            check_is_fitted(self)
        check_same_namespace(X, self, attribute="_first_weights", method=method)
        net, device = self._net, self._net.backend
        rows = rows_to_predict(self, X, net=net)
        if is_on_gpu(rows):
            # The module of the device's own arrays: those of another library are brought back to it at the end.
            return device.returned(answer(import_module(device.name), question(net, rows)), like=X)
        values, namespace = answer(np, np.asarray(question(net, rows))), namespace_of(X)
        return values if namespace is None or values.dtype.kind not in NUMBERS else namespace.to_device(values)
