"""chainrule trains multilayer perceptrons on plain arrays: NumPy on the CPU, CuPy on a CUDA GPU.

Every gradient is written out by hand, once, and both devices are proven to agree::

    import chainrule as cr

    net = cr.MLP([64, 256, 128, 10], backend=cr.backend("auto"), seed=0)
    run = cr.Trainer(net, cr.Adam(lr=1e-3), epochs=30).fit(X, y, validation=0.2)
    net.save("model.safetensors")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from chainrule.version import __version__ as __version__

if TYPE_CHECKING:
    from chainrule.backends import backend
    from chainrule.backends.contract.backend import Backend
    from chainrule.backends.guarded import GuardedBackend
    from chainrule.errors import (
        ChainruleError,
        CompiledLoopsWarning,
        DataError,
        DeviceError,
        DivergenceError,
        GradientError,
        GuardError,
        ModelFileError,
        OptionError,
        OutOfMemoryError,
        ShapeError,
    )
    from chainrule.estimators.classifier import MLPClassifier as MLPClassifier
    from chainrule.estimators.regressor import MLPRegressor as MLPRegressor
    from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
    from chainrule.nn.columns.column_data import Categorical
    from chainrule.nn.columns.number_column import NumberColumn
    from chainrule.nn.columns.table_encoder import TableEncoder
    from chainrule.nn.columns.target_columns import TargetColumns
    from chainrule.nn.inputs.preparation import Preparation
    from chainrule.nn.inputs.standardization import Standardization
    from chainrule.nn.layers.activation import Activation
    from chainrule.nn.layers.concatenate import Concatenate
    from chainrule.nn.layers.custom_activation import CustomActivation
    from chainrule.nn.layers.dense import Dense
    from chainrule.nn.layers.dropout import Dropout
    from chainrule.nn.layers.embedding import Embedding
    from chainrule.nn.layers.initializers import Start
    from chainrule.nn.layers.normalization import BatchNorm, LayerNorm
    from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
    from chainrule.nn.layers.residual import Residual
    from chainrule.nn.layers.scale import Scale
    from chainrule.nn.losses.custom_loss import CustomLoss
    from chainrule.nn.losses.names import (
        AbsoluteError,
        Focal,
        Gamma,
        GaussianNLL,
        Huber,
        Poisson,
        Quantile,
        SigmoidCrossEntropy,
        SoftmaxCrossEntropy,
        SquaredError,
    )
    from chainrule.nn.mlp import MLP
    from chainrule.nn.network import Network
    from chainrule.nn.saved import load
    from chainrule.optim.adam import Adam, AdamW
    from chainrule.optim.base import Moments
    from chainrule.optim.lbfgs import LBFGS
    from chainrule.optim.parameter_groups import ParameterGroup
    from chainrule.optim.schedules import (
        Constant,
        Cosine,
        Coslog4,
        Exponential,
        FlatCosine,
        OneCycle,
        Plateau,
        Schedule,
        Step,
    )
    from chainrule.optim.sgd import SGD
    from chainrule.tables.readers import read_table
    from chainrule.tables.splitting.splits import Split, hold_out, make_folds
    from chainrule.tables.table import Table
    from chainrule.train.checkpoints.writer import Checkpoints
    from chainrule.train.cross_validation import CrossValidation, cross_validate
    from chainrule.train.diagnosis.findings import Diagnosis
    from chainrule.train.monitoring.early_stopping import EarlyStopping
    from chainrule.train.monitoring.validation_metrics import Metric
    from chainrule.train.records.callbacks import Callback
    from chainrule.train.records.history import History
    from chainrule.train.records.loggers import JSONLinesLogger
    from chainrule.train.records.run import StartRecord, StepRecord
    from chainrule.train.records.tensorboard import TensorBoardLogger
    from chainrule.train.trainer import EpochRecord, Run, Trainer
    from chainrule.verify.gradients import check_gradients

# Where each name lives. A module is loaded with the first use of a name in it: who predicts pays for no training loop.
_HOMES: Final = {
    "chainrule.backends": "backend",
    "chainrule.backends.contract.backend": "Backend",
    "chainrule.backends.guarded": "GuardedBackend",
    "chainrule.errors": (
        "ChainruleError CompiledLoopsWarning DataError DeviceError DivergenceError GradientError GuardError "
        "ModelFileError OptionError OutOfMemoryError ShapeError"
    ),
    "chainrule.nn.columns.category_columns": "CategoryColumn EmbeddedColumn",
    "chainrule.nn.columns.column_data": "Categorical",
    "chainrule.nn.columns.number_column": "NumberColumn",
    "chainrule.nn.columns.table_encoder": "TableEncoder",
    "chainrule.nn.columns.target_columns": "TargetColumns",
    "chainrule.nn.inputs.preparation": "Preparation",
    "chainrule.nn.inputs.standardization": "Standardization",
    "chainrule.nn.layers.activation": "Activation",
    "chainrule.nn.layers.concatenate": "Concatenate",
    "chainrule.nn.layers.custom_activation": "CustomActivation",
    "chainrule.nn.layers.dense": "Dense",
    "chainrule.nn.layers.dropout": "Dropout",
    "chainrule.nn.layers.embedding": "Embedding",
    "chainrule.nn.layers.initializers": "Start",
    "chainrule.nn.layers.normalization": "BatchNorm LayerNorm",
    "chainrule.nn.layers.piecewise_linear": "PiecewiseLinear",
    "chainrule.nn.layers.residual": "Residual",
    "chainrule.nn.layers.scale": "Scale",
    "chainrule.nn.losses.custom_loss": "CustomLoss",
    "chainrule.nn.losses.names": (
        "AbsoluteError Focal Gamma GaussianNLL Huber Poisson Quantile SigmoidCrossEntropy SoftmaxCrossEntropy "
        "SquaredError"
    ),
    "chainrule.nn.mlp": "MLP",
    "chainrule.nn.network": "Network",
    "chainrule.nn.saved": "load",
    "chainrule.optim.adam": "Adam AdamW",
    "chainrule.optim.base": "Moments",
    "chainrule.optim.lbfgs": "LBFGS",
    "chainrule.optim.parameter_groups": "ParameterGroup",
    "chainrule.optim.schedules": "Constant Cosine Coslog4 Exponential FlatCosine OneCycle Plateau Schedule Step",
    "chainrule.optim.sgd": "SGD",
    "chainrule.tables.readers": "read_table",
    "chainrule.tables.splitting.splits": "Split hold_out make_folds",
    "chainrule.tables.table": "Table",
    "chainrule.train.checkpoints.writer": "Checkpoints",
    "chainrule.train.cross_validation": "CrossValidation cross_validate",
    "chainrule.train.diagnosis.findings": "Diagnosis",
    "chainrule.train.monitoring.early_stopping": "EarlyStopping",
    "chainrule.train.monitoring.validation_metrics": "Metric",
    "chainrule.train.records.callbacks": "Callback",
    "chainrule.train.records.history": "History",
    "chainrule.train.records.loggers": "JSONLinesLogger",
    "chainrule.train.records.run": "StartRecord StepRecord",
    "chainrule.train.records.tensorboard": "TensorBoardLogger",
    "chainrule.train.trainer": "EpochRecord Run Trainer",
    "chainrule.verify.gradients": "check_gradients",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "LBFGS",
    "MLP",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "BatchNorm",
    "Callback",
    "Categorical",
    "CategoryColumn",
    "ChainruleError",
    "Checkpoints",
    "CompiledLoopsWarning",
    "Concatenate",
    "Constant",
    "Cosine",
    "Coslog4",
    "CrossValidation",
    "CustomActivation",
    "CustomLoss",
    "DataError",
    "Dense",
    "DeviceError",
    "Diagnosis",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "EmbeddedColumn",
    "Embedding",
    "EpochRecord",
    "Exponential",
    "FlatCosine",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "GradientError",
    "GuardError",
    "GuardedBackend",
    "History",
    "Huber",
    "JSONLinesLogger",
    "LayerNorm",
    "Metric",
    "ModelFileError",
    "Moments",
    "Network",
    "NumberColumn",
    "OneCycle",
    "OptionError",
    "OutOfMemoryError",
    "ParameterGroup",
    "PiecewiseLinear",
    "Plateau",
    "Poisson",
    "Preparation",
    "Quantile",
    "Residual",
    "Run",
    "Scale",
    "Schedule",
    "ShapeError",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Split",
    "SquaredError",
    "Standardization",
    "Start",
    "StartRecord",
    "Step",
    "StepRecord",
    "Table",
    "TableEncoder",
    "TargetColumns",
    "TensorBoardLogger",
    "Trainer",
    "backend",
    "check_gradients",
    "cross_validate",
    "hold_out",
    "load",
    "make_folds",
    "read_table",
]


# Not in __all__: they need scikit-learn, which may be absent.
_OPTIONAL: Final = {"MLPClassifier": "chainrule.estimators", "MLPRegressor": "chainrule.estimators"}

if not TYPE_CHECKING:  # to a type checker a name that does not exist would be Any, not an error

    def __getattr__(name: str) -> Any:
        home = _HOME_OF.get(name) or _OPTIONAL.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(home), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """The public names, loaded or not, and the names that every module has."""
    return sorted({*__all__, *_OPTIONAL, *(name for name in globals() if name.startswith("__"))})
